// Looks and peeks: evidence and triggers are applied, and a step ends in promote, roll back or
// extend. What time is worth: rollout_time.cpp.
#include <algorithm>
#include <utility>

#include "canaryd/text.hpp"
#include "daemon/core/draft.hpp"

namespace canaryd {
namespace {

bool is_shared_outage(const Hold& hold) {
    return hold.kind == Hold::Kind::shared_outage;
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

struct Sum {
    std::int64_t requests = 0, events = 0;
};

/// Raw counts of one signal, population and segment in a look. What a relative stream may not use
/// is not in them.
Sum sum_of(const Look& look, Population who, const std::string& segment, std::size_t signal,
           bool with_late) {
    Sum sum;
    const auto add = [&](const std::vector<Tally>& tallies) {
        for (const Tally& tally : tallies) {
            if (tally.who != who || tally.segment != segment) continue;
            sum.requests += tally.requests;
            if (signal < tally.events.size()) sum.events += tally.events[signal].raw;
        }
    };
    add(look.on_time);
    if (with_late) add(look.late);
    return sum;
}

/// "12 of 126".
std::string part(std::int64_t events, std::int64_t requests) {
    return text::number(events) + " of " + text::number(requests);
}
/// "12 of 126 requests failed (9.5 %)".
std::string part(const Sum& sum, const std::string& did) {
    return part(sum.events, sum.requests) + did + " (" +
           (sum.requests > 0
                ? text::share(static_cast<double>(sum.events) / static_cast<double>(sum.requests))
                : "-") +
           ")";
}

/// The sentence of an automatic rollback or hold by a criterion: counts, limit, harm.
std::string criterion_sentence(const Draft& draft, const Verdict& verdict, const Look& look,
                               Action then) {
    const Policy& policy = draft.policy;
    const Ledger& ledger = draft.next.ledger;
    const bool holds = then == Action::hold;
    const std::size_t scopes = policy.segments.size() + 1;
    const std::size_t at = holds ? ledger.hold.suspect : verdict.suspect;
    const Claim claim = claims_of(policy, then)[at / scopes];
    const std::string segment = at % scopes == 0 ? "" : policy.segments[at % scopes - 1];
    const Stream& stream = holds ? ledger.hold.streams[at] : ledger.streams[at];
    const double harm =
        holds ? hold_of_100(policy, verdict.hold_ln_m) : harm_of_100(policy, verdict.ln_m);
    if (claim.per != Per::request) {
        const std::string& number = policy.criteria[claim.criterion].signal.number;
        return "criterion " + stream_name(policy, at, then) + ": " +
               text::of_query(number, stream.requests, stream.events, claim.per) + " (" +
               text::rate(rate_of(stream.requests, stream.events, claim.per), claim.per) +
               ") at this step; limit " + text::rate(claim.p0, claim.per) + ". Harm " +
               text::harm(harm) + " of 100.";
    }
    const std::string did = policy.criteria[claim.criterion].signal.kind == Signal::Kind::failed
                                ? " requests failed"
                                : " requests were too slow";
    const Sum ours = sum_of(look, Population::canary, segment, claim.signal, !claim.relative());
    std::string words = "criterion " + stream_name(policy, at, then) + ": " + part(ours, did) +
                        " from " + text::time_of_day(look.from) + " to " +
                        text::time_of_day(look.to) + ", ";
    if (claim.relative()) {
        const Sum theirs = sum_of(look, Population::baseline, segment, claim.signal, false);
        words += "on the baseline " + part(theirs, "") + "; at this step " +
                 part(stream.events, stream.requests) + " against " +
                 part(stream.baseline_events, stream.baseline_requests) + "; allowed " +
                 text::margin(*claim.margin);
    } else {
        words +=
            part(stream.events, stream.requests) + " at this step; limit " + text::share(claim.p0);
    }
    return words + ". Harm " + text::harm(harm) + " of 100.";
}

/// Applies what the triggers saw. Returns the sentence of a rollback, if one acts so.
std::optional<std::string> apply_triggers(Draft& draft, const std::vector<TriggerSaw>& all) {
    std::optional<std::string> rollback;
    for (const TriggerSaw& saw : all) {
        TriggerState& state = draft.next.triggers[saw.key];
        remember(saw, state);
        if (!saw.acts) continue;
        const std::string line = "trigger " + text::trigger_line(*saw.trigger, state, *saw.segment);
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
    if (hold == nullptr || draft.next.hold(Hold::Kind::shared_outage) == nullptr) return;
    const std::chrono::hours hour{1};
    if ((draft.event.at - hold->since) / hour == (draft.before.last_look - hold->since) / hour) {
        return;
    }
    draft.tell(Notice::Kind::held, Severity::warning,
               draft.policy.name + ": still held at " + text::weight(draft.next.desired) +
                   " after " + text::duration(draft.event.at - hold->since) + "\n" + hold->why +
                   "\n" + text::way_out(*hold));
}

void hold_by_verdict(Draft& draft, const Verdict& verdict, const Look& look) {
    if (verdict.guard) {
        draft.add_hold(Hold::Kind::shared_outage, "",
                       "canary and baseline are both above a limit: a shared outage; moving users "
                       "back would not help");
    }
    repeat_shared_outage(draft);
    if (verdict.confirmation_failed) {
        draft.add_hold(Hold::Kind::confirmation, "",
                       "the alarm of " + stream_name(draft.policy, draft.next.ledger.suspect) +
                           " was not confirmed within " +
                           text::duration(draft.policy.confirm_without_baseline) +
                           "; the watch goes on");
    }
    if (verdict.hold_acted) {
        const std::size_t suspect = draft.next.ledger.hold.suspect;
        draft.add_hold(Hold::Kind::criterion, stream_name(draft.policy, suspect, Action::hold),
                       criterion_sentence(draft, verdict, look, Action::hold));
    }
    const auto& waiting = draft.next.ledger.waiting;
    if (verdict.alarm && waiting) {
        const std::string why = "alarm of criterion " + stream_name(draft.policy, waiting->stream) +
                                ": harm " + text::harm(harm_of_100(draft.policy, verdict.ln_m)) +
                                " of 100, without a baseline to compare with";
        // The journal's sentence, which the state's hash covers.
        draft.changed(why + ". It acts when the next " +
                      text::duration(draft.policy.confirm_without_baseline) + " confirm it");
        draft.tell(Notice::Kind::waiting, Severity::critical, draft.policy.name + ": " + why);
    }
}

void say_extended(Draft& draft, const std::vector<Missing>& missing) {
    Rollout& next = draft.next;
    if (next.baked_told) return;
    next.baked_told = true;
    std::string what;
    for (const Missing& one : missing) {
        if (one.kind == Missing::Kind::soak || one.kind == Missing::Kind::raise) continue;
        what += "\n- " + one.what;
    }
    if (what.empty()) return;
    const std::string why =
        "the bake of " + draft.present_step().name + " is complete, the step is extended";
    draft.changed(why);
    const Duration left = draft.policy.max_step_of(next.step) + next.extended - time_at_step(next);
    std::string after;
    if (left > Duration{0}) {
        after = " It goes on by itself when nothing is missing; after max_step, " +
                text::time(draft.event.at + left) + " at the earliest, it is held and asks.";
    }
    draft.tell(Notice::Kind::extended, Severity::info,
               draft.policy.name + ": " + why + ". Missing:" + what + "\n" +
                   text::where_users_are(next, draft.policy) + after);
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
        std::string why =
            draft.present_step().name + " is proven: " + text::weight(next.desired) + " is ordered";
        draft.changed(why);
        return why;
    }
    next.status = Status::finishing;
    std::string why = "soaked " + text::duration(next.soaked) + " at 100 %: ready to finish";
    draft.changed(why);
    draft.tell(Notice::Kind::soaked, Severity::info, draft.policy.name + ": " + why);
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
        std::string why =
            fired ? *fired : criterion_sentence(draft, verdict, look, Action::rollback);
        draft.roll_back(why);
        return with_verdict(std::move(draft).done(std::move(why)), std::move(verdict));
    }
    if (verdict.raise_settle) {
        draft.tell(Notice::Kind::warned, Severity::warning,
                   draft.policy.name +
                       ": more than 1 % of a day's requests came later than settle (" +
                       text::duration(draft.policy.settle) +
                       "). Limits count them; comparisons with the baseline leave them out: raise "
                       "settle in the next policy");
    }
    end_shared_outages(draft, saw, verdict.guard);
    hold_by_verdict(draft, verdict, look);
    std::string why;
    if (!next.phase_due) {  // else the look is the last one of the step before
        next.proven = verdict.proven;
        add_up(draft, look);
        watch_for_silence(draft, look);
        // Part of the counts is still to come: they are judged, and nothing is earned by them.
        if (look.canary_complete) earn_time(draft, look, was_blind);
        hold_when_overdue(draft);
        if (look.canary_complete) why = advance(draft);
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
        if (saw.trigger->then == Action::warn || saw.acted) continue;
        remember(saw, draft.next.triggers[saw.key]);
        const std::string line =
            "trigger " +
            text::trigger_line(*saw.trigger, draft.next.triggers[saw.key], *saw.segment);
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
