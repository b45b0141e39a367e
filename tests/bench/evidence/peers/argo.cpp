#include "tests/bench/evidence/peers/argo.hpp"

#include <algorithm>

namespace canaryd::peers {

Measured argo_measure(std::optional<double> value, const ArgoCondition& success,
                      const ArgoCondition& failure) {
    if (!value) return Measured::error;
    if (!success && !failure) return Measured::successful;
    const bool failed = failure ? failure(*value) : !success(*value);
    if (failed) return Measured::failed;
    const bool succeeded = !success || success(*value);
    return succeeded ? Measured::successful : Measured::inconclusive;
}

std::optional<int> ArgoRules::effective_count() const {
    if (count) return count;
    return interval ? std::nullopt : std::optional<int>{1};
}

void ArgoMetric::add(Measured measured) {
    newest_ = measured;
    if (measured == Measured::error) {
        ++errors_in_a_row_;
        return;
    }
    errors_in_a_row_ = 0;
    ++count_;
    failed_ += measured == Measured::failed ? 1 : 0;
    inconclusive_ += measured == Measured::inconclusive ? 1 : 0;
}

ArgoPhase ArgoMetric::phase(bool ending) const {
    // Three limits, each of which hides the one before; the rest only where none is passed.
    if (errors_in_a_row_ > rules_.consecutive_error_limit) return ArgoPhase::error;
    if (inconclusive_ > rules_.inconclusive_limit) return ArgoPhase::inconclusive;
    if (rules_.failure_limit >= 0 && failed_ > rules_.failure_limit) return ArgoPhase::failed;
    if (ending) return ArgoPhase::successful;
    if (!newest_) return ArgoPhase::pending;
    const std::optional<int> wanted = rules_.effective_count();
    return wanted && count_ >= *wanted ? ArgoPhase::successful : ArgoPhase::running;
}

std::optional<std::chrono::seconds> ArgoMetric::next_after() const {
    if (newest_ && phase() != ArgoPhase::running) return std::nullopt;
    if (!newest_) return std::chrono::seconds{0};
    if (*newest_ == Measured::error) return std::chrono::seconds{10};
    return rules_.interval;
}

ArgoPhase argo_run(const std::vector<ArgoMetric>& metrics, bool terminated) {
    const auto ends_it = [](const ArgoMetric& metric) {
        const ArgoPhase phase = metric.phase();
        return !metric.rules().dry_run &&
               (phase == ArgoPhase::failed || phase == ArgoPhase::error ||
                phase == ArgoPhase::inconclusive);
    };
    const bool ending = terminated || std::any_of(metrics.begin(), metrics.end(), ends_it);
    ArgoPhase worst = ArgoPhase::successful;
    for (const ArgoMetric& metric : metrics) {
        if (!metric.rules().dry_run) worst = std::max(worst, metric.phase(ending));
    }
    return worst;
}

ArgoEffect argo_effect(ArgoPhase run) {
    switch (run) {
        case ArgoPhase::failed:
        case ArgoPhase::error:
            return ArgoEffect::abort;
        case ArgoPhase::inconclusive:
            return ArgoEffect::pause;
        case ArgoPhase::successful:
        case ArgoPhase::running:
        case ArgoPhase::pending:
            return ArgoEffect::go_on;
    }
    return ArgoEffect::go_on;
}

}  // namespace canaryd::peers
