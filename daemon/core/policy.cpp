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

std::vector<Limit> limits_of(const Policy& policy) {
    const std::vector<Signal> signals = signals_of(policy);
    std::vector<Limit> limits;
    for (std::size_t i = 0; i < policy.criteria.size(); ++i) {
        const Criterion& criterion = policy.criteria[i];
        const auto place = std::find(signals.begin(), signals.end(), criterion.signal);
        const Limit limit{static_cast<std::size_t>(place - signals.begin()), criterion.limit, i};
        const bool said = std::any_of(limits.begin(), limits.end(), [&](const Limit& other) {
            return other.signal == limit.signal && other.p0 == limit.p0;
        });
        if (!said) {
            limits.push_back(limit);
        }
    }
    return limits;
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
