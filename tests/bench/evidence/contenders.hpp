// Whoever is compared with canaryd: one look at a time, and a yes to "roll back now?".
//
// To add one: a small file in peers/ with its rule and nothing else, a test in the suite `peers`
// against figures from its source, and one line in contenders.cpp.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/evidence/traffic.hpp"

namespace canaryd::comparison {

inline constexpr double error_limit = 0.01;
inline constexpr double slow_limit = 0.05;  // p95 below the limit is "at most 5 % are slower"

/// What had arrived when the look was closed.
struct Seen {
    Counts canary;
    Counts baseline;
    std::array<Counts, agents> canary_agents{};
};

class Contender {
public:
    virtual ~Contender() = default;
    /// True: all users go back now, and that is the end.
    virtual bool look(const Seen& seen) = 0;
};

struct ContenderKind {
    std::string name;
    std::string setting;
    std::unique_ptr<Contender> (*make)();
};
const std::vector<ContenderKind>& contender_kinds();

}  // namespace canaryd::comparison
