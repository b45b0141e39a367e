// What people may ask, and the sentence when it does not apply.
#include <algorithm>
#include <utility>

#include "canaryd/text.hpp"
#include "daemon/core/draft.hpp"

namespace canaryd {
namespace {

bool waits_for_a_person(const Hold& hold) {
    return !hold.heals();
}

std::string because(const std::string& reason) {
    return reason.empty() ? "" : ": " + reason;
}

std::string over_sentence(const Rollout& rollout) {
    return rollout.status == Status::rolled_back
               ? "this rollout was rolled back and is over: start a new one"
               : "this rollout is finished";
}

/// Plain promote waives the rest of the bake and an ask, never the proof. An override passes an
/// unproven verdict as well; neither passes a pause, a blind source or a route out of hand.
bool waived(const Missing& missing, bool override_proof, bool proven) {
    switch (missing.kind) {
        case Missing::Kind::bake:
        case Missing::Kind::segments:
        case Missing::Kind::nobody_hears:
        case Missing::Kind::soak:
            return true;
        case Missing::Kind::proof:
        case Missing::Kind::suspicion:
            return override_proof;
        case Missing::Kind::held:
            switch (*missing.hold) {
                case Hold::Kind::unproven:
                    return override_proof || proven;
                case Hold::Kind::trigger:
                case Hold::Kind::confirmation:
                case Hold::Kind::criterion:
                    return override_proof;
                case Hold::Kind::blind:
                case Hold::Kind::shared_outage:
                case Hold::Kind::drift:
                case Hold::Kind::unconfirmed:
                case Hold::Kind::store_went_back:
                    return false;
            }
            return false;
        case Missing::Kind::not_running:
        case Missing::Kind::paused:
        case Missing::Kind::alarm:
        case Missing::Kind::raise:
        case Missing::Kind::stale:
            return false;
    }
    return false;
}

/// A person goes on after a hold: the streams that are under suspicion begin anew, and go on being
/// judged (analysis 7.3).
void forget_suspects(Draft& draft) {
    Rollout& next = draft.next;
    const bool held = next.ledger.hold.acted;
    if (!next.ledger.failed_confirmation && !held) return;
    std::vector<std::size_t> suspects;
    if (next.ledger.failed_confirmation) suspects.push_back(next.ledger.suspect);
    const auto of_hold = held ? suspects_of(next.ledger.hold) : std::vector<std::size_t>{};
    next.ledger = forget_streams(std::move(next.ledger), suspects, of_hold);
    if (held) next.suspicious = is_suspicious(draft.policy, next.ledger);
}

std::string joined(const std::vector<Missing>& missing) {
    std::string all;
    for (const Missing& one : missing) all += (all.empty() ? "" : "; ") + one.what;
    return all;
}

}  // namespace

Transition on_command(Draft draft, const event::Pause& command) {
    Rollout& next = draft.next;
    if (next.over()) return draft.refuse("cannot pause: " + over_sentence(next));
    if (next.paused) return draft.refuse("already paused by " + next.paused->by);
    next.paused = Paused{draft.event.by, draft.event.at, command.reason};
    if (next.raise_expires) draft.order_lower(next.applied.value_or(nobody));
    const std::string why = "paused by " + draft.event.by + because(command.reason);
    draft.changed(why);
    draft.tell(Notice::Kind::paused, Severity::info,
               draft.policy.name + ": " + why + "\nA breach still rolls back.");
    return std::move(draft).done(why);
}

Transition on_command(Draft draft, const event::Resume& command) {
    Rollout& next = draft.next;
    if (next.over()) return draft.refuse("cannot resume: " + over_sentence(next));
    const bool overdue = next.hold(Hold::Kind::unproven) != nullptr;
    const auto ended = std::count_if(next.holds.begin(), next.holds.end(), waits_for_a_person);
    if (!next.paused && ended == 0) {
        return draft.refuse(next.holds.empty() ? "nothing to resume: it is neither paused nor held"
                                               : "nothing to resume: " + next.holds.front().why +
                                                     "; that ends by itself");
    }
    if (!next.paused && overdue && ended == 1) {
        return draft.refuse("max_step is over: canaryctl extend, promote or rollback");
    }
    forget_suspects(draft);
    const bool raises = next.desired < draft.present_step().weight;
    const bool unclear = next.suspicious || next.ledger.waiting ||
                         std::any_of(next.holds.begin(), next.holds.end(),
                                     [](const Hold& hold) { return hold.heals(); });
    if (raises && unclear) {
        return draft.refuse("cannot resume: that would raise traffic to " +
                            text::weight(draft.present_step().weight) +
                            ", and the metrics are not clear now; see canaryctl status");
    }
    next.paused.reset();
    draft.drop_holds(
        [](const Hold& hold) { return waits_for_a_person(hold) && !is_unproven(hold); });
    next.earn_from = draft.event.at;
    std::string why = "resumed by " + draft.event.by + because(command.reason);
    if (raises) {
        draft.order_raise(draft.present_step().weight);
        why += "; " + text::weight(next.desired) + " is ordered again";
    }
    draft.changed(why);
    draft.tell(Notice::Kind::resumed, Severity::info, draft.policy.name + ": " + why);
    return std::move(draft).done(why);
}

Transition on_command(Draft draft, const event::Promote& command) {
    Rollout& next = draft.next;
    if (next.over()) return draft.refuse("cannot promote: " + over_sentence(next));
    if (draft.is_last_step()) {
        return draft.refuse("cannot promote: " + draft.present_step().name + " is the last step");
    }
    if (command.override_proof && command.reason.empty()) {
        return draft.refuse("an override needs a reason: --override --reason WHY");
    }
    std::vector<Missing> blocking;
    bool needed_override = false;
    for (Missing& one : missing_to_advance(next, draft.policy, draft.event.at)) {
        if (!waived(one, false, next.proven)) needed_override = true;
        if (!waived(one, command.override_proof, next.proven)) blocking.push_back(std::move(one));
    }
    if (!blocking.empty()) {
        const bool help = !command.override_proof &&
                          std::all_of(blocking.begin(), blocking.end(), [&](const Missing& one) {
                              return waived(one, true, next.proven);
                          });
        return draft.refuse("cannot promote: " + joined(blocking) +
                            (help ? "; --override --reason WHY goes past that" : ""));
    }
    if (needed_override) ++next.overrides;
    if (next.ledger.hold.acted) forget_suspects(draft);
    draft.drop_holds(waits_for_a_person);
    draft.order_raise(draft.policy.steps[next.step + 1].weight);
    const std::string why = "promoted by " + draft.event.by + " to " + text::weight(next.desired) +
                            (needed_override ? " past an unproven verdict" : "") +
                            because(command.reason);
    draft.changed(why);
    return std::move(draft).done(why);
}

Transition on_command(Draft draft, const event::RollBack& command) {
    Rollout& next = draft.next;
    if (next.status == Status::finished) {
        return draft.refuse("cannot roll back: " + over_sentence(next));
    }
    if (next.status == Status::rolled_back) {
        next.ordered = next.revision;  // the route is set once more, at once
        return std::move(draft).done("already rolled back: 0 % is ordered again");
    }
    const std::string why = "rolled back by " + draft.event.by + because(command.reason);
    draft.roll_back(why);
    return std::move(draft).done(why);
}

Transition on_command(Draft draft, const event::Extend& command) {
    Rollout& next = draft.next;
    constexpr Duration most = std::chrono::hours{24 * 365};
    if (next.status != Status::progressing) {
        return draft.refuse(next.over() ? "cannot extend: " + over_sentence(next)
                                        : "cannot extend: no step is baking");
    }
    if (command.by <= Duration{0} || command.by > most || next.extended + command.by > most) {
        return draft.refuse("cannot extend by " + text::duration(command.by) +
                            ": say more than 0 and at most 365d");
    }
    next.extended += command.by;
    next.baked_told = false;
    const Duration limit = draft.policy.max_step_of(next.step) + next.extended;
    if (time_at_step(next) <= limit) draft.drop_holds(is_unproven);
    const std::string why = draft.present_step().name + " extended by " +
                            text::duration(command.by) + " by " + draft.event.by +
                            because(command.reason);
    draft.changed(why);
    draft.tell(
        Notice::Kind::extended, Severity::info,
        draft.policy.name + ": " + why + "\n" + text::outlook(next, draft.policy, draft.event.at));
    return std::move(draft).done(why);
}

Transition on_command(Draft draft, const event::Finish& command) {
    Rollout& next = draft.next;
    if (next.over()) return draft.refuse("cannot finish: " + over_sentence(next));
    const auto missing = missing_to_advance(next, draft.policy, draft.event.at);
    if (next.status != Status::finishing || !missing.empty()) {
        const std::string what = missing.empty() ? "the soak is not over" : joined(missing);
        return draft.refuse("cannot finish: " +
                            (draft.is_last_step() ? what : "it is not at 100 % yet; " + what));
    }
    next.status = Status::finished;
    const std::string why = "finished by " + draft.event.by + because(command.reason);
    draft.changed(why);
    draft.tell(Notice::Kind::finished, Severity::info,
               draft.policy.name + ": " + why + "\nEverybody is on " + draft.policy.canary +
                   "; canaryd no longer watches it.");
    return std::move(draft).done(why);
}

Transition on_command(Draft draft, const event::Acknowledge& command) {
    Rollout& next = draft.next;
    if (next.status != Status::rolled_back && next.holds.empty() && !next.ledger.waiting) {
        return draft.refuse("nothing to acknowledge: nothing is wrong");
    }
    next.acknowledged_by = draft.event.by;
    const std::string why = "acknowledged by " + draft.event.by + because(command.reason);
    return std::move(draft).done(why);
}

}  // namespace canaryd
