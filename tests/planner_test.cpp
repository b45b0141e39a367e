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
            const Walk walk = relative_walk(
                margin, baseline, number(row.at("p_c")), number(row.at("p_c_healthy")),
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
}
