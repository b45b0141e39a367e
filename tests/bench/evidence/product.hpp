// canaryd itself: the production judge() and step(), fed with simulated looks and obeyed at once.
//
// What is not here: a source, a router and a store that can fail, `settle`, peeks and triggers.
// The comparison is of criteria, which promise something; triggers are thresholds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "canaryd/dedup.hpp"
#include "canaryd/rollout.hpp"
#include "tests/bench/evidence/traffic.hpp"

namespace canaryd::comparison {

/// 10 % and 50 % for 7 days each, 100 % to day 44; errors below 1 %, p95 below 2 s, eight agents;
/// held, not rolled back, where errors or slow answers are clearly more than the legacy's.
Policy plan();

struct Held {
    double at = 0;
    Hold::Kind kind = Hold::Kind::blind;
};

class Product {
public:
    explicit Product(const Policy& policy);

    /// Share of the users on the canary now; 0 once they are back.
    [[nodiscard]] double weight() const;
    [[nodiscard]] bool rolled_back() const { return rollout_.status == Status::rolled_back; }
    /// Look number `look` is over: what happened in it at weight().
    void look(const Scenario& scenario, std::int64_t look, const Arms& arms);
    /// The same look as its source would report it; call it once for each look, in order.
    Look made(const Scenario& scenario, std::int64_t look, const Arms& arms);

    /// When a weight came on, in minutes, in order; the first is that of 10 %.
    [[nodiscard]] const std::vector<double>& raised_at() const { return raised_at_; }
    /// Every look at whose end it was held, by its minute, and why.
    [[nodiscard]] const std::vector<Held>& held() const { return held_; }
    /// An alarm waited for its confirmation, and people were told at once.
    [[nodiscard]] bool waited() const { return waited_; }

private:
    struct Late {
        std::int64_t look = 0;
        Side canary;
    };
    void apply(TimePoint at, What what);
    void add_tallies(std::vector<Tally>& tallies, Population who, const Side& side,
                     std::int64_t block, std::int64_t retries);
    std::int64_t count_retries(std::int64_t retries, std::int64_t block, Burst& burst);
    [[nodiscard]] double minute_of(TimePoint at) const;

    const Policy& policy_;
    Rollout rollout_;
    Event event_;
    Dedup dedup_;
    std::vector<Late> late_;
    std::uint64_t users_ = 0;
    std::vector<double> raised_at_;
    std::vector<Held> held_;
    bool waited_ = false;
};

/// Microseconds of processor time for one judge() of the plan, and its streams, over `looks` looks.
struct JudgeCost {
    double microseconds = 0;
    std::size_t streams = 0;
};
JudgeCost judge_cost(const Policy& policy, std::int64_t looks);

}  // namespace canaryd::comparison
