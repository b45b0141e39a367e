// Shares of simulated trials against a figure.
#pragma once

#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>

namespace canaryd {

/// A share of `of` trials agrees with `want` within five standard errors of both.
inline void check_share(int seen, int of, double want, double want_error = 0) {
    const double share = seen / static_cast<double>(of);
    const double error = std::sqrt(std::max(want * (1 - want), 1.0 / of) / of);
    CHECK_MESSAGE(std::abs(share - want) <= 5 * std::hypot(error, want_error), share, " of ", of,
                  ", wanted ", want);
}

}  // namespace canaryd
