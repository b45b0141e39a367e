// A world that fails, for the production controller on a virtual clock: one seed, one run.
//
// The world outlives the daemon in it: crashes destroy the controller and its loop, and a new one
// starts from what the store has. Everything that happened is in the traces; the checker reads
// nothing else.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "canaryd/controller.hpp"
#include "daemon/clock.hpp"
#include "tests/simulation/random.hpp"

namespace canaryd::simulation {

/// What this seed does to the daemon: a random subset, else faults mask each other.
struct Plan {
    std::uint64_t seed = 0;
    double canary_per_minute = 60;  // at 10 %
    double error_rate = 0.004;
    double slow_rate = 0.018;
    bool diurnal = false;
    bool blind_rolls_back = false;
    std::string lease = "\"off\"";  // exposure_lease
    Served found;                   // what the route serves before canaryd comes
    bool history = false;           // the router's database keeps one
    // The fault of the canary, if any: errors of all agents or of one, from `fault_at` on.
    double fault_rate = 0;
    int fault_agent = -1;
    Duration fault_at{0};
    Duration fault_for{0};
    // Both arms fail.
    double outage_rate = 0;
    Duration outage_at{0};
    Duration outage_for{0};
    // Somebody edits the policy's file, never back, and offers it at once and after each restart.
    Duration edited_at{0};
    bool edit_is_broken = false;  // else it is looser
    // Ports that fail.
    double source_fails = 0, router_fails = 0, notifier_fails = 0, store_unknown = 0;
    Duration source_dead_at{0}, source_dead_for{0};
    Duration store_full_at{0}, store_full_for{0};
    Duration router_dead_at{0}, router_dead_for{0};
    Duration notifier_dead_at{0}, notifier_dead_for{0};
    double crashes_per_day = 0;
    double commands_per_day = 0;
    double hands_per_week = 0;  // somebody changes the route by hand
    double clock_jumps_per_week = 0;
    double suspends_per_week = 0;

    static Plan of(std::uint64_t seed);
    [[nodiscard]] std::string describe() const;
};

/// One line of what the outside saw, in the order in which it happened.
struct Trace {
    enum class Kind {
        commit,        // a journal entry became durable
        commit_error,  // the store threw; the entry may be durable all the same
        route,         // the router took an order
        route_failed,  // the router threw: at a set, with or without taking the order, or a read
        hand,          // somebody else changed the route
        history,       // the router's database took a milestone
        sent,          // the notifier delivered
        ambiguous,     // the notifier delivered and said that it did not
        acknowledged,  // a command was answered as done
        asked,         // the source was asked for the top errors
        crash,
        start
    };
    Kind kind = Kind::commit;
    SteadyPoint steady;
    TimePoint wall;
    std::string rollout;
    std::uint64_t revision = 0;  // of the entry, or Order::decided
    Weight weight;               // desired after the entry, or served after the order
    Weight before;               // served before the order
    std::string what;            // event's name, notice's id
    std::string text;            // what people read of a notice
    bool refused = false;
    bool source_was_dead = false;  // at that moment
};

/// What the source handed out for one closed interval: the canary's totals. Kept by the world, so
/// that what the engine made of them can be counted again.
struct Answer {
    TimePoint from, to;
    std::int64_t requests = 0, failed = 0, slow = 0;
    std::size_t traces = 0;  // how many there were when it was given
};

/// What one journal entry decided.
struct Decided {
    std::string id;
    Status status = Status::pending;
    std::size_t step = 0;
    Weight desired;
    Duration baked{0};
    double ln_m = 0;
    bool over = false, paused = false, held = false, drifted = false, proven = false;
    std::vector<Notice::Kind> told;
};

/// What a run left behind: the checker reads this and nothing else.
struct Run {
    Plan plan;
    std::vector<Trace> traces;
    std::vector<Answer> answers;
    std::vector<JournalEntry> journal;
    std::vector<Decided> decided;  // beside the journal, same order
    std::vector<Owed> all_owed;
    std::optional<TimePoint> served_until;
    Served served;           // at the end, after every fault has healed
    std::uint64_t hash = 0;  // of all traces
    std::string died;        // the daemon threw something it should not have
    std::size_t looks = 0;

    /// Every eighth seed keeps its looks and is decided again from its journal alone.
    [[nodiscard]] bool keeps_looks() const { return plan.seed % 8 == 0; }
};

/// Runs the whole 44-day plan (or `days`) of one seed.
Run simulate(const Plan& plan, int days = 46);

/// Every guarantee that was broken, in sentences; empty: none.
std::vector<std::string> check(const Run& run);

}  // namespace canaryd::simulation
