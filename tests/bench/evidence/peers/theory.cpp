#include "tests/bench/evidence/peers/theory.hpp"

#include <algorithm>
#include <cmath>

namespace canaryd::peers {

InformationBound information_bound(double p0, double q, double alpha, double per_minute,
                                   double horizon) {
    InformationBound bound;
    bound.kl = q * std::log(q / p0);
    if (q < 1) bound.kl += (1 - q) * (std::log1p(-q) - std::log1p(-p0));
    const double wanted = -std::log(alpha);
    bound.known = wanted / bound.kl;
    bound.changepoint = bound.known;
    // Each round brings the change down by about ln(T/m), which is above 1 where it matters.
    for (int i = 0; i < 1000; ++i) {
        const double minutes = bound.changepoint / per_minute;
        const double next = (wanted + std::max(0.0, std::log(horizon / minutes))) / bound.kl;
        const double change = std::abs(next - bound.changepoint);
        bound.changepoint = next;
        if (change <= 1e-14 * next) break;
    }
    return bound;
}

}  // namespace canaryd::peers
