// The terminal's page, and the document for scripts.
#include <algorithm>
#include <boost/json.hpp>
#include <map>

#include "daemon/ctl/backtest/report.hpp"
#include "daemon/log.hpp"

namespace canaryd::backtest {
namespace {

namespace json = boost::json;

// A page is a page: what is more is in --json and --html, and is said to be.
constexpr std::size_t most_moments = 24;
constexpr std::size_t most_notices = 8;
constexpr int label_width = 11;

std::string labelled(std::string label, const std::string& words, const text::Paper& paper) {
    label.resize(label_width, ' ');
    return label + text::wrap(escaped(words), paper.width, label_width) + "\n";
}

std::string padded(std::string text, std::size_t width, bool right = false) {
    if (text.size() >= width) return text;
    const std::string gap(width - text.size(), ' ');
    return right ? gap + text : text + gap;
}

std::string steps_table(const Report& report) {
    std::string table =
        "Step       at        lasted  criterion     canary  proven below  legacy  limit\n";
    std::string step;
    for (const StepRow& row : steps_of(report)) {
        const bool same = row.step == step;
        step = row.step;
        const std::string proven = row.proven_below < 1 ? text::share_up(row.proven_below) : "-";
        table += padded(same ? "" : escaped(row.step).substr(0, 9), 9) + "  " +
                 padded(same ? "" : text::weight(row.weight), 5) + " " +
                 padded(same ? "" : text::duration(row.lasted), 9, true) + "  " +
                 padded(escaped(row.criterion).substr(0, 11), 11) + " " +
                 padded(rate(row.events, row.requests), 8, true) + "  " + padded(proven, 12, true) +
                 " " + padded(rate(row.legacy_events, row.legacy_requests), 7, true) + " " +
                 padded(text::share(row.limit), 6, true) + "\n";
    }
    return table;
}

/// Rises, falls and holds come before the ups and downs of suspicion, when there are too many.
std::vector<const Moment*> shown_moments(const Result& result) {
    std::vector<const Moment*> shown;
    const auto minor = [](const Moment& moment) {
        return moment.kind == Moment::Kind::suspicious || moment.kind == Moment::Kind::calm;
    };
    const bool crowded = result.moments.size() > most_moments;
    for (const Moment& moment : result.moments) {
        if (!crowded || !minor(moment)) shown.push_back(&moment);
    }
    while (shown.size() > most_moments) shown.erase(shown.begin() + most_moments / 2);
    return shown;
}

std::string timeline(const Report& report, const text::Paper& paper) {
    const std::vector<const Moment*> shown = shown_moments(report.result);
    std::string page = "Timeline, from " + text::time(report.result.begin) + "\n";
    for (const Moment* moment : shown) {
        const std::string front = "  " + padded(since(report, moment->at), 11) + " " +
                                  padded(text::weight(moment->weight), 5, true) + "  ";
        const bool over = moment->kind == Moment::Kind::rolled_back;
        const std::string words = (over ? "ROLLED BACK: " : "") + escaped(moment->text);
        page += front + text::wrap(words, paper.width, 21) + "\n";
    }
    const std::size_t more = report.result.moments.size() - shown.size();
    if (more > 0) {
        page += "  and " + text::number(static_cast<std::int64_t>(more)) +
                " more, in --json and --html\n";
    }
    return page;
}

std::string told(const Report& report, const text::Paper& paper) {
    std::map<std::string, std::int64_t> counts;
    std::vector<const Told*> newest;
    for (const Told& one : report.result.told) {
        ++counts[std::string(text::name(one.notice.kind))];
        if (one.notice.kind != Notice::Kind::report) newest.push_back(&one);
    }
    std::string words =
        text::counted(static_cast<std::int64_t>(report.result.told.size()), "notice", "notices");
    const char* sign = ": ";
    for (const auto& [kind, count] : counts) {
        words += sign + text::number(count) + " " + kind;
        sign = ", ";
    }
    std::string page = labelled("Told", words, paper);
    const std::size_t skipped = newest.size() > most_notices ? newest.size() - most_notices : 0;
    if (skipped > 0)
        page += "  the newest " + std::to_string(most_notices) + ", without reports:\n";
    for (std::size_t i = skipped; i < newest.size(); ++i) {
        std::string front = "  " + padded(since(report, newest[i]->at), 11) + " ";
        const std::string& text = newest[i]->notice.text;
        for (std::size_t from = 0; from <= text.size();) {
            const std::size_t end = std::min(text.find('\n', from), text.size());
            const std::string line = escaped(text.substr(from, end - from));
            page += front + text::wrap(line, paper.width, 14) + "\n";
            front.assign(14, ' ');
            from = end + 1;
        }
    }
    return page;
}

json::value seconds_between(TimePoint from, const std::optional<TimePoint>& to) {
    if (!to) return nullptr;
    return (*to - from).count() / 1000;
}

json::array found_json(const Report& report) {
    json::array all;
    for (const Found& found : report.result.found) {
        const Injection& injection = report.plan.injections[found.injection];
        all.push_back(
            json::object{{"text", injection.as_written},
                         {"both", injection.both},
                         {"began", text::iso(found.began)},
                         {"met", found.met},
                         {"suspected_after_s", seconds_between(found.began, found.suspected)},
                         {"held_after_s", seconds_between(found.began, found.held)},
                         {"rolled_back_after_s", seconds_between(found.began, found.rolled_back)},
                         {"canary_requests", found.requests},
                         {"changed_requests", found.made}});
    }
    return all;
}

json::array steps_json(const Report& report) {
    json::array all;
    for (const StepRow& row : steps_of(report)) {
        all.push_back(json::object{{"step", row.step},
                                   {"weight_bp", row.weight.basis_points},
                                   {"lasted_s", row.lasted.count() / 1000},
                                   {"criterion", row.criterion},
                                   {"limit", row.limit},
                                   {"requests", row.requests},
                                   {"events", row.events},
                                   {"legacy_requests", row.legacy_requests},
                                   {"legacy_events", row.legacy_events},
                                   {"proven_below", row.proven_below}});
    }
    return all;
}

std::string_view word_of(Result::End end) {
    switch (end) {
        case Result::End::rolled_back:
            return "rolled_back";
        case Result::End::ready_to_finish:
            return "ready_to_finish";
        case Result::End::records_over:
            return "records_over";
    }
    return "?";
}

std::string_view word_of(Severity severity) {
    switch (severity) {
        case Severity::info:
            return "info";
        case Severity::warning:
            return "warning";
        case Severity::critical:
            return "critical";
    }
    return "?";
}

json::object records_json(const Report& report) {
    return {{"what", report.history.what},
            {"requests", report.history.requests},
            {"looks", report.history.looks},
            {"look_s", report.history.look.count() / 1000},
            {"split_by", report.history.has_users ? "user" : "chance"},
            {"times_played", report.result.times_played}};
}

}  // namespace

std::string page(const Report& report, const text::Paper& paper) {
    const Story story = story_of(report);
    std::string page = text::wrap(escaped(report.policy.name) + "   " + word_of(report) + "   " +
                                      escaped(story.headline),
                                  paper.width, 0) +
                       "\n\n";
    page += labelled("Played", story.played, paper);
    page += labelled("Result", story.ended, paper);
    for (const std::string& fault : story.faults) page += labelled("Fault", fault, paper);
    page += labelled("False", story.false_alarms, paper) + "\n";
    page += steps_table(report) + "\n";
    page += timeline(report, paper) + "\n";
    page += told(report, paper) + "\n";
    page += "Not as it would be live\n";
    for (const std::string& note : report.result.notes) {
        page += "  - " + text::wrap(escaped(note), paper.width, 4) + "\n";
    }
    return page;
}

std::string as_json(const Report& report) {
    const Result& result = report.result;
    json::array moments, notices, alarms, notes;
    for (const Moment& moment : result.moments) {
        moments.push_back(json::object{{"at", text::iso(moment.at)},
                                       {"kind", word_of(moment.kind)},
                                       {"weight_bp", moment.weight.basis_points},
                                       {"harm_of_100", moment.harm},
                                       {"text", moment.text}});
    }
    for (const Told& told : result.told) {
        notices.push_back(json::object{{"at", text::iso(told.at)},
                                       {"kind", text::name(told.notice.kind)},
                                       {"severity", word_of(told.notice.severity)},
                                       {"text", told.notice.text}});
    }
    for (const FalseAlarm& alarm : result.false_alarms) {
        alarms.push_back(json::object{
            {"at", text::iso(alarm.at)}, {"rollback", alarm.rollback}, {"text", alarm.what}});
    }
    for (const std::string& note : result.notes) notes.emplace_back(note);
    const json::object document{{"policy", report.policy.name},
                                {"policy_hash", report.policy.hash},
                                {"end", word_of(result.end)},
                                {"state", word_of(report)},
                                {"reason", result.rollout.reason},
                                {"seed", report.plan.seed},
                                {"begin", text::iso(result.begin)},
                                {"at", text::iso(result.at)},
                                {"looks", result.looks},
                                {"requests", result.requests},
                                {"canary_requests", result.canary_requests},
                                {"records", records_json(report)},
                                {"injections", found_json(report)},
                                {"false_alarms", std::move(alarms)},
                                {"steps", steps_json(report)},
                                {"timeline", std::move(moments)},
                                {"notices", std::move(notices)},
                                {"notes", std::move(notes)}};
    return json::serialize(document);
}

}  // namespace canaryd::backtest
