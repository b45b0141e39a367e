// Robbins' beta-binomial confidence sequence (1970), analysis 8.2: cumulative, one metric, one
// limit. What a careful team would write by hand from the literature.
#pragma once

#include <cstdint>

#include "tests/bench/evidence/peers/threshold.hpp"

namespace canaryd::peers {

struct Beta {
    double a = 0.5;
    double b = 0.5;
};

/// ln of the mixture's likelihood over that of rate p: p is outside of the sequence where this is
/// at least ln(1/alpha). Terms near 2e10 cancel at 1e9 requests, hence long double inside.
double robbins_ln_ratio(std::int64_t n, std::int64_t k, double p, Beta prior = {});

struct Interval {
    double lower = 0;
    double upper = 1;
};
/// The rates that are not refused after n requests and k events.
Interval robbins_interval(std::int64_t n, std::int64_t k, double alpha, Beta prior = {});

class Robbins {
public:
    Robbins(double limit, double alpha) : limit_(limit), alpha_(alpha) {}
    /// Adds a look; true: the whole interval lies above the limit.
    bool look(const Count& window);

private:
    double limit_;
    double alpha_;
    Count sum_;
};

}  // namespace canaryd::peers
