// The legacy's history plays both arms: each look's requests are split as the router would split
// them, and faults are added to one side.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "canaryd/evidence.hpp"
#include "daemon/ctl/backtest/history.hpp"
#include "daemon/ctl/backtest/inject.hpp"

namespace canaryd::backtest {

/// One look as both arms saw it.
struct Played {
    /// A request with at least one event; only where there are users.
    struct Event {
        Population who = Population::canary;
        std::size_t scope = 0;      // 0: none; else a segment's index plus 1
        std::uint64_t signals = 0;  // bit i: replayed_signals()[i]
        std::uint64_t user = 0;
        bool has_user = false;
        TimePoint at;
    };
    struct Side {
        std::vector<std::int64_t> requests;  // by scope; 0: the total
        std::vector<std::int64_t> events;    // [scope * signals + signal]
        std::vector<std::int64_t> sure;      // of counts: those that are one beyond doubt
        Latencies latency;
    };
    std::array<Side, 2> sides;  // canary, baseline
    std::vector<Event> events;
    std::vector<std::vector<std::uint64_t>> users;  // the canary's, by segment: a few of them
    /// What each injection met and made, on the canary.
    struct Exposed {
        std::int64_t requests = 0, made = 0;
    };
    std::vector<Exposed> injected;
};

class Arms {
public:
    /// All outlive it. Throws BadFile when the policy has more than 64 signals.
    Arms(const Policy& policy, const History& history, const std::vector<Injection>& injections,
         std::uint64_t seed);

    /// How many looks can be played: without `repeat` those of the records. With it the records
    /// begin anew after their end, in whole days where there are any.
    [[nodiscard]] std::int64_t period() const { return period_; }
    /// Look number `look` since the begin, with this share of the users on the canary.
    [[nodiscard]] Played play(std::int64_t look, Weight weight) const;
    [[nodiscard]] std::size_t signals() const { return signals_.size(); }

private:
    struct Moment;
    void play_requests(const Moment& now, Played& played) const;
    void play_request(const Moment& now, std::size_t row, Played& played) const;
    void play_counts(const Moment& now, Played& played) const;
    void play_cell(const Moment& now, std::size_t scope, Played& played) const;
    void inject_row(const Moment& now, std::size_t row, bool canary, Recorded& request,
                    Played& played) const;
    [[nodiscard]] std::uint64_t events_of(const Recorded& request) const;
    [[nodiscard]] bool befalls(const Injection& injection, const Moment& now, std::size_t scope,
                               bool canary) const;

    const Policy& policy_;
    const History& history_;
    const std::vector<Injection>& injections_;
    std::uint64_t seed_;
    std::vector<Signal> signals_;
    std::optional<Duration> slow_;
    std::size_t scopes_;
    std::int64_t period_;
    std::vector<std::size_t> first_;  // row of each look; one more at the end
};

}  // namespace canaryd::backtest
