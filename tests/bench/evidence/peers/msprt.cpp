#include "tests/bench/evidence/peers/msprt.hpp"

#include <cmath>

namespace canaryd::peers {

namespace {
struct Rate {
    double value = 0;
    double variance = 0;  // of the mean
};
Rate rate_of(const Count& count) {
    const auto n = static_cast<double>(count.requests);
    const double value = static_cast<double>(count.events) / n;
    return {value, value * (1 - value) / n};
}
}  // namespace

double msprt_ln_ratio(const Count& canary, const Count& baseline, double tau) {
    if (canary.requests <= 0 || baseline.requests <= 0) return 0;
    const Rate worse = rate_of(canary);
    const Rate better = rate_of(baseline);
    const double variance = worse.variance + better.variance;
    if (variance <= 0) return 0;
    const double difference = worse.value - better.value;
    const double prior = tau * tau;
    return 0.5 * std::log(variance / (variance + prior)) +
           prior * difference * difference / (2 * variance * (variance + prior));
}

bool Msprt::look(const Count& canary, const Count& baseline) {
    if (baseline.requests <= 0) return false;  // nobody to compare with: those counts are not used
    canary_ = {canary_.requests + canary.requests, canary_.events + canary.events};
    baseline_ = {baseline_.requests + baseline.requests, baseline_.events + baseline.events};
    if (canary_.requests <= 0) return false;
    const bool worse =
        static_cast<double>(canary_.events) * static_cast<double>(baseline_.requests) >
        static_cast<double>(baseline_.events) * static_cast<double>(canary_.requests);
    return worse && msprt_ln_ratio(canary_, baseline_, tau_) >= -std::log(alpha_);
}

}  // namespace canaryd::peers
