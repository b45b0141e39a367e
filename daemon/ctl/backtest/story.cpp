// What happened, in sentences and figures that every form of the report shares.
#include <algorithm>

#include "daemon/ctl/backtest/report.hpp"

namespace canaryd::backtest {
namespace {

const Step& present_step(const Report& report) {
    const auto& steps = report.policy.steps;
    return steps[std::min(report.result.rollout.step, steps.size() - 1)];
}

std::string played(const Report& report) {
    const Result& result = report.result;
    const std::string records = text::duration(report.history.look * report.history.looks);
    std::string words =
        records + " of records (" + report.history.what + ", " +
        text::counted(report.history.requests, "request", "requests") + "), played for " +
        text::duration(result.at - result.begin) + ": " + text::number(result.canary_requests) +
        " of " + text::counted(result.requests, "request", "requests") + " stood for the canary. ";
    words += report.policy.baseline.empty() ? "The recorded service" : "The legacy";
    words += report.history.has_users
                 ? " plays both arms: its users are split as the router would split them"
                 : " plays both arms: its counts are split at random, by the weight (seed " +
                       std::to_string(report.plan.seed) + ")";
    return words + ". No new service ran, and nobody was moved.";
}

std::string missing(const Report& report) {
    std::string words;
    for (const Missing& one :
         missing_to_advance(report.result.rollout, report.policy, report.result.at)) {
        if (one.kind == Missing::Kind::stale) continue;
        words += (words.empty() ? "" : "; ") + one.what;
    }
    return words;
}

std::string ended(const Report& report) {
    const Result& result = report.result;
    const Rollout& rollout = result.rollout;
    switch (result.end) {
        case Result::End::rolled_back:
            return "Rolled back after " + since(report, result.at) + ", from " +
                   text::weight(rollout.rolled_back_from) + " (" + present_step(report).name +
                   "): " + rollout.reason;
        case Result::End::ready_to_finish:
            return "The whole plan was played: ready to finish after " + since(report, result.at) +
                   ".";
        case Result::End::records_over: {
            std::string words = "The records ended after " + since(report, result.at) + ", at " +
                                text::weight(rollout.applied.value_or(nobody)) + " (" +
                                present_step(report).name + ").";
            const std::string lacks = missing(report);
            if (!lacks.empty()) words += " Then missing to go on: " + lacks + ".";
            if (!report.plan.repeat) words += " --repeat plays them again until the plan is over.";
            return words;
        }
    }
    return {};
}

std::string after(const Found& found, const std::optional<TimePoint>& at) {
    return at ? text::duration(*at - found.began) : "";
}

std::string fault(const Report& report, const Found& found) {
    const Injection& injection = report.plan.injections[found.injection];
    const bool both = injection.both;
    std::string words = "\"" + injection.as_written + "\"";
    words += both ? " (injected into both arms): " : " (injected into the canary): ";
    if (!found.met) return words + "it never began, the run was over before.";
    if (found.rolled_back) {
        words += "rolled back " + after(found, found.rolled_back) + " after it began";
        if (found.suspected && *found.suspected != *found.rolled_back) {
            words += ", suspected after " + after(found, found.suspected);
        }
        if (both) words += ", although the legacy failed as well";
    } else if (found.suspected || found.held) {
        words += "not rolled back";
        if (found.suspected) words += ", suspected after " + after(found, found.suspected);
        if (found.held) words += ", held after " + after(found, found.held);
        if (both) words += "; both arms failed, so moving users back would not have helped";
    } else {
        words += both ? "nothing was done, and both arms failed" : "NOT found";
    }
    return words + ". The canary had " + text::counted(found.requests, "request", "requests") +
           " exposed to it until then, and it made " + text::number(found.made) + " of them worse.";
}

std::string false_alarms(const Report& report) {
    const auto& all = report.result.false_alarms;
    if (all.empty()) {
        return "None: while no injected fault was there, nothing was rolled back, held or "
               "suspected.";
    }
    const auto rollbacks = std::count_if(all.begin(), all.end(),
                                         [](const FalseAlarm& alarm) { return alarm.rollback; });
    std::string words = text::counted(static_cast<std::int64_t>(all.size()), "alarm", "alarms") +
                        " without an injected fault";
    words += rollbacks > 0 ? ", a FALSE ROLLBACK among them" : ", no rollback among them";
    words += ". The first, after " + since(report, all.front().at) + ": " + all.front().what;
    return words;
}

std::string headline(const Report& report) {
    const Result& result = report.result;
    const auto found = std::find_if(result.found.begin(), result.found.end(),
                                    [](const Found& one) { return one.rolled_back.has_value(); });
    switch (result.end) {
        case Result::End::rolled_back:
            if (found != result.found.end()) {
                return after(*found, found->rolled_back) + " after the injected fault began";
            }
            return "after " + since(report, result.at) + ", without an injected fault";
        case Result::End::ready_to_finish:
            return "the whole plan in " + since(report, result.at);
        case Result::End::records_over:
            return "the records ended after " + since(report, result.at);
    }
    return {};
}

}  // namespace

View view_of(const Report& report) {
    View view;
    view.rollout = report.result.rollout;
    view.policy = report.policy;
    view.now = report.result.at;
    return view;
}

std::string word_of(const Report& report) {
    return text::state_word(view_of(report));
}

int exit_code_of(const Report& report) {
    // That somebody may now finish it is how a good plan ends, not a trouble.
    if (report.result.end == Result::End::ready_to_finish) return 0;
    return text::exit_code(view_of(report));
}

std::string rate(std::int64_t k, std::int64_t n) {
    return n > 0 ? text::share(static_cast<double>(k) / static_cast<double>(n)) : "-";
}

std::string since(const Report& report, TimePoint at) {
    return text::duration(at - report.result.begin);
}

std::string word_of(Moment::Kind kind) {
    switch (kind) {
        case Moment::Kind::started:
            return "started";
        case Moment::Kind::weight:
            return "weight";
        case Moment::Kind::suspicious:
            return "suspicious";
        case Moment::Kind::calm:
            return "calm";
        case Moment::Kind::held:
            return "held";
        case Moment::Kind::released:
            return "released";
        case Moment::Kind::alarm:
            return "alarm";
        case Moment::Kind::other:
            return "decided";
        case Moment::Kind::rolled_back:
            return "rolled back";
        case Moment::Kind::end:
            return "end";
    }
    return "?";
}

Story story_of(const Report& report) {
    Story story;
    story.headline = headline(report);
    story.played = played(report);
    story.ended = ended(report);
    for (const Found& found : report.result.found) story.faults.push_back(fault(report, found));
    story.false_alarms = false_alarms(report);
    return story;
}

std::vector<StepRow> steps_of(const Report& report) {
    const Policy& policy = report.policy;
    const std::vector<Limit> limits = limits_of(policy);
    std::vector<StepRow> rows;
    const auto& samples = report.result.samples;
    for (std::size_t from = 0; from < samples.size();) {
        std::size_t to = from;
        while (to < samples.size() && samples[to].step == samples[from].step) ++to;
        const std::vector<Finding> findings = totals_of(policy, samples[to - 1].ledger);
        for (const Limit& limit : limits) {
            StepRow row;
            row.step = policy.steps[samples[from].step].name;
            row.weight = samples[from].weight;
            row.lasted = samples[to - 1].to - samples[from].from;
            row.criterion = policy.criteria[limit.criterion].name;
            row.limit = limit.p0;
            for (std::size_t i = from; i < to; ++i) {
                const Played::Side& canary = samples[i].sides[0];
                const Played::Side& legacy = samples[i].sides[1];
                row.requests += canary.requests[0];
                row.events += canary.events[limit.signal];
                row.legacy_requests += legacy.requests[0];
                row.legacy_events += legacy.events[limit.signal];
            }
            for (const Finding& finding : findings) {
                if (finding.criterion != row.criterion) continue;
                row.proven_below = finding.bounds.upper;
            }
            rows.push_back(std::move(row));
        }
        from = to;
    }
    return rows;
}

}  // namespace canaryd::backtest
