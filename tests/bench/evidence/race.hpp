// The same rollouts for canaryd and for everybody else.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tests/bench/evidence/product.hpp"
#include "tests/bench/evidence/traffic.hpp"

namespace canaryd::comparison {

/// One kind of rollout. Others raise by the calendar, 7 days each; canaryd when it has its proof.
struct Course {
    Scenario scenario;
    double until = 44 * day;         // minutes
    std::optional<double> incident;  // when something begins; decisions before it are early
    bool count_slow = false;         // what users suffer from is slow answers, not failed ones
    bool until_promoted = false;     // ends when canaryd leaves 10 %
    bool alone = false;              // canaryd only
    double random_start = 0;         // episodes are moved by up to so many minutes, run by run
};

/// What became of one contender in one rollout.
struct Fate {
    std::optional<double> back;  // minute of the rollback
    std::int64_t requests = 0;   // the canary's, from the incident to the rollback
    std::int64_t suffered = 0;   // those of them that failed, or were slow
};

struct ProductFate {
    std::vector<double> raised_at;
    std::vector<Held> held;
    bool waited = false;
};

struct Race {
    std::vector<Fate> fates;  // canaryd first, then contender_kinds()
    ProductFate product;
};

/// One rollout; the same seed is the same rollout.
Race race(const Policy& policy, const Course& course, std::uint64_t seed);

/// Seeds 1 to `runs`, in their order, on `threads` threads.
std::vector<Race> races(const Policy& policy, const Course& course, int runs, int threads);

}  // namespace canaryd::comparison
