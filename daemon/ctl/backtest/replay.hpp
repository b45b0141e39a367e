// A whole rollout on a virtual clock: recorded requests through the production judge() and step().
//
// Pure but for memory: the same history, policy, faults and seed give the same result. What differs
// from a running daemon is said in Result::notes: looks are complete at once (`settle` is not
// waited for), the router confirms at once, nobody gives commands, and triggers are read at looks
// only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "canaryd/rollout.hpp"
#include "daemon/ctl/backtest/arms.hpp"

namespace canaryd::backtest {

struct Plan {
    std::vector<Injection> injections;
    std::uint64_t seed = 1;
    bool repeat = false;  // play the records again when they end before the plan does
    std::string policy_file;
    std::string policy_text;
};

/// Something that a person would want to see in the timeline.
struct Moment {
    enum class Kind {
        started,
        weight,
        suspicious,
        calm,
        held,
        released,
        alarm,
        other,
        rolled_back,
        end
    };
    TimePoint at;
    Kind kind = Kind::other;
    Weight weight;  // served from then on
    double harm = 0;
    std::string text;  // step()'s own reason
};

struct Told {
    TimePoint at;
    Notice notice;
};

/// Some looks together, for charts.
struct Sample {
    TimePoint from, to;
    Weight weight;
    std::size_t step = 0;
    double ln_m = 0;                    // the largest in it
    std::array<Played::Side, 2> sides;  // sums
    Ledger ledger;                      // at its end
};

/// Adds the looks that follow to a sample's own.
void merge(Sample& into, const Sample& next);

/// What became of one injected fault.
struct Found {
    std::size_t injection = 0;
    bool met = false;  // the rollout was still running when it began
    TimePoint began;
    std::optional<TimePoint> suspected;  // first look with suspicion, or an alarm, from then on
    std::optional<TimePoint> held;       // first hold by canaryd
    std::optional<TimePoint> rolled_back;
    std::int64_t requests = 0;  // of the canary that it could befall, up to the rollback
    std::int64_t made = 0;      // of these it changed
};

struct FalseAlarm {
    TimePoint at;
    std::string what;
    bool rollback = false;
};

struct Result {
    enum class End {
        rolled_back,
        ready_to_finish,  // the whole plan, soak included
        records_over      // the history ended first
    };
    End end = End::records_over;
    Rollout rollout;
    TimePoint begin, at;  // virtual time
    std::int64_t looks = 0;
    std::int64_t requests = 0, canary_requests = 0;
    std::size_t times_played = 1;  // of the records
    std::vector<Moment> moments;
    std::vector<Told> told;
    std::vector<Sample> samples;
    std::vector<Found> found;              // one for each injection
    std::vector<FalseAlarm> false_alarms;  // while only recorded faults were there
    std::vector<std::string> notes;
};

/// Throws BadFile when the policy cannot be played.
Result replay(const Policy& policy, const History& history, const Plan& plan);

/// The policy without what is about latency, for records that have none. Throws BadFile when no
/// criterion is left.
Policy without_latency(Policy policy);

}  // namespace canaryd::backtest
