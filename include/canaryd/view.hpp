// A rollout as people see it: the state and what is known beside it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "canaryd/policy.hpp"
#include "canaryd/rollout.hpp"

namespace canaryd {

/// A rollout as it is now, for people: the state and what is known beside it. A copy.
struct View {
    Rollout rollout;
    Policy policy;
    std::optional<Served> served;  // newest read-back, and when
    std::optional<TimePoint> served_at;
    std::string route_progress;  // what still follows the route; empty: nothing
    std::string router_error;    // why the newest set or read failed; empty: it did not
    std::string store_trouble;   // why the store takes nothing; empty: it does
    // How a person lowers the route without canaryd, the best way first: SQL, commands.
    std::vector<std::string> by_hand;
    std::optional<TimePoint> peeked_at;
    std::string source_error;
    std::vector<std::string> remarks;  // of the newest look
    std::size_t owed = 0;              // notices not sent yet
    std::string notify_error;
    std::vector<TopError> top_errors;  // of the hour before a rollback, once the route has moved
    TimePoint now;
};

}  // namespace canaryd
