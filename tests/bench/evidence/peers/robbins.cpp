#include "tests/bench/evidence/peers/robbins.hpp"

#include <cmath>

namespace canaryd::peers {

namespace {

using Wide = long double;

Wide ln_beta(Wide a, Wide b) {
    return std::lgamma(a) + std::lgamma(b) - std::lgamma(a + b);
}

Wide ln_mixture(std::int64_t n, std::int64_t k, Beta prior) {
    return ln_beta(static_cast<Wide>(prior.a) + static_cast<Wide>(k),
                   static_cast<Wide>(prior.b) + static_cast<Wide>(n - k)) -
           ln_beta(prior.a, prior.b);
}

/// k ln p, also where both are 0. The rate comes as its log-odds: accurate near 0 and near 1.
Wide ln_likelihood(std::int64_t n, std::int64_t k, Wide log_odds) {
    const Wide ln_p = -std::log1p(std::exp(-log_odds));
    const Wide ln_q = -std::log1p(std::exp(log_odds));
    return (k > 0 ? static_cast<Wide>(k) * ln_p : 0) +
           (n > k ? static_cast<Wide>(n - k) * ln_q : 0);
}

Wide share_of(Wide log_odds) {
    return 1 / (1 + std::exp(-log_odds));
}

/// From a rate that is not refused to one that is, both as log-odds: where they meet.
template <class Refused>
Wide edge(Wide held, Wide refused, Refused is_refused) {
    for (int i = 0; i < 200 && std::abs(refused - held) > 1e-17L * std::abs(held); ++i) {
        const Wide middle = (held + refused) / 2;
        (is_refused(middle) ? refused : held) = middle;
    }
    return share_of(held);
}

}  // namespace

double robbins_ln_ratio(std::int64_t n, std::int64_t k, double p, Beta prior) {
    const Wide log_odds = std::log(static_cast<Wide>(p)) - std::log1p(-static_cast<Wide>(p));
    return static_cast<double>(ln_mixture(n, k, prior) - ln_likelihood(n, k, log_odds));
}

Interval robbins_interval(std::int64_t n, std::int64_t k, double alpha, Beta prior) {
    if (n <= 0) return {};
    const Wide mixture = ln_mixture(n, k, prior);
    const Wide bound = -std::log(static_cast<Wide>(alpha));
    const auto is_refused = [&](Wide log_odds) {
        return mixture - ln_likelihood(n, k, log_odds) >= bound;
    };
    constexpr Wide far = 60;
    // The likelihood is highest at the plain rate; a rate of 0 or 1 has no end on its own side.
    const Wide plain = k == 0 ? -far
                       : k == n
                           ? far
                           : std::log(static_cast<Wide>(k)) - std::log(static_cast<Wide>(n - k));
    Interval interval;
    if (k > 0) interval.lower = static_cast<double>(edge(plain, -far, is_refused));
    if (k < n) interval.upper = static_cast<double>(edge(plain, far, is_refused));
    return interval;
}

bool Robbins::look(const Count& window) {
    sum_ = {sum_.requests + window.requests, sum_.events + window.events};
    return above(sum_, limit_) &&
           robbins_ln_ratio(sum_.requests, sum_.events, limit_) >= -std::log(alpha_);
}

}  // namespace canaryd::peers
