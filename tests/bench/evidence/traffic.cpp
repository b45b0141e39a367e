#include "tests/bench/evidence/traffic.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace canaryd::comparison {

namespace {

/// ln k!, by table and then by Stirling's series, whose next term is below 1e-10 here.
double ln_factorial(double k) {
    static const std::array<double, 16> table = [] {
        std::array<double, 16> values{};
        for (std::size_t i = 1; i < values.size(); ++i) {
            values[i] = values[i - 1] + std::log(static_cast<double>(i));
        }
        return values;
    }();
    if (k < 16) return table[static_cast<std::size_t>(k)];
    const double n = k + 1;
    return (n - 0.5) * std::log(n) - n + 0.5 * std::log(2 * std::numbers::pi) + 1 / (12 * n) -
           1 / (360 * n * n * n);
}

struct Rates {
    double failed = 0;
    double slow = 0;  // of the answered
};

/// The mean over the look: an outage that covers a part of it counts for that part.
Rates rates_of(const Scenario& scenario, double from, bool canary, std::size_t agent) {
    Rates rates{scenario.failed, scenario.slow};
    const double to = from + look_minutes;
    for (const Episode& episode : scenario.episodes) {
        if (!(canary ? episode.canary : episode.baseline)) continue;
        if (episode.agent && *episode.agent != agent) continue;
        const double begin = std::max(from, episode.from);
        const double end = std::min(to, episode.to);
        if (end <= begin) continue;
        double failed = episode.failed;
        if (episode.failed_at_end) {
            const double passed =
                (0.5 * (begin + end) - episode.from) / (episode.to - episode.from);
            failed += passed * (*episode.failed_at_end - episode.failed);
        }
        const double covered = (end - begin) / look_minutes;
        rates.failed += covered * (failed - rates.failed);
        if (episode.slow) rates.slow += covered * (*episode.slow - rates.slow);
    }
    return rates;
}

/// Poisson counts of what failed, was slow and was fine are independent, and their sum is Poisson.
Counts draw(Random& random, double mean, const Rates& rates) {
    Counts counts;
    counts.failed = random.poisson(mean * rates.failed);
    counts.slow = random.poisson(mean * (1 - rates.failed) * rates.slow);
    counts.requests =
        counts.failed + counts.slow + random.poisson(mean * (1 - rates.failed) * (1 - rates.slow));
    return counts;
}

std::uint64_t mixed(std::uint64_t value) {
    value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9U;
    value = (value ^ (value >> 27U)) * 0x94D049BB133111EBU;
    return value ^ (value >> 31U);
}

double overlap(double from, double to, double begin, double end) {
    return std::max(0.0, std::min(to, end) - std::max(from, begin));
}

}  // namespace

std::uint64_t Random::next() {
    state_ += 0x9E3779B97F4A7C15U;
    return mixed(state_);
}

double Random::uniform() {
    return (static_cast<double>(next() >> 11U) + 0.5) * 0x1.0p-53;
}

std::int64_t Random::poisson(double mean) {
    if (mean <= 0) return 0;
    if (mean >= 10) return poisson_large(mean);
    double left = uniform();
    double chance = std::exp(-mean);
    std::int64_t k = 0;
    // Where rounding leaves a rest above the whole sum, the chance soon is 0.
    while (left > chance && chance > 0) {
        left -= chance;
        ++k;
        chance *= mean / static_cast<double>(k);
    }
    return k;
}

std::int64_t Random::poisson_large(double mean) {
    const double b = 0.931 + 2.53 * std::sqrt(mean);
    const double a = -0.059 + 0.02483 * b;
    const double ln_inverse_alpha = std::log(1.1239 + 1.1328 / (b - 3.4));
    const double accepted_at_once = 0.9277 - 3.6224 / (b - 2);
    const double ln_mean = std::log(mean);
    for (;;) {
        const double u = uniform() - 0.5;
        const double v = uniform();
        const double us = 0.5 - std::abs(u);
        const double k = std::floor((2 * a / us + b) * u + mean + 0.43);
        if (us >= 0.07 && v <= accepted_at_once) return static_cast<std::int64_t>(k);
        if (k < 0 || (us < 0.013 && v > us)) continue;
        if (std::log(v) + ln_inverse_alpha - std::log(a / (us * us) + b) <=
            k * ln_mean - mean - ln_factorial(k)) {
            return static_cast<std::int64_t>(k);
        }
    }
}

void add(Counts& sum, const Counts& more) {
    sum.requests += more.requests;
    sum.failed += more.failed;
    sum.slow += more.slow;
}

Arms happened(const Scenario& scenario, std::int64_t look, double weight) {
    const auto number = static_cast<std::uint64_t>(look);
    const auto points = static_cast<std::uint64_t>(std::lround(weight * 10'000));
    Random random(mixed(mixed(scenario.seed) ^ (number * 0x2545F4914F6CDD1DU)) ^ (points << 40U));
    const double from = static_cast<double>(look) * look_minutes;
    const double phase = 2 * std::numbers::pi * (from + 0.5 * look_minutes) / day;
    const double all =
        10 * scenario.per_minute * look_minutes * (1 + scenario.amplitude * std::sin(phase));
    Arms arms;
    for (std::size_t i = 0; i < agents; ++i) {
        for (const bool canary : {true, false}) {
            const double share = canary ? weight : 1 - weight;
            if (share <= 0) continue;
            Side& side = canary ? arms.canary : arms.baseline;
            side.agent[i] =
                draw(random, all * share * agent_shares[i], rates_of(scenario, from, canary, i));
            add(side.total, side.agent[i]);
        }
    }
    if (scenario.retries) {
        const Retries& retries = *scenario.retries;
        const double pace = retries.times / (retries.to - retries.from);
        const double before = pace * overlap(0, from, retries.from, retries.to);
        const double after = pace * overlap(0, from + look_minutes, retries.from, retries.to);
        arms.retries = std::llround(after) - std::llround(before);
        const Counts failed{arms.retries, arms.retries, 0};
        add(arms.canary.agent[0], failed);
        add(arms.canary.total, failed);
    }
    return arms;
}

bool is_late(const Scenario& scenario, std::int64_t look) {
    const double from = static_cast<double>(look) * look_minutes;
    return scenario.late && from >= scenario.late->from && from < scenario.late->to;
}

double slow_share(double healthy, double factor) {
    constexpr double shape = 0.5;
    const auto above = [](double z) { return 0.5 * std::erfc(z / std::numbers::sqrt2); };
    double low = 0;
    double high = 10;
    while (high - low > 1e-12) {
        const double middle = 0.5 * (low + high);
        (above(middle) > healthy ? low : high) = middle;
    }
    return above(low - std::log(factor) / shape);
}

}  // namespace canaryd::comparison
