// The parts of the comparison, each of which runs its rollouts and prints what came of them.
#pragma once

#include <vector>

#include "tests/bench/evidence/race.hpp"

namespace canaryd::comparison {

struct Options {
    int runs = 100;    // healthy rollouts of each kind
    int faults = 100;  // rollouts of each fault
    int threads = 2;
};

/// What a chart has of one contender, at 60 requests/min.
struct Bar {
    std::string name;
    double false_rollbacks = 0;   // share of healthy rollouts at 0.5 % errors
    std::optional<double> delay;  // minutes, 2 % errors from the first look
};

void print_judge_cost(const Policy& policy);
void print_healthy(const Policy& policy, const Options& options, std::vector<Bar>& bars);
/// The same rollouts through canaryd alone: thousands in minutes, with an exact bound.
void print_healthy_alone(const Policy& policy, const Options& options);
void print_faults(const Policy& policy, const Options& options, std::vector<Bar>& bars);
void print_bound(const Policy& policy, const Options& options);
void print_at_the_limit(const Policy& policy, const Options& options);
void print_robustness(const Policy& policy, const Options& options);
void print_thresholds();
void print_chart(const std::vector<Bar>& bars);

/// canaryd, then everybody else: the order of Race::fates.
std::vector<std::string> names();

}  // namespace canaryd::comparison
