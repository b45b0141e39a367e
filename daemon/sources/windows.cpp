// The triggers' windows of a look: which are asked for, and in what order they are answered.
#include <algorithm>
#include <cmath>
#include <utility>

#include "daemon/sources/rows.hpp"

namespace canaryd::rows {

namespace {

WindowAsk window_of(const Ask& ask, std::string name, Duration over) {
    WindowAsk window;
    window.trigger = std::move(name);
    window.to = ask.to;
    window.from = std::min(std::max(ask.to - over, ask.windows_from), ask.to);
    return window;
}

const std::string& query_of(const Policy& policy, const std::string& metric) {
    static const std::string none;
    const auto found = std::find_if(policy.metrics.begin(), policy.metrics.end(),
                                    [&](const NumberQuery& query) { return query.name == metric; });
    return found == policy.metrics.end() ? none : found->query;
}

/// Puts a query's numbers into its window; or what is wrong with them.
std::string fill(Window& window, const std::vector<std::optional<double>>& numbers) {
    std::optional<double> value = numbers.front();
    if (numbers.size() > 1) {
        // Sums of nothing are null.
        const double clusters = numbers.back().value_or(value ? -1 : 0);
        if (!(clusters >= 0) || clusters != std::floor(clusters) || clusters > 9e15)
            return "its second number is not how many they are";
        window.requests = static_cast<std::int64_t>(clusters);
        if (!value && window.requests == 0) value = 0;
    }
    if (!value) return "the query gave NULL";
    if (!std::isfinite(*value)) return "it is not a finite number";
    window.value = value;
    return {};
}

Window empty_window(const WindowAsk& ask, Population who, const std::string& segment) {
    Window window;
    window.trigger = ask.trigger;
    window.segment = segment;
    window.who = who;
    window.from = ask.from;
    window.to = ask.to;
    return window;
}

/// Triggers with the same window and signal share one query.
class Answers {
public:
    Answers(RowReader& reader, Duration hung_after) : reader_(reader), hung_after_(hung_after) {}

    const std::vector<RowReader::Counted>& of(const WindowAsk& ask) {
        for (const Answer& answer : answers_) {
            if (answer.ask.from == ask.from && answer.ask.to == ask.to &&
                answer.ask.signal == ask.signal && answer.ask.each_segment == ask.each_segment &&
                answer.ask.users == ask.users)
                return answer.counted;
        }
        answers_.push_back({ask, reader_.count(ask, ask.to - hung_after_)});
        return answers_.back().counted;
    }

private:
    struct Answer {
        WindowAsk ask;
        std::vector<RowReader::Counted> counted;
    };
    RowReader& reader_;
    Duration hung_after_;
    std::vector<Answer> answers_;
};

void count_into(Look& look, const WindowAsk& ask, Population who, const std::string& segment,
                const std::vector<RowReader::Counted>& counted) {
    Window window = empty_window(ask, who, segment);
    for (const RowReader::Counted& row : counted) {
        if (row.who != who || row.segment != segment) continue;
        window.requests = row.requests;
        window.failures = row.failures;
        window.users = row.users;
    }
    look.windows.push_back(std::move(window));
}

}  // namespace

std::string numbers_in_words(int numbers) {
    return numbers == 1 ? "one number" : "two numbers, the sum of the shares and how many they are";
}

std::vector<WindowAsk> windows_of(const Policy& policy, const Ask& ask) {
    std::vector<WindowAsk> windows;
    for (const Trigger& trigger : policy.triggers) {
        if (ask.peek && !trigger.at_peeks()) continue;
        WindowAsk window = window_of(ask, trigger.name, trigger.over);
        switch (trigger.kind) {
            case Trigger::Kind::share:
                window.signal = trigger.signal;
                window.each_segment = trigger.each_segment;
                break;
            case Trigger::Kind::traffic:
                window.each_segment = trigger.each_segment;
                break;
            case Trigger::Kind::off_weight:
                window.users = true;
                break;
            case Trigger::Kind::number:
                window.numbers = 1;
                window.query = query_of(policy, trigger.metric);
                window.said_as = "trigger " + trigger.name;
                break;
        }
        windows.push_back(std::move(window));
    }
    if (ask.peek) return windows;
    if (!policy.baseline.empty())
        windows.push_back(window_of(ask, "expect_traffic", policy.expect_over));
    for (const Signal& signal : signals_of(policy)) {
        if (signal.kind != Signal::Kind::counted) continue;
        WindowAsk window;
        window.trigger = count_window(signal.number);
        window.from = ask.from;
        window.to = ask.to;
        window.numbers = numbers_of(policy, signal.number);
        window.query = query_of(policy, signal.number);
        window.said_as = window.trigger;
        windows.push_back(std::move(window));
    }
    return windows;
}

void Counter::fill_windows(const Ask& ask, RowReader& reader, Look& look) const {
    Answers answers(reader, rules_.hung_after);
    for (const WindowAsk& asked : windows_of(policy_, ask)) {
        if (asked.numbers > 0) {
            Window window = empty_window(asked, Population::canary, "");
            std::string remark;
            const auto numbers = reader.numbers(asked, remark);
            if (!numbers.empty()) remark = fill(window, numbers);
            if (!window.value) look.remarks.push_back(asked.said_as + " has no number: " + remark);
            look.windows.push_back(std::move(window));
            continue;
        }
        const auto& counted = answers.of(asked);
        for (const Population who : {Population::canary, Population::baseline}) {
            if (who == Population::baseline && policy_.baseline.empty()) continue;
            if (!asked.each_segment) {
                count_into(look, asked, who, "", counted);
                continue;
            }
            for (const std::string& segment : policy_.segments)
                count_into(look, asked, who, segment, counted);
        }
    }
}

}  // namespace canaryd::rows
