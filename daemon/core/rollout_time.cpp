// Time, blindness and silence: what looks earn, what is said when they fail, and when a step or a
// report is due.
#include <algorithm>
#include <cmath>
#include <utility>

#include "canaryd/text.hpp"
#include "daemon/core/draft.hpp"

namespace canaryd {
namespace {

bool is_silence(const Hold& hold) {
    return hold.kind == Hold::Kind::blind && hold.name == "silent";
}
bool is_blind_source(const Hold& hold) {
    return hold.kind == Hold::Kind::blind && hold.name.empty();
}

const Window* expected_window(const Look& look, Population who) {
    for (const Window& window : look.windows) {
        if (window.trigger == "expect_traffic" && window.who == who) return &window;
    }
    return nullptr;
}

/// Too few requests for the weight that is on, in a sentence; nullopt: enough, or none to expect.
std::optional<std::string> silence(const Draft& draft, const Look& look) {
    const Policy& policy = draft.policy;
    const Rollout& next = draft.next;
    if (look.to - next.expected_since > policy.expect_within) {
        return "the canary had " + text::number(next.expected_count) + " requests in " +
               text::duration(look.to - next.expected_since) + ", expected at least " +
               text::number(policy.expect_requests) + " within " +
               text::duration(policy.expect_within);
    }
    const Window* canary = expected_window(look, Population::canary);
    const Window* baseline = expected_window(look, Population::baseline);
    const Weight weight = next.applied.value_or(nobody);
    if (canary == nullptr || baseline == nullptr || weight >= everybody) return std::nullopt;
    if (canary->to - canary->from < policy.expect_over) return std::nullopt;
    const double expected =
        weight.share() * static_cast<double>(canary->requests + baseline->requests);
    constexpr double floor = 30;  // fewer expected requests can be absent by chance
    if (expected < floor ||
        static_cast<double>(canary->requests) >= policy.expect_share * expected) {
        return std::nullopt;
    }
    return "the canary had " + text::number(canary->requests) + " requests in " +
           text::duration(policy.expect_over) + ", its share would be " +
           text::number(std::llround(expected));
}

}  // namespace

void report_when_due(Draft& draft) {
    Rollout& next = draft.next;
    if (next.status != Status::progressing && next.status != Status::finishing) return;
    const Duration at_step = draft.event.at - next.applied_since;
    const std::chrono::hours day{24};
    const Duration every = at_step < day       ? draft.policy.report_day_1
                           : at_step < 3 * day ? draft.policy.report_day_2_and_3
                                               : draft.policy.report_later;
    if (draft.event.at - next.last_report < every) return;
    next.last_report = draft.event.at;
    draft.tell(Notice::Kind::report, Severity::info,
               text::report(next, draft.policy, draft.event.at));
}

Transition on_no_evidence(Draft draft, const std::string& error) {
    Rollout& next = draft.next;
    const TimePoint now = draft.event.at;
    const bool first = !next.blind_since;
    // Time in which canaryd was down is not blindness of the source.
    const TimePoint recent = now - draft.policy.settle - draft.policy.evaluate_every;
    if (first) next.blind_since = std::min(now, std::max(next.last_look, recent));
    next.blind_why = error;
    const Duration blind = now - *next.blind_since;
    const std::size_t told = draft.notices.size();
    const bool held = std::any_of(next.holds.begin(), next.holds.end(), is_blind_source);
    if (!held && blind >= draft.policy.blind_hold_after) {
        draft.add_hold(Hold::Kind::blind, "",
                       "no metrics since " + text::time(*next.blind_since) + ": " + error);
    }
    if (draft.policy.blind_rollback_after && blind >= *draft.policy.blind_rollback_after) {
        const std::string why =
            "blind for " + text::duration(blind) + " and the policy says roll back: " + error;
        draft.roll_back(why);
        return std::move(draft).done(why);
    }
    report_when_due(draft);
    if (!first && draft.notices.size() == told) return draft.forget();
    return std::move(draft).done("no evidence: " + error);
}

void watch_for_silence(Draft& draft, const Look& look) {
    Rollout& next = draft.next;
    if (next.expected_count >= draft.policy.expect_requests) {
        next.expected_count = 0;
        next.expected_since = look.to;
    }
    const bool held = std::any_of(next.holds.begin(), next.holds.end(), is_silence);
    const std::optional<std::string> why = silence(draft, look);
    if (why && !held) draft.add_hold(Hold::Kind::blind, "silent", *why);
    if (!why && held) {
        draft.drop_holds(is_silence);
        draft.tell(Notice::Kind::back_in_sight, Severity::info,
                   draft.policy.name + ": the canary talks again");
    }
}

void in_sight_again(Draft& draft) {
    Rollout& next = draft.next;
    if (!next.blind_since) return;
    const bool held = std::any_of(next.holds.begin(), next.holds.end(), is_blind_source);
    if (held) {
        draft.drop_holds(is_blind_source);
        draft.tell(Notice::Kind::back_in_sight, Severity::info,
                   draft.policy.name + ": metrics are back; the counts since " +
                       text::time(*next.blind_since) + " are judged now");
    }
    next.blind_since.reset();
    next.blind_why.clear();
}

void earn_time(Draft& draft, const Look& look, bool was_blind) {
    const Rollout& before = draft.before;
    Rollout& next = draft.next;
    const TimePoint from = std::max(look.from, before.applied_since);
    const Duration span = std::max(Duration{0}, look.to - from);
    const Duration running = std::max(Duration{0}, look.to - std::max(from, before.earn_from));
    const Duration earned = std::min(running, draft.policy.evaluate_every);
    const bool suspicious = before.suspicious || next.suspicious || next.ledger.waiting;
    std::optional<Uncounted> why;
    if (draft.event.at - look.to > draft.policy.settle + 2 * draft.policy.evaluate_every) {
        why = was_blind ? Uncounted::blind : Uncounted::down;
    } else if (before.applied != before.desired || before.desired != draft.present_step().weight) {
        why = before.holds.empty() ? Uncounted::unconfirmed : Uncounted::held;
    } else if (before.paused) {
        why = Uncounted::paused;
    } else if (!before.holds.empty() || !next.holds.empty()) {
        why = was_blind ? Uncounted::blind : Uncounted::held;
    } else if (suspicious) {
        why = Uncounted::suspicious;
    }
    const auto lose = [&next](Uncounted kind, Duration lost) {
        next.uncounted[static_cast<std::size_t>(kind)] += lost;
    };
    if (why) {
        lose(*why, span);
        return;
    }
    next.baked += earned;
    lose(was_blind ? Uncounted::blind : Uncounted::down, running - earned);
    lose(Uncounted::paused, span - running);
    if (draft.is_last_step() && next.desired == everybody) next.soaked += earned;
}

Duration time_at_step(const Rollout& rollout) {
    Duration time = rollout.baked;
    for (std::size_t i = 0; i < rollout.uncounted.size(); ++i) {
        const auto kind = static_cast<Uncounted>(i);
        if (kind != Uncounted::paused && kind != Uncounted::down) time += rollout.uncounted[i];
    }
    return time;
}

void hold_when_overdue(Draft& draft) {
    Rollout& next = draft.next;
    if (next.status != Status::progressing) return;
    if (is_soaking(next, draft.policy)) {
        draft.drop_holds(is_unproven);
        return;
    }
    const Duration limit = draft.policy.max_step_of(next.step) + next.extended;
    if (time_at_step(next) <= limit) return;
    draft.add_hold(Hold::Kind::unproven, "",
                   draft.present_step().name + " has lasted " + text::duration(limit) +
                       " (max_step) without being ready; promote, extend or roll back");
}

}  // namespace canaryd
