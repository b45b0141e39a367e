// Argo Rollouts' analysis (utils/evaluate/evaluate.go and analysis/analysis.go at 9f8d111d): what
// a measurement is, when the next one is due, and when a run ends.
//
// Left out: consecutiveSuccessLimit, providers, retention.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

namespace canaryd::peers {

enum class Measured { successful, failed, inconclusive, error };
using ArgoCondition = std::function<bool(double)>;

/// nullopt: the expression or the query failed (an empty vector's first element among them).
/// Without a condition every value is a success; a comparison with NaN is false.
Measured argo_measure(std::optional<double> value, const ArgoCondition& success,
                      const ArgoCondition& failure);

struct ArgoRules {
    int failure_limit = 0;  // more failures than this end the run; below 0: never
    int inconclusive_limit = 0;
    int consecutive_error_limit = 4;
    std::optional<int> count;  // measurements wanted
    std::optional<std::chrono::seconds> interval;
    bool dry_run = false;  // measured and told, never counted in the run

    /// nullopt: for ever.
    [[nodiscard]] std::optional<int> effective_count() const;
};

/// In the order in which one hides another: the last is the worst.
enum class ArgoPhase { successful, running, pending, inconclusive, error, failed };

/// One metric of one run. Failures are counted over the run's whole life.
class ArgoMetric {
public:
    explicit ArgoMetric(ArgoRules rules) : rules_(rules) {}
    void add(Measured measured);
    /// `ending`: the run is being ended; what was not finished then counts as a success.
    [[nodiscard]] ArgoPhase phase(bool ending = false) const;
    /// After the newest measurement; an error is tried again after ten seconds whatever the
    /// interval. nullopt: no more.
    [[nodiscard]] std::optional<std::chrono::seconds> next_after() const;
    [[nodiscard]] const ArgoRules& rules() const { return rules_; }

private:
    ArgoRules rules_;
    int count_ = 0;
    int failed_ = 0;
    int inconclusive_ = 0;
    int errors_in_a_row_ = 0;
    std::optional<Measured> newest_;
};

/// The worst of the metrics that count. One that ended badly ends the others.
ArgoPhase argo_run(const std::vector<ArgoMetric>& metrics, bool terminated = false);

enum class ArgoEffect { go_on, pause, abort };
/// What the rollout does: an inconclusive run waits for a person, an error aborts as a failure.
ArgoEffect argo_effect(ArgoPhase run);

}  // namespace canaryd::peers
