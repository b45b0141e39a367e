// What plain thresholds do to a healthy service: the production triggers on simulated weeks.
#include <algorithm>
#include <cstdio>
#include <deque>

#include "daemon/core/draft.hpp"
#include "tests/bench/bench.hpp"
#include "tests/bench/evidence/print.hpp"
#include "tests/bench/evidence/tables.hpp"

namespace canaryd::comparison {

namespace {

using bench::fixed;

constexpr int weeks = 1000;
constexpr std::int64_t looks_a_week = 7 * looks_a_day;
constexpr double at_noon = 15;  // requests a minute on the canary

Trigger plain_threshold(double share, int needed, int looks, std::int64_t failures) {
    Trigger trigger;
    trigger.threshold = share;
    trigger.over = std::chrono::minutes{15};
    trigger.needed = needed;
    trigger.looks = looks;
    trigger.at_least = trigger.users = failures;
    return trigger;
}

/// One trigger through one week; every failure is another user's.
class Week {
public:
    explicit Week(const Trigger& trigger) {
        policy_.triggers = {trigger};
        rollout_.applied = Weight{1'000};
    }
    void look(std::int64_t number, const Counts& canary) {
        const Trigger& trigger = policy_.triggers.front();
        recent_.push_back(canary);
        if (recent_.size() > static_cast<std::size_t>(trigger.over / pace)) recent_.pop_front();
        Counts sum;
        for (const Counts& one : recent_) add(sum, one);
        Window window;
        window.to = TimePoint{pace * (number + 1)};
        window.from = window.to - pace * static_cast<std::int64_t>(recent_.size());
        window.requests = sum.requests;
        window.failures = window.users = sum.failed;
        Look look;
        look.to = window.to;
        look.windows = {window};
        for (const TriggerSaw& saw : read_triggers(rollout_, policy_, look, false)) {
            remember(saw, rollout_.triggers[saw.key]);
            begun_ += saw.acts && !acting_ ? 1 : 0;
            acting_ = saw.acts;
            looks_ += saw.acts ? 1 : 0;
        }
    }
    [[nodiscard]] std::int64_t looks() const { return looks_; }  // at which it acts
    [[nodiscard]] std::int64_t begun() const { return begun_; }  // times that it begins to

private:
    static constexpr Duration pace = std::chrono::minutes{5};
    Policy policy_;
    Rollout rollout_;
    std::deque<Counts> recent_;
    std::int64_t looks_ = 0, begun_ = 0;
    bool acting_ = false;
};

struct Rule {
    std::string words;
    Trigger trigger;
    std::int64_t looks = 0, begun = 0;  // in all weeks
    std::int64_t lost = 0;              // weeks in which it acts at all
};

void play_week(int number, std::vector<Rule>& rules) {
    Scenario scenario;
    scenario.per_minute = at_noon / (1 + scenario.amplitude);
    scenario.failed = 0.004;
    scenario.slow = 0;
    scenario.seed = static_cast<std::uint64_t>(number) + 1;
    std::vector<Week> played;
    for (const Rule& rule : rules) played.emplace_back(rule.trigger);
    for (std::int64_t look = 0; look < looks_a_week; ++look) {
        const Arms arms = happened(scenario, look, 0.1);
        for (Week& week : played) week.look(look, arms.canary.total);
    }
    for (std::size_t i = 0; i < rules.size(); ++i) {
        rules[i].looks += played[i].looks();
        rules[i].begun += played[i].begun();
        rules[i].lost += played[i].looks() > 0 ? 1 : 0;
    }
}

}  // namespace

void print_thresholds() {
    heading(
        "Plain thresholds over 15 minutes on a healthy service: 0.4 % errors, 15 requests/min at "
        "noon, 1.7 at midnight; " +
        std::to_string(weeks) + " weeks");
    std::vector<Rule> rules{
        {"above 1 %, at once", plain_threshold(0.01, 1, 1, 1)},
        {"above 5 % in 2 of 3 looks, 3 failures", plain_threshold(0.05, 2, 3, 3)},
        {"above 5 % in 2 of 3 looks, 5 failures", plain_threshold(0.05, 2, 3, 5)}};
    for (int week = 0; week < weeks; ++week) play_week(week, rules);
    Table table({"trigger", "looks it breaks", "begins to", "weeks thrown back"});
    const auto weekly = [](std::int64_t count) {
        const double mean = static_cast<double>(count) / weeks;
        return fixed(mean, mean < 1 ? 3 : 0);
    };
    for (const Rule& rule : rules) {
        table.add({rule.words, weekly(rule.looks), weekly(rule.begun),
                   count_text(static_cast<double>(rule.lost)) + " of " + count_text(weeks)});
    }
    table.print();
    paragraph(
        "Looks at which it is broken and times that it begins to be, a week on the mean. The "
        "production triggers at looks of 5 minutes, 2,016 a week; no peeks.",
        2);
}

}  // namespace canaryd::comparison
