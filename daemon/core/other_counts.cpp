#include "canaryd/other_counts.hpp"

#include <algorithm>
#include <cmath>

namespace canaryd {

namespace {

bool is_histogram(const std::vector<double>& bounds, const std::vector<std::int64_t>& cumulative) {
    if (bounds.empty() || bounds.size() != cumulative.size() || cumulative.front() < 0) {
        return false;
    }
    for (std::size_t i = 1; i < bounds.size(); ++i) {
        if (!(bounds[i] > bounds[i - 1]) || cumulative[i] < cumulative[i - 1]) {
            return false;
        }
    }
    return std::isinf(bounds.back()) && bounds.back() > 0;
}

}  // namespace

std::optional<Exceedances> exceedances(const std::vector<double>& bounds,
                                       const std::vector<std::int64_t>& cumulative, double limit) {
    if (!is_histogram(bounds, cumulative) || !(limit < bounds.back())) {
        return std::nullopt;
    }
    const std::int64_t n = cumulative.back();
    // The first bound that is not below the limit: what is above it is above the limit.
    const auto upper = std::lower_bound(bounds.begin(), bounds.end(), limit);
    const auto at = static_cast<std::size_t>(upper - bounds.begin());
    const bool at_bound = *upper == limit;
    const std::int64_t below = at_bound ? cumulative[at] : at == 0 ? 0 : cumulative[at - 1];
    return Exceedances{n, n - cumulative[at], n - below, at_bound};
}

double batch_dispersion(const std::vector<BlockCounts>& blocks) {
    double requests = 0;
    double events = 0;
    for (const BlockCounts& block : blocks) {
        requests += static_cast<double>(block.requests);
        events += static_cast<double>(block.events);
    }
    if (blocks.size() < 2 || requests <= 0 || events <= 0 || events >= requests) {
        return 1.0;
    }
    const double p = events / requests;
    double squares = 0;
    for (const BlockCounts& block : blocks) {
        const double off =
            static_cast<double>(block.events) - p * static_cast<double>(block.requests);
        squares += off * off;
    }
    const auto count = static_cast<double>(blocks.size());
    return std::max(1.0, count / (count - 1) * squares / (p * (1 - p) * requests));
}

double split_dispersion(const std::vector<BlockCounts>& one, const std::vector<BlockCounts>& two) {
    double squares = 0;
    double expected = 0;
    for (std::size_t i = 0; i < std::min(one.size(), two.size()); ++i) {
        const auto requests = static_cast<double>(one[i].requests + two[i].requests);
        if (requests <= 0) {
            continue;
        }
        const double theta = static_cast<double>(one[i].requests) / requests;
        const auto events = static_cast<double>(one[i].events + two[i].events);
        const double off = static_cast<double>(one[i].events) - theta * events;
        squares += off * off;
        expected += theta * (1 - theta) * events;
    }
    return expected > 0 ? std::max(1.0, squares / expected) : 1.0;
}

Grid tempered(Grid l, double phi) {
    for (double& at : l) {
        at /= std::max(phi, 1.0);
    }
    return l;
}

}  // namespace canaryd
