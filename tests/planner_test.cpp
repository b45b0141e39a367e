// What a policy can show at a traffic, said before day one: against other programs' numbers, and
// against rollouts that were really judged.
#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "canaryd/planner.hpp"
#include "tests/vectors.hpp"

using namespace canaryd;
using namespace canaryd::vectors;

namespace {

Onset onset_of(const Row& row) {
    return row.at("mode") == "begin" ? Onset::begin : Onset::mid;
}

Stake stake_of(const Row& row) {
    return {number(row.at("alpha")), number(row.at("v")), number(row.at("eta")),
            number(row.at("H_min")), number(row.at("C"))};
}

void check_walk(const Walk& walk, double chance, const Row& row) {
    check_close(walk.delta, number(row.at("delta")), row, "grid point");
    check_close(walk.threshold, number(row.at("threshold_nats")), row, "threshold");
    check_close(walk.drift, number(row.at("drift")), row, "drift");
    check_close(walk.variance, number(row.at("var")), row, "variance");
    check_close(chance, number(row.at("P_detect")), row, "chance");
}

std::vector<Block> blocks_of(const std::string& requests, const std::string& events) {
    const std::vector<double> n = numbers(requests);
    const std::vector<double> k = numbers(events);
    std::vector<Block> blocks;
    for (std::size_t i = 0; i < n.size(); ++i) blocks.push_back({n[i], k.at(i)});
    return blocks;
}

}  // namespace

TEST_SUITE("planner") {
    TEST_CASE("vector planner_detect: the chance to find a rate above a limit") {
        for (const Row& row : rows_of("planner_detect.csv")) {
            const Walk walk =
                limit_walk(number(row.at("p0")), number(row.at("q")), number(row.at("p_healthy")),
                           number(row.at("req_per_min")), stake_of(row), onset_of(row));
            check_walk(walk, chance_to_reach(walk, number(row.at("n"))), row);
        }
    }

    TEST_CASE("vector planner_detect_rel: the chance to find a canary worse than its baseline") {
        for (const Row& row : rows_of("planner_detect_rel.csv")) {
            const Margin margin{number(row.at("rho")), number(row.at("dm")),
                                number(row.at("kappa")), number(row.at("p_b"))};
            const Walk walk =
                relative_walk(margin, number(row.at("p_c")), number(row.at("p_c_healthy")),
                              number(row.at("req_per_min")), stake_of(row), onset_of(row));
            check_walk(walk, chance_to_reach(walk, number(row.at("n"))), row);
        }
    }

    TEST_CASE("vector planner_promote: the chance to pass the gate") {
        for (const Row& row : rows_of("planner_promote.csv")) {
            const Walk walk =
                gate_walk(number(row.at("p0")), number(row.at("p")), number(row.at("beta")));
            check_close(walk.delta, number(row.at("delta")), row, "grid point");
            check_close(walk.threshold, number(row.at("threshold_nats")), row, "threshold");
            check_close(walk.drift, number(row.at("drift")), row, "drift");
            check_close(chance_above(walk, number(row.at("n"))), number(row.at("P_pass")), row,
                        "chance");
        }
    }

    TEST_CASE("vector theory_bounds: the fewest requests that any rule needs") {
        for (const Row& row : rows_of("theory_bounds.csv")) {
            const Yardstick yardstick =
                yardstick_of(number(row.at("p0")), number(row.at("q")), number(row.at("alpha")),
                             number(row.at("req_per_min")), number(row.at("horizon_min")));
            check_close(yardstick.divergence, number(row.at("kl")), row, "divergence");
            check_close(yardstick.wald, number(row.at("wald_requests")), row, "Wald's bound");
            check_close(yardstick.changepoint, number(row.at("changepoint_requests")), row,
                        "the bound of an unknown start");
        }
    }

    TEST_CASE("vector dispersion: how much more blocks differ than chance") {
        for (const Row& row : rows_of("dispersion.csv")) {
            const std::vector<Block> ours = blocks_of(row.at("n1"), row.at("k1"));
            const std::vector<Block> theirs = blocks_of(row.at("n2"), row.at("k2"));
            check_close(batch_dispersion(ours), number(row.at("phi_batch(1)")), row, "in time");
            check_close(split_dispersion(ours, theirs), number(row.at("phi_split(1,2)")), row,
                        "between sides");
        }
    }
}
