// A transition being written: what step()'s parts share. Core only.
#pragma once

#include <string>
#include <utility>

#include "canaryd/rollout.hpp"

namespace canaryd {

/// A step that took too long without proof.
inline bool is_unproven(const Hold& hold) {
    return hold.kind == Hold::Kind::unproven;
}

/// One event being applied to one rollout. Its parts say what changes; step() returns the result.
class Draft {
public:
    Draft(const Rollout& rollout, const Event& what, const Policy& pinned)
        : before(rollout), event(what), policy(pinned), next(rollout) {
        next.revision = rollout.revision + 1;
    }

    const Rollout& before;
    const Event& event;
    const Policy& policy;
    Rollout next;
    std::vector<Notice> notices;

    [[nodiscard]] bool is_last_step() const { return next.step + 1 == policy.steps.size(); }
    [[nodiscard]] const Step& present_step() const { return policy.steps[next.step]; }

    /// What people would want to know as the reason of the present state.
    void changed(const std::string& why) {
        next.reason = why;
        next.changed_by = event.by;
        next.changed_at = event.at;
    }
    void tell(Notice::Kind kind, Severity severity, std::string text) {
        notices.push_back({kind, severity, std::move(text)});
    }
    /// Law 1: asks nobody, works in every state. From here on the rollout wants nobody for ever.
    void roll_back(const std::string& why);
    /// Raises are a privilege: the order lapses one evaluate_every after its verdict.
    void order_raise(Weight weight);
    /// A lowering order stands for ever.
    void order_lower(Weight weight);
    void add_hold(Hold::Kind kind, const std::string& name, const std::string& why);
    void drop_holds(bool (*which)(const Hold&));

    /// Every notice ends in where users are, whether a person must act and what comes next.
    [[nodiscard]] Transition done(std::string reason) &&;
    [[nodiscard]] Transition refuse(const std::string& why) const;
    [[nodiscard]] Transition forget() const;

private:
    [[nodiscard]] std::string ending(Notice::Kind kind) const;
};

// The parts of step(), by event. Each returns the whole outcome.
Transition on_looked(Draft draft, const event::Looked& looked);
Transition on_peeked(Draft draft, const event::Peeked& peeked);
Transition on_route_read(Draft draft, const Served& served);
Transition on_raise_lapsed(Draft draft);
Transition on_store_went_back(Draft draft, const event::StoreWentBack& event);
Transition on_command(Draft draft, const event::Pause& command);
Transition on_command(Draft draft, const event::Resume& command);
Transition on_command(Draft draft, const event::Promote& command);
Transition on_command(Draft draft, const event::RollBack& command);
Transition on_command(Draft draft, const event::Extend& command);
Transition on_command(Draft draft, const event::Finish& command);
Transition on_command(Draft draft, const event::Acknowledge& command);

// Time, blindness and silence; a part of on_looked() each.
/// The look failed: no evidence. It never promotes, bakes or, unless the policy says so, rolls
/// back.
Transition on_no_evidence(Draft draft, const std::string& error);
/// Metrics are back: what was held because the source was blind is not any more.
void in_sight_again(Draft& draft);
/// Quiet is not blind; a canary that should have talked and did not is.
void watch_for_silence(Draft& draft, const Look& look);
/// Bake is time seen without suspicion at the wanted, confirmed weight; a gap earns one interval.
void earn_time(Draft& draft, const Look& look, bool was_blind);
/// After max_step: held, and asks. Waiting alone never promotes.
void hold_when_overdue(Draft& draft);
void report_when_due(Draft& draft);

/// Time at the present step that counts against max_step: seen or not, but not while a person
/// paused it or canaryd was down. No wall clock: a jump of it is not time.
Duration time_at_step(const Rollout& rollout);

/// What one trigger saw in one scope. Points into policy and look: it lives no longer than they do.
struct TriggerSaw {
    const Trigger* trigger = nullptr;
    const std::string* segment = nullptr;  // empty: the total
    const Window* window = nullptr;        // the canary's
    std::string key;                       // in Rollout::triggers
    double reached = 0;                    // the canary's value in it
    std::uint32_t fired = 0;               // TriggerState's, after this look
    std::uint32_t seen = 0;
    bool acted = false;
    bool broke = false;           // the rule is broken in this window
    bool baseline_broke = false;  // by the baseline too: a shared outage
    bool acts = false;            // k of n looks, this one among them
};
/// Every trigger (at a peek those with `1 of 1`) in every scope that has a window in the look.
std::vector<TriggerSaw> read_triggers(const Rollout& rollout, const Policy& policy,
                                      const Look& look, bool peek);
/// The trigger's memory after what it saw.
void remember(const TriggerSaw& saw, TriggerState& state);

}  // namespace canaryd
