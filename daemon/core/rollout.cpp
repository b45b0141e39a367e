// step(): dispatch and routes. Looks: rollout_look.cpp and rollout_time.cpp; people:
// rollout_command.cpp.
#include "canaryd/rollout.hpp"

#include <algorithm>
#include <utility>

#include "canaryd/text.hpp"
#include "daemon/core/draft.hpp"

namespace canaryd {

const Hold* Rollout::hold(Hold::Kind kind) const {
    const auto found = std::find_if(holds.begin(), holds.end(),
                                    [kind](const Hold& hold) { return hold.kind == kind; });
    return found == holds.end() ? nullptr : &*found;
}

bool Rollout::needs_a_person() const {
    return std::any_of(holds.begin(), holds.end(), [](const Hold& hold) { return !hold.heals(); });
}

bool SegmentState::seen_enough(const Policy& policy) const {
    return requests >= policy.segment_requests &&
           static_cast<std::int64_t>(users.size()) >= policy.segment_users;
}

void Draft::roll_back(const std::string& why) {
    next.status = Status::rolled_back;
    next.rolled_back_at = event.at;
    next.rolled_back_from = std::max(next.applied.value_or(nobody), next.desired);
    next.holds.clear();
    next.paused.reset();
    order_lower(nobody);
    changed(why);
    tell(Notice::Kind::rolled_back, Severity::critical,
         policy.name + ": ROLLED BACK from " + text::weight(next.rolled_back_from) + " to 0 % (" +
             present_step().name + ")\n" + why +
             "\nIt will not go up again by itself.\nDo now: canaryctl ack " + next.id);
}

void Draft::order_raise(Weight weight) {
    next.desired = weight;
    next.ordered = next.revision;
    next.raise_expires = event.at + policy.evaluate_every;
}

void Draft::order_lower(Weight weight) {
    next.desired = weight;
    next.ordered = next.revision;
    next.raise_expires.reset();
}

void Draft::add_hold(Hold::Kind kind, const std::string& name, const std::string& why) {
    for (const Hold& hold : next.holds) {
        if (hold.kind == kind && hold.name == name) return;
    }
    next.holds.push_back({kind, name, event.at, why});
    // A raise that is still on its way is taken back: held means that nothing rises.
    if (next.raise_expires) order_lower(next.applied.value_or(nobody));
    changed(why);
    const bool blind = kind == Hold::Kind::blind;
    std::string words = policy.name + ": held at " + text::weight(next.desired) + "\n" + why +
                        "\n" + text::way_out(next.holds.back());
    if (blind && next.blind_since && policy.blind_rollback_after) {
        words += " Still blind by " + text::time(*next.blind_since + *policy.blind_rollback_after) +
                 ", it rolls back.";
    }
    tell(blind ? Notice::Kind::blind : Notice::Kind::held, Severity::warning, std::move(words));
}

void Draft::drop_holds(bool (*which)(const Hold&)) {
    next.holds.erase(std::remove_if(next.holds.begin(), next.holds.end(), which), next.holds.end());
}

std::string Draft::ending(Notice::Kind kind) const {
    switch (kind) {
        case Notice::Kind::held:
        case Notice::Kind::blind:
        case Notice::Kind::extended:
        case Notice::Kind::rolled_back:
        case Notice::Kind::finished:
        case Notice::Kind::report:
            return {};  // said in their own words
        case Notice::Kind::warned:
            return "\n" + text::where_users_are(next, policy);
        case Notice::Kind::started:
        case Notice::Kind::promoted:
        case Notice::Kind::waiting:
        case Notice::Kind::back_in_sight:
        case Notice::Kind::resumed:
        case Notice::Kind::paused:
        case Notice::Kind::soaked:
        case Notice::Kind::drift:
        case Notice::Kind::raise_lapsed:
            return "\n" + text::outlook(next, policy, event.at);
    }
    return {};
}

Transition Draft::done(std::string reason) && {
    // Only now: what is told at a look's beginning may be overtaken by its verdict.
    for (Notice& notice : notices) notice.text += ending(notice.kind);
    Transition transition;
    transition.next = std::move(next);
    transition.notices = std::move(notices);
    transition.reason = std::move(reason);
    return transition;
}

Transition Draft::refuse(const std::string& why) const {
    Transition transition;
    transition.next = before;
    transition.next.revision = before.revision + 1;
    transition.reason = why;
    transition.refused = true;
    return transition;
}

Transition Draft::forget() const {
    Transition transition;
    transition.next = before;
    transition.forget = true;
    return transition;
}

namespace {

Transition on_started(Draft draft, const event::Started& started) {
    if (draft.before.revision != 0) {
        return draft.refuse(
            "cannot start: " + draft.before.id + " is not over yet (" +
            std::string(text::name(draft.before.status)) +
            (draft.before.over() ? ", and the router has not confirmed its weight)" : ")"));
    }
    Rollout& next = draft.next;
    next.id = started.id;
    next.name = draft.policy.name;
    next.policy_hash = draft.policy.hash;
    next.started = draft.event.at;
    next.last_report = draft.event.at;
    next.ledger = new_ledger(draft.policy);
    next.segments.resize(draft.policy.segments.size());
    const std::size_t signals = signals_of(draft.policy).size();
    next.canary.events.resize(signals);
    next.baseline.events.resize(signals);
    draft.order_raise(draft.policy.steps.front().weight);
    const std::string why = "started by " + draft.event.by + ": " + text::weight(next.desired) +
                            " on " + draft.policy.canary + " for at least " +
                            text::duration(draft.policy.steps.front().bake);
    draft.changed(why);
    draft.tell(Notice::Kind::started, Severity::info, draft.policy.name + ": " + why);
    return std::move(draft).done(why);
}

/// The step's counters begin anew; its first look will begin the ledger's phase.
void enter_step(Draft& draft, std::size_t step) {
    Rollout& next = draft.next;
    if (step != next.step) next.bake_seen.push_back(next.baked);
    next.step = step;
    next.phase_due = true;
    next.baked = Duration{0};
    next.extended = Duration{0};
    next.uncounted.fill(Duration{0});
    next.baked_told = false;
    next.proven = false;
    const std::size_t signals = next.canary.events.size();
    next.canary = Seen{};
    next.canary.events.resize(signals);
    next.baseline = next.canary;
    for (SegmentState& segment : next.segments) {
        segment.requests = 0;
        segment.events_failed = 0;
        segment.users.clear();
    }
}

Transition confirmed(Draft draft) {
    Rollout& next = draft.next;
    const Weight weight = next.desired;
    next.applied = weight;
    next.applied_since = draft.event.at;
    next.raise_expires.reset();
    next.expected_since = draft.event.at;
    next.expected_count = 0;
    std::string why = "the router serves " + text::weight(weight);
    if (next.status == Status::pending && weight > nobody) {
        next.status = Status::progressing;
        next.last_look = draft.event.at;
        enter_step(draft, 0);
    } else if (next.status == Status::progressing && !draft.is_last_step() &&
               weight == draft.policy.steps[next.step + 1].weight) {
        enter_step(draft, next.step + 1);
        const Step& step = draft.present_step();
        why += ": " + step.name + " begins, at least " + text::duration(step.bake);
        draft.changed(why);
        draft.tell(Notice::Kind::promoted, Severity::info,
                   draft.policy.name + ": " + text::weight(weight) + " on " + draft.policy.canary +
                       "\n" + why);
    }
    return std::move(draft).done(why);
}

bool by_somebody_else(const Served& served) {
    return !served.by.empty() && served.by != "canaryd";
}

Transition lowered_by_hand(Draft draft, const Served& served) {
    if (served.weight == nobody && by_somebody_else(served)) {
        const std::string why = "rolled back past the daemon by " + served.by +
                                (served.reason.empty() ? "" : ": " + served.reason);
        draft.roll_back(why);
        draft.next.applied = nobody;
        draft.next.applied_since = draft.event.at;
        return std::move(draft).done(why);
    }
    const std::string who = by_somebody_else(served) ? served.by : "somebody";
    const auto& lease = draft.policy.router.exposure_lease;
    const bool lapsed = lease && served.weight == nobody && served.by == "canaryd";
    const std::string why =
        served.revision == 0 && served.by.empty() ? "the route row is gone: readers get legacy"
        : lapsed ? "nobody renewed the route for " + text::duration(*lease) +
                       ": the exposure lease lapsed and readers get legacy"
                 : who + " lowered the route by hand from " + text::weight(draft.next.desired) +
                       " to " + text::weight(served.weight);
    draft.order_lower(served.weight);
    // What has lapsed is still written in the row, and in the flags: it is lowered there as well.
    if (!lapsed) {
        draft.next.applied = served.weight;
        draft.next.applied_since = draft.event.at;
    }
    draft.add_hold(Hold::Kind::drift, "", why);
    return std::move(draft).done(why);
}

Transition raised_by_hand(Draft draft, const Served& served) {
    const std::string what =
        served.by == "canaryd"
            ? "a late order of canaryd took effect at " + text::weight(served.weight)
            : (served.by.empty() ? "somebody" : served.by) + " set the route to " +
                  text::weight(served.weight) + " by hand";
    const std::string why = what + ": lowered back to " + text::weight(draft.next.desired);
    draft.next.applied = served.weight;
    draft.next.applied_since = draft.event.at;
    draft.next.ordered = draft.next.revision;
    draft.changed(why);
    draft.tell(Notice::Kind::drift, Severity::warning, draft.policy.name + ": " + why);
    return std::move(draft).done(why);
}

}  // namespace

Transition on_route_read(Draft draft, const Served& served) {
    const Rollout& now = draft.before;
    if (now.status == Status::finished) return draft.forget();
    const bool known = now.route_from.has_value();
    if (!known) draft.next.route_from = served.revision;
    // What somebody set to 0 % since this rollout began is a rollback, even before its first raise
    // or when it wants 0 % already; a row from before (an earlier rollback) is not.
    if (known && !now.over() && served.weight == nobody && by_somebody_else(served) &&
        served.revision > *now.route_from) {
        return lowered_by_hand(std::move(draft), served);
    }
    const bool was_confirmed = now.applied == now.desired;
    if (served.weight == now.desired) {
        return was_confirmed ? draft.forget() : confirmed(std::move(draft));
    }
    if (served.weight > now.desired) {
        // Not yet lowered is no news; raised above what was confirmed is.
        if (was_confirmed) return raised_by_hand(std::move(draft), served);
        return draft.forget();
    }
    // Served below what was once confirmed: not "not yet raised", but lowered.
    if (now.applied && served.weight < *now.applied) {
        return lowered_by_hand(std::move(draft), served);
    }
    if (known) return draft.forget();
    return std::move(draft).done("the route was at " + text::weight(served.weight) +
                                 " before this rollout");
}

Transition on_raise_lapsed(Draft draft) {
    const Rollout& now = draft.before;
    if (now.over() || !now.raise_expires || draft.event.at < *now.raise_expires) {
        return draft.forget();
    }
    const std::string why = "the router did not confirm " + text::weight(now.desired) + " within " +
                            text::duration(draft.policy.evaluate_every) +
                            " of its verdict: the raise has lapsed";
    const bool again = now.desired <= draft.present_step().weight;
    draft.order_lower(now.applied.value_or(nobody));
    if (again) {  // the first raise, or back to the step's weight: no look asks for that again
        draft.add_hold(Hold::Kind::unconfirmed, "", why);
    } else {
        draft.changed(why);
        draft.tell(Notice::Kind::raise_lapsed, Severity::warning,
                   draft.policy.name + ": " + why + "; the next passing look asks again");
    }
    return std::move(draft).done(why);
}

Transition on_store_went_back(Draft draft, const event::StoreWentBack& event) {
    const Rollout& now = draft.before;
    if (now.over() || event.revision <= std::max(now.revision, now.forgotten)) {
        return draft.forget();
    }
    draft.next.forgotten = event.revision;
    const std::string why = "the store is at revision " + std::to_string(now.revision) + " of " +
                            now.id + " and " + event.witness + " remembers revision " +
                            std::to_string(event.revision) + " at " + text::weight(event.weight) +
                            (event.rolled_back ? ", rolled back" : "") +
                            ": it is an older copy (a backup, or a standby that lagged behind)";
    if (event.rolled_back) {
        draft.roll_back(why);
        return std::move(draft).done(why);
    }
    draft.order_lower(std::min(now.desired, event.weight));
    draft.add_hold(Hold::Kind::store_went_back, "", why);
    return std::move(draft).done(why);
}

Transition step(const Rollout& rollout, const Event& event, const Policy& policy) {
    Draft draft(rollout, event, policy);
    struct Visitor {
        Draft& draft;
        Transition operator()(const event::Started& e) { return on_started(std::move(draft), e); }
        Transition operator()(const event::Looked& e) { return on_looked(std::move(draft), e); }
        Transition operator()(const event::Peeked& e) { return on_peeked(std::move(draft), e); }
        Transition operator()(const event::RouteRead& e) {
            return on_route_read(std::move(draft), e.served);
        }
        Transition operator()(const event::RaiseLapsed&) {
            return on_raise_lapsed(std::move(draft));
        }
        Transition operator()(const event::StoreWentBack& e) {
            return on_store_went_back(std::move(draft), e);
        }
        Transition operator()(const event::Pause& e) { return on_command(std::move(draft), e); }
        Transition operator()(const event::Resume& e) { return on_command(std::move(draft), e); }
        Transition operator()(const event::Promote& e) { return on_command(std::move(draft), e); }
        Transition operator()(const event::RollBack& e) { return on_command(std::move(draft), e); }
        Transition operator()(const event::Extend& e) { return on_command(std::move(draft), e); }
        Transition operator()(const event::Finish& e) { return on_command(std::move(draft), e); }
        Transition operator()(const event::Acknowledge& e) {
            return on_command(std::move(draft), e);
        }
    };
    Transition transition = std::visit(Visitor{draft}, event.what);
    transition.soaking = is_soaking(transition.next, policy);
    transition.soak_begins = transition.soaking && !is_soaking(rollout, policy);
    return transition;
}

}  // namespace canaryd
