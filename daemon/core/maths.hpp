// Two words of arithmetic that the statistics and the planner share.
#pragma once

#include <limits>

#include "canaryd/policy.hpp"

namespace canaryd {

/// The logarithm of nothing.
constexpr double minus_infinity = -std::numeric_limits<double>::infinity();

/// Formulas count time in minutes (analysis section 2).
constexpr double minutes_of(Duration duration) {
    return std::chrono::duration<double, std::ratio<60>>(duration).count();
}

}  // namespace canaryd
