// Looks and peeks: evidence is applied, time is earned, and a step ends in promote, roll back or
// extend.
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
bool is_shared_outage(const Hold& hold) {
    return hold.kind == Hold::Kind::shared_outage;
}
bool is_unproven(const Hold& hold) {
    return hold.kind == Hold::Kind::unproven;
}

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

/// No evidence: it never promotes, bakes or, unless the policy says so, rolls back.
Transition on_no_evidence(Draft draft, const std::string& error) {
    Rollout& next = draft.next;
    const TimePoint now = draft.event.at;
    const bool first = !next.blind_since;
    if (first) next.blind_since = std::min(next.last_look, now);
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

/// Sums of this step, for people and for segment_seen.
void add_up(Draft& draft, const Look& look) {
    Rollout& next = draft.next;
    const auto add = [&](const Tally& tally) {
        if (tally.segment.empty()) {
            Seen& seen = tally.who == Population::canary ? next.canary : next.baseline;
            seen.requests += tally.requests;
            for (std::size_t i = 0; i < seen.events.size() && i < tally.events.size(); ++i) {
                seen.events[i] += tally.events[i].raw;
            }
            seen.latency.add(tally.latency);
            if (tally.who == Population::canary) {
                next.expected_count += tally.requests;
                if (tally.requests > 0) next.last_canary_request = look.to;
            }
            return;
        }
        if (tally.who != Population::canary || tally.requests <= 0) return;
        const auto& names = draft.policy.segments;
        const auto found = std::find(names.begin(), names.end(), tally.segment);
        if (found == names.end()) return;
        SegmentState& state = next.segments[static_cast<std::size_t>(found - names.begin())];
        state.requests += tally.requests;
        if (!tally.events.empty()) state.events_failed += tally.events.front().raw;
        state.last_request = look.to;
        for (const std::uint64_t user : tally.new_users) {
            const auto size = static_cast<std::int64_t>(state.users.size());
            if (size >= draft.policy.segment_users) break;
            if (std::find(state.users.begin(), state.users.end(), user) == state.users.end()) {
                state.users.push_back(user);
            }
        }
    };
    for (const Tally& tally : look.on_time) add(tally);
    for (const Tally& tally : look.late) add(tally);
}

const Window* expected_window(const Look& look, Population who) {
    for (const Window& window : look.windows) {
        if (window.trigger == "expect_traffic" && window.who == who) return &window;
    }
    return nullptr;
}

/// Quiet is not blind, but a canary that should have talked and did not is.
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

/// The sentence of an automatic rollback by a criterion: counts, limit, harm.
std::string criterion_sentence(const Draft& draft, const Verdict& verdict, const Look& look) {
    const std::size_t scopes = draft.policy.segments.size() + 1;
    const std::size_t at = verdict.top;
    const Limit limit = limits_of(draft.policy)[at / scopes];
    const std::string segment = at % scopes == 0 ? "" : draft.policy.segments[at % scopes - 1];
    std::int64_t requests = 0, events = 0;
    for (const auto* tallies : {&look.on_time, &look.late}) {
        for (const Tally& tally : *tallies) {
            if (tally.who != Population::canary || tally.segment != segment) continue;
            requests += tally.requests;
            if (limit.signal < tally.events.size()) events += tally.events[limit.signal].raw;
        }
    }
    const Stream& stream = draft.next.ledger.streams[at];
    const double harm = harm_of_100(draft.policy, verdict.ln_m);
    const std::string did =
        draft.policy.criteria[limit.criterion].signal.kind == Signal::Kind::failed
            ? " requests failed"
            : " requests were too slow";
    const auto rate = [](std::int64_t k, std::int64_t n) {
        return n > 0 ? text::share(static_cast<double>(k) / static_cast<double>(n)) : "-";
    };
    return "criterion " + stream_name(draft.policy, at) + ": " + text::number(events) + " of " +
           text::number(requests) + did + " (" + rate(events, requests) + ") from " +
           text::time_of_day(look.from) + " to " + text::time_of_day(look.to) + ", " +
           text::number(stream.events) + " of " + text::number(stream.requests) +
           " at this step; limit " + text::share(limit.p0) + ". Harm " + text::harm(harm) +
           " of 100.";
}

/// Applies what the triggers saw. Returns the sentence of a rollback, if one acts so.
std::optional<std::string> apply_triggers(Draft& draft, const std::vector<TriggerSaw>& all) {
    std::optional<std::string> rollback;
    for (const TriggerSaw& saw : all) {
        TriggerState& state = draft.next.triggers[saw.key];
        state = saw.state;
        if (!saw.acts) continue;
        const std::string line = "trigger " + text::trigger_line(*saw.trigger, state, saw.segment);
        if (saw.baseline_broke && draft.policy.hold_on_shared_outage) {
            draft.add_hold(Hold::Kind::shared_outage, saw.key,
                           line +
                               ". The baseline breaks the same rule: moving users back would "
                               "not help");
            continue;
        }
        switch (saw.trigger->then) {
            case Action::rollback:
                if (!rollback) rollback = line;
                break;
            case Action::hold:
                if (!state.acted) draft.add_hold(Hold::Kind::trigger, saw.key, line);
                state.acted = true;
                break;
            case Action::warn:
                if (!state.acted) {
                    draft.tell(Notice::Kind::warned, Severity::warning,
                               draft.policy.name + ": " + line);
                }
                state.acted = true;
                break;
        }
    }
    return rollback;
}

/// A shared outage ends by itself, cause by cause.
void end_shared_outages(Draft& draft, const std::vector<TriggerSaw>& all, bool guard) {
    auto& holds = draft.next.holds;
    const bool was = draft.next.hold(Hold::Kind::shared_outage) != nullptr;
    const auto over = [&](const Hold& hold) {
        if (hold.kind != Hold::Kind::shared_outage) return false;
        if (hold.name.empty()) return !guard;
        return std::none_of(all.begin(), all.end(), [&](const TriggerSaw& saw) {
            return saw.key == hold.name && saw.broke && saw.baseline_broke;
        });
    };
    holds.erase(std::remove_if(holds.begin(), holds.end(), over), holds.end());
    if (was && std::none_of(holds.begin(), holds.end(), is_shared_outage)) {
        draft.tell(Notice::Kind::resumed, Severity::info,
                   draft.policy.name + ": the shared outage is over; the canary alone is judged");
    }
}

/// A shared outage that lasts is said again each hour.
void repeat_shared_outage(Draft& draft) {
    const Hold* hold = draft.before.hold(Hold::Kind::shared_outage);
    if (hold == nullptr) return;
    const std::chrono::hours hour{1};
    if ((draft.event.at - hold->since) / hour == (draft.before.last_look - hold->since) / hour) {
        return;
    }
    draft.tell(Notice::Kind::held, Severity::warning,
               draft.policy.name + ": still held after " +
                   text::duration(draft.event.at - hold->since) + ": " + hold->why);
}

void hold_by_verdict(Draft& draft, const Verdict& verdict) {
    const std::string where = stream_name(draft.policy, draft.next.ledger.suspect);
    if (verdict.guard) {
        draft.add_hold(Hold::Kind::shared_outage, "",
                       "canary and baseline are both above a limit: a shared outage; moving users "
                       "back would not help");
    }
    repeat_shared_outage(draft);
    if (verdict.confirmation_failed) {
        draft.add_hold(Hold::Kind::confirmation, "",
                       "the alarm of " + where + " was not confirmed within " +
                           text::duration(draft.policy.confirm_without_baseline) +
                           "; the watch goes on");
    }
    const auto& waiting = draft.next.ledger.waiting;
    if (verdict.alarm && waiting) {
        const std::string why =
            "alarm of criterion " + stream_name(draft.policy, waiting->stream) +
            ": harm " + text::harm(harm_of_100(draft.policy, verdict.ln_m)) +
            " of 100, without a baseline to compare with. It acts when the "
            "next " +
            text::duration(draft.policy.confirm_without_baseline) + " confirm it";
        draft.changed(why);
        draft.tell(Notice::Kind::waiting, Severity::critical, draft.policy.name + ": " + why);
    }
}

/// Bake is time seen without suspicion at the wanted, confirmed weight; a gap earns one interval.
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

/// After max_step: held, and asks. Waiting alone never promotes.
void hold_when_overdue(Draft& draft) {
    Rollout& next = draft.next;
    if (next.status != Status::progressing) return;
    const bool done =
        draft.is_last_step() && next.proven && next.baked >= bake_wanted(next, draft.policy);
    if (done) {
        draft.drop_holds(is_unproven);
        return;
    }
    const Duration limit = draft.policy.max_step_of(next.step) + next.extended;
    if (draft.event.at - next.applied_since <= limit) return;
    draft.add_hold(Hold::Kind::unproven, "",
                   draft.present_step().name + " has lasted " + text::duration(limit) +
                       " (max_step) without being ready; promote, extend or roll back");
}

void say_extended(Draft& draft, const std::vector<Missing>& missing) {
    Rollout& next = draft.next;
    if (next.baked_told) return;
    next.baked_told = true;
    std::string what;
    for (const Missing& one : missing) {
        if (one.kind == Missing::Kind::soak) continue;
        what += "\n- " + one.what;
    }
    if (what.empty()) return;
    const std::string why =
        "the bake of " + draft.present_step().name + " is complete, the step is extended";
    draft.changed(why);
    draft.tell(Notice::Kind::extended, Severity::info,
               draft.policy.name + ": " + why + ". Missing:" + what);
}

/// Promote, finish or extend; at most one step, and only on this look's own verdict.
std::string advance(Draft& draft) {
    Rollout& next = draft.next;
    if (next.status != Status::progressing) return {};
    if (next.baked < bake_wanted(next, draft.policy)) return {};
    const bool likely = next.proven && !next.suspicious && next.holds.empty() && !next.paused;
    if (!likely && next.baked_told) return {};
    const auto missing = missing_to_advance(next, draft.policy, draft.event.at);
    if (!missing.empty()) {
        say_extended(draft, missing);
        return {};
    }
    if (!draft.is_last_step()) {
        draft.order_raise(draft.policy.steps[next.step + 1].weight);
        const std::string why =
            draft.present_step().name + " is proven: " + text::weight(next.desired) + " is ordered";
        draft.changed(why);
        return why;
    }
    next.status = Status::finishing;
    const std::string why = "soaked " + text::duration(next.soaked) + " at 100 %: ready to finish";
    draft.changed(why);
    draft.tell(Notice::Kind::soaked, Severity::info,
               draft.policy.name + ": " + why + ". The watch goes on until: canaryctl finish " +
                   next.id + " --reason WHY");
    return why;
}

std::string summary(const Rollout& next, const Verdict& verdict, const Policy& policy) {
    return "look: harm " + text::harm(harm_of_100(policy, verdict.ln_m)) + " of 100, " +
           std::string(text::name(verdict.decision)) + (next.proven ? ", proven" : "");
}

Transition with_verdict(Transition transition, Verdict verdict) {
    transition.verdict = std::move(verdict);
    return transition;
}

Transition on_evidence(Draft draft, const event::Looked& looked) {
    const Look& look = looked.look;
    Rollout& next = draft.next;
    const bool was_blind = next.blind_since.has_value();
    in_sight_again(draft);
    if (next.phase_due && look.from >= next.applied_since) {
        const bool baseline = next.desired < everybody && !draft.policy.baseline.empty();
        next.ledger = begin_phase(draft.policy, std::move(next.ledger), look.from, baseline);
        next.phase_due = false;
    }
    Verdict verdict = judge(draft.policy, next.ledger, look);
    next.ledger = std::move(verdict.ledger);
    next.ln_m = verdict.ln_m;
    next.suspicious = verdict.suspicious;
    next.last_look = look.to;
    next.cursor = look.cursor;
    next.nobody_hears = looked.nobody_hears;
    const auto saw = read_triggers(draft.before, draft.policy, look, false);
    const std::optional<std::string> fired = apply_triggers(draft, saw);
    if (verdict.decision == Decision::rollback || fired) {
        std::string why = fired ? *fired : criterion_sentence(draft, verdict, look);
        draft.roll_back(why);
        return with_verdict(std::move(draft).done(std::move(why)), std::move(verdict));
    }
    end_shared_outages(draft, saw, verdict.guard);
    hold_by_verdict(draft, verdict);
    std::string why;
    if (!next.phase_due) {  // else the look is the last one of the step before
        next.proven = verdict.proven;
        add_up(draft, look);
        watch_for_silence(draft, look);
        earn_time(draft, look, was_blind);
        hold_when_overdue(draft);
        why = advance(draft);
    }
    report_when_due(draft);
    if (why.empty()) why = summary(next, verdict, draft.policy);
    return with_verdict(std::move(draft).done(std::move(why)), std::move(verdict));
}

}  // namespace

Transition on_looked(Draft draft, const event::Looked& looked) {
    const Rollout& now = draft.before;
    if (now.over() || now.status == Status::pending) return draft.forget();
    if (!looked.look.error.empty()) {
        return on_no_evidence(std::move(draft), looked.look.error);
    }
    // Looks partition time: one that does not begin where the last one ended was asked for before
    // something else was decided, and its counts come with the next one.
    if (looked.look.from != now.last_look || looked.look.to <= looked.look.from) {
        return draft.forget();
    }
    return on_evidence(std::move(draft), looked);
}

Transition on_peeked(Draft draft, const event::Peeked& peeked) {
    const Rollout& now = draft.before;
    if (now.over() || now.status == Status::pending || !peeked.look.error.empty()) {
        return draft.forget();
    }
    for (const TriggerSaw& saw : read_triggers(now, draft.policy, peeked.look, true)) {
        if (!saw.acts) continue;
        // Looks hold for a shared outage; a peek need not.
        if (saw.baseline_broke && draft.policy.hold_on_shared_outage) continue;
        if (saw.trigger->then == Action::warn || saw.state.acted) continue;
        draft.next.triggers[saw.key] = saw.state;
        const std::string line =
            "trigger " + text::trigger_line(*saw.trigger, saw.state, saw.segment);
        if (saw.trigger->then == Action::rollback) {
            draft.roll_back(line);
        } else {
            draft.add_hold(Hold::Kind::trigger, saw.key, line);
            draft.next.triggers[saw.key].acted = true;
        }
        return std::move(draft).done(line);
    }
    return draft.forget();
}

}  // namespace canaryd
