// The closed forms of analysis 8.3 and 8.4, and the gate counted out.
#include <algorithm>
#include <cmath>

#include "canaryd/planner.hpp"

namespace canaryd {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

double normal(double x) {
    return 0.5 * std::erfc(-x * M_SQRT1_2);
}

/// ln of normal(x). Far out, where erfc is 0, by its asymptotic series.
double ln_normal(double x) {
    if (x > -30) return std::log(normal(x));
    const double u = 1 / (x * x);
    const double tail = -u * (1 - u * (3 - u * (15 - 105 * u)));
    return -0.5 * x * x - std::log(-x) - 0.5 * std::log(2 * M_PI) + std::log1p(tail);
}

/// The grid point with the largest drift decides: the others add little (8.3).
template <class At>
Walk best_of(std::size_t points, At at) {
    Walk best;
    for (std::size_t j = 0; j < points; ++j) {
        const Walk walk = at(j);
        if (j == 0 || walk.drift > best.drift) best = walk;
    }
    return best;
}

/// Tempered (7.4): evidence is divided by phi; the counts' variance, phi times that of independent
/// requests, by its square.
Walk dispersed(Walk walk, double phi) {
    walk.drift /= phi;
    walk.variance /= phi;
    return walk;
}

/// b(begin) and b(mid) of 8.3; `before` is the drift of the same grid point while healthy.
double threshold_of(const Walk& walk, double before, double per_minute, const Stake& stake,
                    Onset onset) {
    if (!(walk.drift > 0)) return nan;
    const double common =
        -std::log(stake.alpha) + std::log(static_cast<double>(grid_size)) - std::log(stake.share);
    switch (onset) {
        case Onset::begin:
            return common - std::log(stake.start_share);
        case Onset::mid:
            break;
    }
    // A healthy canary that drifts up itself gives all the restarts there ever were.
    const double loss = -before;
    const double restarts = 1 / walk.drift + (loss > 0 ? 1 / loss : 0);
    return common + std::log(stake.horizon_minutes / stake.unspent) -
           std::log(restarts / per_minute);
}

struct MarginPoint {
    double at_event = 0;  // gained by an event of the canary, and lost by any event
    double by_event = 0;
    double by_request = 0;
};
MarginPoint margin_point(const Margin& margin, const Beside& baseline, double delta) {
    const double theta = margin.times / (margin.times + baseline.kappa);
    const double tilt = theta * std::expm1(delta);
    return {delta, -std::log1p(tilt), -margin.plus * (1 - theta) * std::expm1(delta) / (1 + tilt)};
}
double margin_drift(const Beside& baseline, const MarginPoint& point, double rate) {
    return rate * point.at_event + (rate + baseline.kappa * baseline.rate) * point.by_event +
           point.by_request;
}

}  // namespace

Walk limit_walk(double p0, double faulty, double healthy, double per_minute, const Stake& stake,
                Onset onset) {
    Walk walk = best_of(grid_size, [&](std::size_t j) {
        const double delta = breach_grid[j];
        return Walk{delta, nan, log_evidence(1, faulty, p0, delta),
                    faulty * (1 - faulty) * delta * delta};
    });
    walk = dispersed(walk, stake.phi);
    const double before = log_evidence(1, healthy, p0, walk.delta) / stake.phi;
    walk.threshold = threshold_of(walk, before, per_minute, stake, onset);
    return walk;
}

Walk relative_walk(const Margin& margin, const Beside& baseline, double faulty, double healthy,
                   double per_minute, const Stake& stake, Onset onset) {
    Walk walk = best_of(grid_size, [&](std::size_t j) {
        const double delta = breach_grid[j];
        const MarginPoint point = margin_point(margin, baseline, delta);
        const double both = delta + point.by_event;
        return Walk{delta, nan, margin_drift(baseline, point, faulty),
                    faulty * both * both +
                        baseline.kappa * baseline.rate * point.by_event * point.by_event};
    });
    walk = dispersed(walk, stake.phi);
    const double before =
        margin_drift(baseline, margin_point(margin, baseline, walk.delta), healthy) / stake.phi;
    walk.threshold = threshold_of(walk, before, per_minute, stake, onset);
    return walk;
}

double chance_to_reach(const Walk& walk, double requests) {
    if (!(walk.drift > 0) || !(requests > 0) || std::isnan(walk.threshold)) return 0;
    if (walk.threshold <= 0) return 1;
    const double mean = walk.drift * requests;
    const double spread = std::sqrt(walk.variance * requests);
    if (!(spread > 0)) return mean >= walk.threshold ? 1 : 0;
    // The reflected half overflows as a product: 2 mu b / s2 may be a thousand.
    const double reflected = 2 * walk.drift * walk.threshold / walk.variance +
                             ln_normal(-(mean + walk.threshold) / spread);
    return std::min(1.0, normal((mean - walk.threshold) / spread) + std::exp(reflected));
}

Walk gate_walk(double p0, double rate, double beta) {
    Walk walk = best_of(promote_grid_size, [&](std::size_t j) {
        const double delta = -breach_grid[j];
        return Walk{delta, nan, log_evidence(1, rate, p0, delta),
                    rate * (1 - rate) * delta * delta};
    });
    walk.threshold = std::log(static_cast<double>(promote_grid_size) / beta);
    return walk;
}

double chance_above(const Walk& walk, double requests) {
    if (!(requests > 0)) return 0;
    const double over = walk.drift * requests - walk.threshold;
    const double spread = std::sqrt(walk.variance * requests);
    if (!(spread > 0)) return over >= 0 ? 1 : 0;
    return normal(over / spread);
}

Yardstick yardstick_of(double p0, double q, double alpha, double per_minute,
                       double horizon_minutes) {
    const auto part = [](double have, double want) {
        return have > 0 ? have * std::log(have / want) : 0.0;
    };
    Yardstick yardstick;
    yardstick.divergence = part(q, p0) + part(1 - q, 1 - p0);
    if (!(yardstick.divergence > 0)) return {0, infinity, infinity};
    yardstick.wald = -std::log(alpha) / yardstick.divergence;
    yardstick.changepoint = yardstick.wald;
    // A fixed point: the shorter the delay, the more moments the fault could have begun at.
    for (int tries = 0; tries < 1000; ++tries) {
        const double minutes = yardstick.changepoint / per_minute;
        const double moments = std::max(0.0, std::log(horizon_minutes / minutes));
        const double next = (-std::log(alpha) + moments) / yardstick.divergence;
        const bool same = std::abs(next - yardstick.changepoint) <= 1e-13 * yardstick.changepoint;
        yardstick.changepoint = next;
        if (same) break;
    }
    return yardstick;
}

namespace {

/// The most events with which n requests still prove health; -1: not even none.
double most_events(double requests, double p0, double beta, double burst) {
    const auto proves = [&](double events) {
        return events / requests < p0 &&
               log_e_promote(requests, events, p0, burst) >= -std::log(beta);
    };
    if (!proves(0)) return -1;
    double good = 0;
    double bad = std::ceil(requests * p0) + 1;
    while (bad - good > 1) {
        const double middle = std::floor(0.5 * (good + bad));
        (proves(middle) ? good : bad) = middle;
    }
    return good;
}

constexpr double many_events = 400;

/// P(Binomial(n, rate) <= k), term by term in logs.
double at_most(double requests, double rate, double k) {
    if (k < 0) return 0;
    if (!(rate > 0) || k >= requests) return 1;
    double ln_term = requests * std::log1p(-rate);
    double sum = std::exp(ln_term);
    for (std::int64_t number = 1; static_cast<double>(number) <= k; ++number) {
        const auto i = static_cast<double>(number);
        ln_term += std::log((requests - i + 1) / i) + std::log(rate) - std::log1p(-rate);
        sum += std::exp(ln_term);
    }
    return std::min(1.0, sum);
}

}  // namespace

double chance_proven(double requests, double rate, double p0, double beta, double burst) {
    const double n = std::floor(requests);
    if (!(n > 0) || rate >= 1) return 0;
    const double most = most_events(n, p0, beta, burst);
    if (most < 0) return 0;
    const double mean = n * rate;
    if (burst <= 1 && mean <= many_events) return at_most(n, rate, most);
    // A person's failures come in bursts: as many on the mean, spread as much wider.
    return normal((most + 0.5 - mean) / std::sqrt(mean * (1 - rate) * std::max(1.0, burst)));
}

std::optional<double> requests_to_prove(double rate, double p0, double beta, double chance,
                                        double burst) {
    constexpr double far = 1e12;
    if (!(rate < p0)) return std::nullopt;
    const auto enough = [&](double n) { return chance_proven(n, rate, p0, beta, burst) >= chance; };
    double high = 1;
    while (high < far && !enough(high)) high *= 2;
    if (high >= far) return std::nullopt;
    double low = high / 2;
    while (high - low > 1 && high - low > 1e-4 * high) {
        const double middle = std::floor(0.5 * (low + high));
        (enough(middle) ? high : low) = middle;
    }
    return high;
}

}  // namespace canaryd
