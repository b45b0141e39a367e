#include "tests/bench/evidence/contenders.hpp"

#include <algorithm>
#include <deque>
#include <limits>
#include <optional>

#include "tests/bench/evidence/peers/argo.hpp"
#include "tests/bench/evidence/peers/flagger.hpp"
#include "tests/bench/evidence/peers/kayenta.hpp"
#include "tests/bench/evidence/peers/msprt.hpp"
#include "tests/bench/evidence/peers/robbins.hpp"
#include "tests/bench/evidence/peers/threshold.hpp"

namespace canaryd::comparison {

namespace {

peers::Count errors_of(const Counts& counts) {
    return {counts.requests, counts.failed};
}
peers::Count slow_of(const Counts& counts) {
    return {counts.requests, counts.slow};
}
/// nullopt without a request.
std::optional<double> share_of(const peers::Count& count) {
    if (count.requests <= 0) return std::nullopt;
    return static_cast<double>(count.events) / static_cast<double>(count.requests);
}

bool total_is_above(const Seen& seen) {
    return peers::above(errors_of(seen.canary), error_limit) ||
           peers::above(slow_of(seen.canary), slow_limit);
}
bool an_agent_is_above(const Seen& seen) {
    return std::any_of(seen.canary_agents.begin(), seen.canary_agents.end(),
                       [](const Counts& one) { return peers::above(errors_of(one), error_limit); });
}

class Threshold : public Contender {
public:
    Threshold(int in_a_row, bool each_agent) : rule_(in_a_row), each_agent_(each_agent) {}
    bool look(const Seen& seen) override {
        return rule_.look(total_is_above(seen) || (each_agent_ && an_agent_is_above(seen)));
    }

private:
    peers::InARow rule_;
    bool each_agent_;
};

/// On its first rung of 10 %, kept there by a closed gate, as a bake of a week needs it; what the
/// weight then is makes no difference to its counter.
class FlaggerCounter : public Contender {
public:
    explicit FlaggerCounter(int threshold) : flagger_({{10, 50, 100}, 0, 0, threshold}) {
        flagger_.tick({});
        flagger_.tick({});
    }
    bool look(const Seen& seen) override {
        const auto errors = share_of(errors_of(seen.canary));
        const auto slow = share_of(slow_of(seen.canary));
        const bool passes = peers::flagger_passes(errors, {std::nullopt, error_limit}) &&
                            peers::flagger_passes(slow, {std::nullopt, slow_limit});
        flagger_.tick({passes, false});
        return flagger_.phase() == peers::Flagger::Phase::failed;
    }

private:
    peers::Flagger flagger_;
};

/// A background run of two metrics for the rollout's life. A ratio over no request is NaN.
class ArgoRun : public Contender {
public:
    explicit ArgoRun(int failure_limit) {
        peers::ArgoRules rules;
        rules.failure_limit = failure_limit;
        rules.interval = std::chrono::minutes{5};
        metrics_.assign(2, peers::ArgoMetric(rules));
    }
    bool look(const Seen& seen) override {
        measure(0, errors_of(seen.canary), error_limit);
        measure(1, slow_of(seen.canary), slow_limit);
        return peers::argo_effect(peers::argo_run(metrics_)) == peers::ArgoEffect::abort;
    }

private:
    void measure(std::size_t metric, const peers::Count& count, double limit) {
        const double value = share_of(count).value_or(std::numeric_limits<double>::quiet_NaN());
        metrics_[metric].add(
            peers::argo_measure(value, [limit](double share) { return share <= limit; }, {}));
    }
    std::vector<peers::ArgoMetric> metrics_;
};

/// A live judgement at each look, over a sliding window of 60 points, from 50 points on.
class KayentaJudge : public Contender {
public:
    KayentaJudge() { metric_.direction = peers::Direction::increase; }
    bool look(const Seen& seen) override {
        if (seen.baseline.requests == 0) return false;  // at 100 % there is nothing to judge by
        push(errors_, errors_of(seen.canary), errors_of(seen.baseline));
        push(slow_, slow_of(seen.canary), slow_of(seen.baseline));
        if (errors_.canary.size() < least) return false;
        const double score = peers::kayenta_score({judge(errors_), judge(slow_)}, {});
        return peers::stops(score, {});
    }

private:
    static constexpr std::size_t least = 50;
    static constexpr std::size_t most = 60;
    struct Series {
        std::deque<double> canary, baseline;
    };
    static double percentage(const peers::Count& count) {
        return 100 * share_of(count).value_or(std::numeric_limits<double>::quiet_NaN());
    }
    static void push(Series& series, const peers::Count& canary, const peers::Count& baseline) {
        series.canary.push_back(percentage(canary));
        series.baseline.push_back(percentage(baseline));
        if (series.canary.size() > most) {
            series.canary.pop_front();
            series.baseline.pop_front();
        }
    }
    [[nodiscard]] peers::Judged judge(const Series& series) const {
        return peers::classify(metric_, {series.canary.begin(), series.canary.end()},
                               {series.baseline.begin(), series.baseline.end()});
    }
    peers::KayentaMetric metric_;
    Series errors_, slow_;
};

class MsprtPair : public Contender {
public:
    explicit MsprtPair(double tau) : errors_(tau, alpha), slow_(tau, alpha) {}
    bool look(const Seen& seen) override {
        const bool errors = errors_.look(errors_of(seen.canary), errors_of(seen.baseline));
        const bool slow = slow_.look(slow_of(seen.canary), slow_of(seen.baseline));
        return errors || slow;
    }

private:
    static constexpr double alpha = 0.05;
    peers::Msprt errors_, slow_;
};

class RobbinsPair : public Contender {
public:
    bool look(const Seen& seen) override {
        const bool errors = errors_.look(errors_of(seen.canary));
        const bool slow = slow_.look(slow_of(seen.canary));
        return errors || slow;
    }

private:
    peers::Robbins errors_{error_limit, 0.05};
    peers::Robbins slow_{slow_limit, 0.05};
};

template <class Kind, auto... settings>
std::unique_ptr<Contender> make() {
    return std::make_unique<Kind>(settings...);
}
std::unique_ptr<Contender> make_msprt_fine() {
    return std::make_unique<MsprtPair>(0.0025);
}
std::unique_ptr<Contender> make_msprt_coarse() {
    return std::make_unique<MsprtPair>(0.01);
}

}  // namespace

const std::vector<ContenderKind>& contender_kinds() {
    static const std::vector<ContenderKind> kinds{
        {"threshold", "5 minutes above a limit", make<Threshold, 1, false>},
        {"threshold, agents", "the same, or one agent's errors above 1 %",
         make<Threshold, 1, true>},
        {"3 in a row", "three times 5 minutes above a limit", make<Threshold, 3, false>},
        {"Flagger", "threshold: 5, interval: 5m", make<FlaggerCounter, 5>},
        {"Argo", "failureLimit: 3, interval: 5m", make<ArgoRun, 3>},
        {"Kayenta", "last 60 points of 5 minutes, marginal 75, pass 95", make<KayentaJudge>},
        {"mSPRT 0.25 pp", "tau 0.25 points, alpha 5 % a metric", make_msprt_fine},
        {"mSPRT 1 pp", "tau 1 point, alpha 5 % a metric", make_msprt_coarse},
        {"conf. sequence", "beta-binomial against the limit, alpha 5 % a metric",
         make<RobbinsPair>},
    };
    return kinds;
}

}  // namespace canaryd::comparison
