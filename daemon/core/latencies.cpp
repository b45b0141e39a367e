// Durations for people: never evidence.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "canaryd/evidence.hpp"

namespace canaryd {

namespace {
double upper_edge_ms(std::size_t bucket) {
    return 50.0 * std::exp2(0.5 * static_cast<double>(bucket));
}
}  // namespace

void Latencies::add(Duration duration, std::int64_t times) {
    const auto ms = static_cast<double>(duration.count());
    std::size_t bucket = 0;
    while (bucket + 1 < size && ms > upper_edge_ms(bucket)) {
        ++bucket;
    }
    counts[bucket] += times;
}

void Latencies::add(const Latencies& other) {
    for (std::size_t i = 0; i < size; ++i) {
        counts[i] += other.counts[i];
    }
}

std::optional<Duration> Latencies::quantile(double share) const {
    const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
    if (total <= 0) {
        return std::nullopt;
    }
    const double wanted = std::clamp(share, 0.0, 1.0) * static_cast<double>(total);
    double below = 0;
    for (std::size_t i = 0; i < size; ++i) {
        const auto here = static_cast<double>(counts[i]);
        if (here > 0 && below + here >= wanted) {
            const double low = i == 0 ? 0.0 : upper_edge_ms(i - 1);
            // The last bucket has no upper edge: all that is known is "longer than this".
            const double high = i + 1 == size ? low : upper_edge_ms(i);
            return Duration{std::llround(low + (high - low) * (wanted - below) / here)};
        }
        below += here;
    }
    return Duration{std::llround(upper_edge_ms(size - 2))};
}

}  // namespace canaryd
