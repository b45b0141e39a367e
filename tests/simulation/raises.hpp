// The second opinion on every raise: earned, by what the world itself counted.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/simulation/world.hpp"

namespace canaryd::simulation {

/// Every raise on a look that was not earned, in sentences. Reads what the source handed out, the
/// router's trace, the journal's events and what people were told; of the engine's own state
/// nothing, and none of its arithmetic. `policies`: by rollout, as started.
///
/// What it asks is necessary, not sufficient: the plain rates of the step lie below every limit, by
/// a likelihood that a proof needs at least; and the looks that succeeded while the router stood
/// at the step's weight, unpaused and not held, sum up to the bake, but for one evaluate_every.
std::vector<std::string> unearned_raises(const Run& run,
                                         const std::map<std::string, Policy>& policies);

}  // namespace canaryd::simulation
