// Flagger's canary analysis, one tick at a time (pkg/controller/scheduler.go and
// scheduler_metrics.go at 15bd6ad5). No tick reads a clock: an extra tick is an extra step.
//
// Left out: hooks other than the two gates, alerts, readiness, mirrored traffic, A/B iterations.
#pragma once

#include <optional>
#include <vector>

namespace canaryd::peers {

struct FlaggerRules {
    std::vector<int> ladder;  // stepWeights, in %; empty: step_weight
    int step_weight = 0;
    int max_weight = 0;  // of step_weight's form; 0: 100
    int threshold = 1;   // failed checks that roll back
};

/// A metric's range. A value that is not a number, or none at all (no series, a provider that
/// failed, a missing template), is a failed check like any other.
struct FlaggerRange {
    std::optional<double> min;
    std::optional<double> max;
};
bool flagger_passes(std::optional<double> value, const FlaggerRange& range);

class Flagger {
public:
    enum class Phase { initialized, progressing, promoting, finalising, succeeded, failed };
    struct Tick {
        bool passes = true;    // every metric of this tick
        bool may_rise = true;  // confirm-traffic-increase; closed, it waits and counts nothing
    };

    explicit Flagger(FlaggerRules rules) : rules_(std::move(rules)) {}

    void tick(const Tick& now);
    /// A new revision: weight and counter begin anew.
    void restart_analysis();

    [[nodiscard]] Phase phase() const { return phase_; }
    [[nodiscard]] int weight() const { return weight_; }
    [[nodiscard]] int failed_checks() const { return failed_checks_; }
    /// As if somebody had set the route by hand; the next tick goes on from there.
    void set_weight(int weight) { weight_ = weight; }

private:
    [[nodiscard]] int top_weight() const;
    [[nodiscard]] int next_step() const;
    void progress(const Tick& now);

    FlaggerRules rules_;
    Phase phase_ = Phase::initialized;
    int weight_ = 0;
    int failed_checks_ = 0;
};

}  // namespace canaryd::peers
