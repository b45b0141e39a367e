// The mixture sequential test on a difference of two rates (Johari, Koomen, Pekelis, Walsh 2022,
// Always valid inference), as experiment platforms run it on one metric: cumulative counts, a
// normal prior of scale tau on the difference, rates as their own variances.
#pragma once

#include <cstdint>

#include "tests/bench/evidence/peers/threshold.hpp"

namespace canaryd::peers {

/// ln of the likelihood ratio of "some difference" against "none". 0 while the counts have no
/// variance, which is no evidence.
double msprt_ln_ratio(const Count& canary, const Count& baseline, double tau);

class Msprt {
public:
    /// `tau` and the rates are shares: 0.25 points is 0.0025.
    Msprt(double tau, double alpha) : tau_(tau), alpha_(alpha) {}
    /// Adds a look; true: different at level alpha, and the canary is the worse one.
    bool look(const Count& canary, const Count& baseline);

private:
    double tau_;
    double alpha_;
    Count canary_;
    Count baseline_;
};

}  // namespace canaryd::peers
