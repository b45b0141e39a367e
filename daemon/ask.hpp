// What a rollout asks its source next: the controller's looks and the backtest's are the same.
#pragma once

#include "canaryd/ports.hpp"

namespace canaryd {

/// Everything but the end, `Ask::to`, which is the caller's.
inline Ask ask_for(const Rollout& rollout, const Policy& policy) {
    Ask ask;
    ask.from = rollout.last_look;
    ask.windows_from = rollout.applied_since;
    ask.gate_from =
        (rollout.phase_due ? rollout.applied_since : rollout.ledger.phase_from) + policy.warm_up;
    ask.cursor = rollout.cursor;
    ask.weight = rollout.applied.value_or(nobody);
    for (std::size_t i = 0; i < rollout.segments.size(); ++i) {
        const auto users = static_cast<std::int64_t>(rollout.segments[i].users.size());
        if (users < policy.segment_users) ask.users_wanted.push_back(policy.segments[i]);
    }
    return ask;
}

}  // namespace canaryd
