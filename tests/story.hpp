// A rollout's story, told event by event: what tests of step() are written in.
#pragma once

#include <string>
#include <vector>

#include "canaryd/rollout.hpp"

namespace canaryd::test {

using namespace std::chrono_literals;
inline constexpr Duration day = std::chrono::hours{24};

/// 10/50/100 %, a day each, soak three days, looks of an hour: small enough to tell whole.
inline Policy small_policy() {
    Policy policy;
    policy.name = "unified";
    policy.canary = "new";
    policy.baseline = {"old"};
    policy.steps = {
        {"week4", Weight{1'000}, day}, {"week5", Weight{5'000}, day}, {"week6", everybody, day}};
    policy.evaluate_every = 1h;
    policy.settle = 0s;
    policy.warm_up = 0s;
    policy.blind_hold_after = 2h;
    policy.criteria = {{"errors", "error_rate", {Signal::Kind::failed, {}}, 0.01},
                       {"latency", "latency_p95", {Signal::Kind::slower, 2s}, 0.05}};
    policy.segment = "agent";
    policy.segments = {"jobs", "rides"};
    policy.segment_requests = 10;
    policy.segment_users = 2;
    policy.soak = 3 * day;
    policy.hash = "0123";
    return policy;
}

inline Trigger error_burst() {
    Trigger trigger;
    trigger.name = "error-burst";
    trigger.metric = "error_rate";
    trigger.threshold = 0.05;
    trigger.as_written = "above 5%";
    trigger.over = 1h;
    trigger.needed = 1;
    trigger.looks = 1;
    return trigger;
}

/// Counts of one look, in one number each.
struct Counts {
    std::int64_t requests = 1'000;
    std::int64_t failed = 0;
    std::int64_t slow = 0;
    std::int64_t baseline_requests = 9'000;
    std::int64_t baseline_failed = 0;
};

class Story {
public:
    explicit Story(Policy with = small_policy()) : policy(std::move(with)) {
        policy.warm_up = std::max(policy.warm_up, Duration{0});
    }

    Policy policy;
    Rollout rollout;
    TimePoint now{std::chrono::hours{24 * 20'000}};
    std::vector<Notice> told;
    Transition last;

    /// One event at the present time.
    const Transition& happens(What what, const std::string& by = "canaryd") {
        const Event event{now, by, by == "canaryd" ? "engine" : "operator", std::move(what)};
        last = step(rollout, event, policy);
        if (!last.forget) rollout = last.next;
        for (const Notice& notice : last.notices) told.push_back(notice);
        return last;
    }
    Story& start() {
        happens(event::Started{"unified-1", "", "unified.yaml"}, "alice");
        return *this;
    }
    const Transition& served(Weight weight, const std::string& by = "canaryd",
                             const std::string& reason = "") {
        return happens(event::RouteRead{{weight, rollout.revision, by, reason}});
    }
    /// The router confirms what is wanted.
    Story& confirm() {
        served(rollout.desired);
        return *this;
    }

    [[nodiscard]] static Tally tally(Population who, const std::string& segment, std::int64_t n,
                                     std::int64_t failed, std::int64_t slow, TimePoint from,
                                     Duration block_length) {
        Tally tally;
        tally.who = who;
        tally.segment = segment;
        tally.requests = n;
        const std::int64_t block = from.time_since_epoch() / block_length;
        for (const std::int64_t k : {failed, slow}) {
            Count count;
            count.raw = k;
            if (k > 0) count.first = {{block, k}};
            tally.events.push_back(count);
            if (who == Population::canary && segment.empty()) tally.bursts.push_back({k, k});
        }
        for (std::uint64_t user = 1; user <= 4; ++user) tally.new_users.push_back(user);
        return tally;
    }
    /// The look that is due: from the end of the last one to now (or `length`).
    [[nodiscard]] Look counts(const Counts& c, Duration length = 1h) const {
        Look look;
        look.from = rollout.last_look;
        look.to = look.from + length;
        const auto add = [&](Population who, const std::string& segment, std::int64_t n,
                             std::int64_t failed, std::int64_t slow) {
            look.on_time.push_back(
                tally(who, segment, n, failed, slow, look.from, policy.floor_within));
        };
        add(Population::canary, "", c.requests, c.failed, c.slow);
        add(Population::baseline, "", c.baseline_requests, c.baseline_failed, 0);
        for (const std::string& segment : policy.segments) {
            const auto half = c.requests / 2;
            add(Population::canary, segment, half, std::min(half, c.failed / 2), c.slow / 2);
            add(Population::baseline, segment, c.baseline_requests / 2, c.baseline_failed / 2, 0);
        }
        for (const Trigger& trigger : policy.triggers) {
            for (const Population who : {Population::canary, Population::baseline}) {
                Window window;
                window.trigger = trigger.name;
                window.who = who;
                window.from = look.to - trigger.over;
                window.to = look.to;
                const bool canary = who == Population::canary;
                window.requests = canary ? c.requests : c.baseline_requests;
                window.failures = canary ? c.failed : c.baseline_failed;
                window.users = window.failures;
                look.windows.push_back(window);
            }
        }
        return look;
    }
    /// Time passes by one look, which brings these counts.
    const Transition& look(const Counts& c = {}, Duration length = 1h) {
        now = rollout.last_look + length;
        event::Looked looked;
        looked.look = counts(c, length);
        return happens(looked);
    }
    const Transition& blind_look(Duration after = 1h) {
        now += after;
        event::Looked looked;
        looked.look.error = "connection refused";
        return happens(looked);
    }
    /// Healthy looks until the step is over, at most `looks`.
    Story& healthy(int looks) {
        for (int i = 0; i < looks; ++i) look();
        return *this;
    }
    /// Healthy until the next raise is ordered; confirms it.
    Story& to_next_step() {
        const Weight at = rollout.desired;
        for (int i = 0; i < 200 && rollout.desired == at; ++i) look();
        return confirm();
    }
    [[nodiscard]] int times_told(Notice::Kind kind) const {
        int times = 0;
        for (const Notice& notice : told) times += notice.kind == kind ? 1 : 0;
        return times;
    }
};

}  // namespace canaryd::test
