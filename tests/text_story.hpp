// Rollouts as the pages show them: one healthy, one rolled back, one held.
#pragma once

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>
#include <utility>

#include "canaryd/text.hpp"
#include "tests/has.hpp"

namespace canaryd::story {

using namespace std::chrono_literals;
using testing::has;

inline constexpr Duration day = 24h;
// Mon 11 Jan 2027 09:00 UTC.
inline const TimePoint monday =
    TimePoint{std::chrono::sys_days{std::chrono::year{2027} / 1 / 11}} + 9h;

inline Criterion criterion(std::string name, std::string metric, Signal signal, double limit) {
    Criterion made;
    made.name = std::move(name);
    made.metric = std::move(metric);
    made.signal = signal;
    made.limit = limit;
    return made;
}

inline Trigger burst() {
    Trigger trigger;
    trigger.name = "error-burst";
    trigger.metric = "error_rate";
    trigger.threshold = 0.05;
    trigger.as_written = "above 5%";
    trigger.over = 5min;
    trigger.needed = 1;
    trigger.looks = 1;
    trigger.at_least = 10;
    return trigger;
}

/// The first user's plan in small: three steps, errors and p95, two agents.
inline Policy plan() {
    Policy policy;
    policy.name = "unified-webhook";
    policy.canary = "wa-webhook-unified";
    policy.baseline = {"wa-webhook-ai-agents"};
    policy.source = {"sqlite", "metrics", "webhook_metrics", ""};
    policy.router = {"sql", "route", {}, {}};
    policy.steps = {{"week4", Weight{1000}, 7 * day},
                    {"week5", Weight{5000}, 7 * day},
                    {"week6", everybody, 7 * day}};
    const Signal failed{};
    const Signal slow{Signal::Kind::slower, 2s};
    policy.criteria = {criterion("errors", "error_rate", failed, 0.01),
                       criterion("latency", "latency_p95", slow, 0.05),
                       criterion("success", "success_rate", failed, 0.01)};
    policy.triggers = {burst()};
    policy.segment = "agent";
    policy.segment_column = "agent_type";
    policy.segments = {"rides", "waiter"};
    policy.hash = "0123456789abcdef";
    return policy;
}

inline SegmentState segment(std::int64_t requests, std::int64_t failed, TimePoint last) {
    SegmentState state;
    state.requests = requests;
    state.events_failed = failed;
    for (std::uint64_t user = 0; user < 10; ++user) state.users.push_back(user);
    state.last_request = last;
    return state;
}

inline void count(Stream& stream, std::int64_t requests, std::int64_t events) {
    stream.requests = requests;
    stream.events = events;
}

/// Day 3 of week4, everything well.
inline View healthy() {
    View view;
    view.policy = plan();
    view.now = monday + 2 * day + 5h;
    Rollout& rollout = view.rollout;
    rollout.id = "unified-webhook-1";
    rollout.name = "unified-webhook";
    rollout.status = Status::progressing;
    rollout.revision = 641;
    rollout.desired = Weight{1000};
    rollout.applied = Weight{1000};
    rollout.started = monday;
    rollout.applied_since = monday;
    rollout.baked = 2 * day + 4h + 20min;
    rollout.uncounted[static_cast<std::size_t>(Uncounted::blind)] = 40min;
    rollout.last_look = view.now - 2min;
    rollout.ledger = new_ledger(view.policy);
    // Limit by limit, the total first, then the agents.
    count(rollout.ledger.streams[0], 35'400, 134);
    count(rollout.ledger.streams[1], 5'510, 22);
    count(rollout.ledger.streams[2], 430, 3);
    count(rollout.ledger.streams[3], 35'400, 673);
    rollout.proven = true;
    rollout.ln_m = std::log(0.4);
    rollout.segments = {segment(5'510, 22, view.now - 30s), segment(430, 3, view.now - 22min)};
    rollout.canary.requests = 35'400;
    rollout.canary.events = {134, 673};
    rollout.canary.latency.add(1300ms, 35'400);
    rollout.baseline.requests = 322'000;
    rollout.baseline.events = {1'320, 7'438};
    rollout.baseline.latency.add(1500ms, 322'000);
    rollout.last_canary_request = view.now - 30s;
    view.served = Served{Weight{1000}, 3, "canaryd", "week4"};
    view.served_at = view.now - 12s;
    view.peeked_at = view.now - 9s;
    return view;
}

inline View rolled_back() {
    View view = healthy();
    Rollout& rollout = view.rollout;
    rollout.status = Status::rolled_back;
    rollout.step = 1;
    rollout.bake_seen = {7 * day};
    rollout.desired = nobody;
    rollout.applied = nobody;
    rollout.rolled_back_from = Weight{5000};
    rollout.rolled_back_at = view.now - 1min;
    rollout.applied_since = view.now - 1min + 3ms;
    rollout.reason = "criterion errors, agent rides: 12 of 126 requests failed (9.52 %)";
    rollout.changed_by = "canaryd";
    rollout.changed_at = view.now - 1min;
    rollout.ln_m = std::log(104.0);
    rollout.ledger.streams[1].ln_r[4] = std::log(104.0);
    view.served = Served{nobody, 4, "canaryd", "criterion errors"};
    return view;
}

inline View held(Hold::Kind kind, std::string why) {
    View view = healthy();
    view.rollout.holds.push_back({kind, "", view.now - 10min, std::move(why)});
    return view;
}

/// The page without its line breaks and paddings: a sentence may be wrapped anywhere.
inline std::string flat(const std::string& page) {
    std::istringstream words(page);
    std::string word, all;
    while (words >> word) all += (all.empty() ? "" : " ") + word;
    return all;
}

inline std::size_t longest_line(const std::string& page) {
    std::istringstream lines(page);
    std::string line;
    std::size_t longest = 0;
    while (std::getline(lines, line)) longest = std::max(longest, line.size());
    return longest;
}

inline std::ptrdiff_t lines_of(const std::string& page) {
    return std::count(page.begin(), page.end(), '\n');
}

}  // namespace canaryd::story
