#include "canaryd/policy.hpp"

#include <algorithm>

namespace canaryd {

std::vector<Signal> signals_of(const Policy& policy) {
    std::vector<Signal> signals;
    for (const Criterion& criterion : policy.criteria) {
        if (std::find(signals.begin(), signals.end(), criterion.signal) == signals.end()) {
            signals.push_back(criterion.signal);
        }
    }
    return signals;
}

namespace {

std::size_t place_of(const std::vector<Signal>& signals, const Signal& signal) {
    return static_cast<std::size_t>(std::find(signals.begin(), signals.end(), signal) -
                                    signals.begin());
}

}  // namespace

Policy without_counts(Policy policy) {
    std::erase_if(policy.criteria, [](const Criterion& criterion) {
        return criterion.signal.kind == Signal::Kind::counted;
    });
    return policy;
}

int numbers_of(const Policy& policy, const std::string& metric) {
    const auto shared = [&](const Criterion& criterion) {
        return criterion.signal.number == metric && criterion.signal.per == Per::cluster;
    };
    return std::any_of(policy.criteria.begin(), policy.criteria.end(), shared) ? 2 : 1;
}

std::vector<Limit> limits_of(const Policy& policy) {
    const std::vector<Signal> signals = signals_of(policy);
    std::vector<Limit> limits;
    for (std::size_t i = 0; i < policy.criteria.size(); ++i) {
        const Criterion& criterion = policy.criteria[i];
        if (criterion.no_worse_than) continue;
        const Limit limit{place_of(signals, criterion.signal), criterion.limit,
                          criterion.signal.per, i};
        const bool said = std::any_of(limits.begin(), limits.end(), [&](const Limit& other) {
            return other.signal == limit.signal && other.p0 == limit.p0;
        });
        if (!said) {
            limits.push_back(limit);
        }
    }
    return limits;
}

std::vector<Claim> claims_of(const Policy& policy, Action then) {
    const std::vector<Signal> signals = signals_of(policy);
    std::vector<Claim> claims;
    for (std::size_t i = 0; i < policy.criteria.size(); ++i) {
        const Criterion& criterion = policy.criteria[i];
        if (criterion.then != then) continue;
        const Claim claim{place_of(signals, criterion.signal), criterion.limit,
                          criterion.signal.per, criterion.no_worse_than, i};
        const bool said = std::any_of(claims.begin(), claims.end(), [&](const Claim& other) {
            return other.signal == claim.signal && other.p0 == claim.p0 &&
                   other.margin == claim.margin;
        });
        if (!said) {
            claims.push_back(claim);
        }
    }
    return claims;
}

Duration horizon_of(const Policy& policy) {
    Duration horizon = policy.soak;
    for (std::size_t i = 0; i + 1 < policy.steps.size(); ++i) {
        horizon += policy.steps[i].bake;
    }
    return horizon;
}

std::string to_string(const Problem& problem) {
    std::string text = problem.file;
    if (problem.line > 0) {
        text += ":" + std::to_string(problem.line);
        if (problem.column > 0) {
            text += ":" + std::to_string(problem.column);
        }
    }
    if (!problem.field.empty()) {
        text += ": " + problem.field;
    }
    return text + ": " + problem.message;
}

}  // namespace canaryd
