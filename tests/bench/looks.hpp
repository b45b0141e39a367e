// The first user's policy (8 agents, 18 streams) and looks as its metrics would give them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "canaryd/policy.hpp"
#include "canaryd/ports.hpp"
#include "canaryd/rollout.hpp"
#include "daemon/sources/rows.hpp"
#include "tests/bench/bench.hpp"

namespace canaryd::bench {

/// The text with `from`, which must be there, replaced once.
inline std::string replaced(std::string text, std::string_view from, std::string_view to) {
    const std::size_t at = text.find(from);
    if (at == std::string::npos)
        throw std::logic_error("the policy no longer has \"" + std::string(from) + "\"");
    return text.replace(at, from.size(), to);
}

inline std::string unified_text() {
    return text_of(std::string(CANARYD_SOURCE_DIR) + "/policies/unified-webhook.yaml");
}

inline Policy policy_of(const std::string& text) {
    ParsedPolicy parsed = parse_policy(text, "bench.yaml");
    if (!parsed.policy) throw std::invalid_argument(to_string(parsed.problems.front()));
    return std::move(*parsed.policy);
}

/// A healthy service: errors 0.4 %, slow answers 2 %, `per_look` requests of the canary in a look.
class Looks {
public:
    Looks(const Policy& policy, double per_look, std::uint64_t seed = 1)
        : signals_(signals_of(policy).size()), per_look_(per_look), random_(seed) {}

    Look next(const Policy& policy, const Ask& ask) {
        Look look;
        look.from = ask.from;
        look.to = ask.to;
        look.cursor = "r1 " + std::to_string(ask.to.time_since_epoch().count());
        if (!ask.peek) {
            for (const Population who : {Population::canary, Population::baseline})
                fill(look, policy, ask, who);
        }
        for (const rows::WindowAsk& window : rows::windows_of(policy, ask)) {
            for (const Population who : {Population::canary, Population::baseline}) {
                if (window.numbers > 0 && who == Population::baseline) continue;
                const std::size_t scopes = window.each_segment ? policy.segments.size() : 1;
                for (std::size_t i = 0; i < scopes; ++i)
                    add_window(look, window, who, window.each_segment ? policy.segments[i] : "");
            }
        }
        return look;
    }

private:
    std::int64_t poisson(double mean) {
        return std::poisson_distribution<std::int64_t>(mean)(random_);
    }

    void fill(Look& look, const Policy& policy, const Ask& ask, Population who) {
        const std::int64_t block = ask.from.time_since_epoch() / policy.floor_within;
        Tally total;
        total.who = who;
        total.events.resize(signals_);
        const double mean = per_look_ * (who == Population::canary ? 1 : 9) /
                            static_cast<double>(std::max<std::size_t>(policy.segments.size(), 1));
        std::vector<Tally> segments;
        for (const std::string& segment : policy.segments) {
            Tally tally;
            tally.who = who;
            tally.segment = segment;
            tally.events.resize(signals_);
            tally.requests = poisson(mean);
            total.requests += tally.requests;
            total.latency.add(Duration{240}, tally.requests);
            for (std::size_t s = 0; s < signals_; ++s) {
                const double rate = s == 0 ? 0.004 : 0.02;
                const std::int64_t k = std::min(tally.requests, poisson(mean * rate));
                tally.events[s].raw = k;
                total.events[s].raw += k;
                if (k > 0) tally.events[s].first.push_back({block, k});
            }
            const bool wanted = std::find(ask.users_wanted.begin(), ask.users_wanted.end(),
                                          segment) != ask.users_wanted.end();
            for (int i = 0; wanted && who == Population::canary && i < 8; ++i)
                tally.new_users.push_back(random_());
            segments.push_back(std::move(tally));
        }
        for (Count& count : total.events) {
            if (count.raw > 0) count.first.push_back({block, count.raw});
            if (who == Population::canary) total.bursts.push_back({count.raw, count.raw});
        }
        look.on_time.push_back(std::move(total));
        for (Tally& tally : segments) look.on_time.push_back(std::move(tally));
    }

    void add_window(Look& look, const rows::WindowAsk& asked, Population who,
                    const std::string& segment) {
        Window window;
        window.trigger = asked.trigger;
        window.segment = segment;
        window.who = who;
        window.from = asked.from;
        window.to = asked.to;
        if (asked.numbers > 0) {
            window.value = 3;
        } else {
            const double share = who == Population::canary ? 1 : 9;
            window.requests = static_cast<std::int64_t>(per_look_ * share / 8);
            if (asked.signal) window.failures = window.users = window.requests / 250;
        }
        look.windows.push_back(std::move(window));
    }

    std::size_t signals_;
    double per_look_;
    std::mt19937_64 random_;
};

/// Started, and the router has confirmed the first step.
inline Rollout running_rollout(const Policy& policy, const std::string& text, TimePoint at) {
    event::Started started{policy.name + "-1", text, "bench.yaml"};
    Rollout rollout =
        step(Rollout{}, Event{at, "bench", "operator", std::move(started)}, policy).next;
    event::RouteRead read;
    read.served = {rollout.desired, 1, "canaryd", "bench"};
    return step(rollout, Event{at, "canaryd", "engine", std::move(read)}, policy).next;
}

/// What the controller would ask next.
inline Ask ask_after(const Rollout& rollout, const Policy& policy) {
    Ask ask;
    ask.from = rollout.last_look;
    ask.to = rollout.last_look + policy.evaluate_every;
    ask.windows_from = rollout.applied_since;
    ask.gate_from = rollout.applied_since + policy.warm_up;
    ask.cursor = rollout.cursor;
    for (std::size_t i = 0; i < rollout.segments.size(); ++i) {
        if (static_cast<std::int64_t>(rollout.segments[i].users.size()) < policy.segment_users)
            ask.users_wanted.push_back(policy.segments[i]);
    }
    return ask;
}

}  // namespace canaryd::bench
