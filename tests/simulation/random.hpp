// Randomness of the simulation: one seed, the same numbers on every machine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace canaryd::simulation {

/// splitmix64: small, quick, and fixed by its few lines.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15ULL;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31U);
    }
    double uniform() { return static_cast<double>(next() >> 11U) * 0x1.0p-53; }
    double between(double low, double high) { return low + (high - low) * uniform(); }
    std::int64_t below(std::int64_t n) {
        return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n));
    }
    bool chance(double share) { return uniform() < share; }
    std::int64_t poisson(double mean) {
        if (mean <= 0) return 0;
        if (mean > 40) {
            const double u = std::max(uniform(), 1e-300);
            const double z = std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * uniform());
            return std::max<std::int64_t>(0, std::llround(mean + std::sqrt(mean) * z));
        }
        const double stop = std::exp(-mean);
        std::int64_t n = 0;
        for (double p = uniform(); p > stop; p *= uniform()) ++n;
        return n;
    }

private:
    std::uint64_t state_;
};

/// A stream of its own for one question, so that asking twice gives the same answer.
inline Random keyed(std::uint64_t seed, std::int64_t a, std::int64_t b, std::uint64_t c = 0) {
    Random mix(seed ^ (static_cast<std::uint64_t>(a) * 0x9e3779b97f4a7c15ULL) ^
               (static_cast<std::uint64_t>(b) * 0xc2b2ae3d27d4eb4fULL) ^ (c << 17U));
    mix.next();
    return Random(mix.next());
}

}  // namespace canaryd::simulation
