#include "tests/bench/evidence/peers/flagger.hpp"

#include <algorithm>
#include <cmath>

namespace canaryd::peers {

bool flagger_passes(std::optional<double> value, const FlaggerRange& range) {
    if (!value || std::isnan(*value)) return false;
    return !(range.min && *value < *range.min) && !(range.max && *value > *range.max);
}

int Flagger::top_weight() const {
    if (!rules_.ladder.empty()) return rules_.ladder.back();
    return rules_.max_weight > 0 ? rules_.max_weight : 100;
}

int Flagger::next_step() const {
    if (rules_.ladder.empty()) return rules_.step_weight;
    if (weight_ == 0) return rules_.ladder.front();
    const auto rung = std::find(rules_.ladder.begin(), rules_.ladder.end(), weight_);
    const bool known = rung != rules_.ladder.end() && rung + 1 != rules_.ladder.end();
    return known ? *(rung + 1) - weight_ : 100 - weight_;
}

void Flagger::restart_analysis() {
    phase_ = Phase::progressing;
    weight_ = 0;
    failed_checks_ = 0;
}

void Flagger::progress(const Tick& now) {
    // The counter is read before this tick's checks: the rollback comes one tick after the last
    // failure.
    if (failed_checks_ >= rules_.threshold) {
        phase_ = Phase::failed;
        weight_ = 0;
        return;
    }
    // Without traffic there is nothing to analyse: the first rung comes unchecked.
    if (weight_ > 0 && !now.passes) {
        ++failed_checks_;
        return;
    }
    if (weight_ >= top_weight()) {
        phase_ = Phase::promoting;
        return;
    }
    if (now.may_rise) weight_ = std::min(100, weight_ + next_step());
}

void Flagger::tick(const Tick& now) {
    switch (phase_) {
        case Phase::initialized:
            phase_ = Phase::progressing;
            return;
        case Phase::progressing:
            progress(now);
            return;
        case Phase::promoting:
            phase_ = Phase::finalising;
            weight_ = 0;  // the primary has the new version and all traffic
            return;
        case Phase::finalising:
            phase_ = Phase::succeeded;
            return;
        case Phase::succeeded:
        case Phase::failed:
            return;
    }
}

}  // namespace canaryd::peers
