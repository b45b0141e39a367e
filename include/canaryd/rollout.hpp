// The state machine. step() is pure: no clock, no I/O, no log, no randomness. What is not in
// Rollout is not remembered; what is not an Event did not happen.
//
// Promises: the thirteen sentences at step(). They are the test cases of tests/rollout_test.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "canaryd/analysis.hpp"
#include "canaryd/policy.hpp"

namespace canaryd {

/// What the data plane answers, and who set it. `by` is empty when nobody signed.
struct Served {
    Weight weight;
    std::uint64_t revision = 0;
    std::string by;
    std::string reason;
};

/// One of the canary's most frequent error texts, with requests to look up.
struct TopError {
    std::string message;
    std::int64_t times = 0;
    std::vector<std::string> request_ids;  // at most two
};

namespace event {
struct Started {
    std::string id;           // the rollout's id, chosen by the controller
    std::string policy_text;  // pinned: verify() needs nothing else
    std::string policy_file;
};
/// A look at its due time: evidence, or `look.error`.
struct Looked {
    Look look;
    bool nobody_hears = false;  // every configured channel fails: the raise to 100 % waits
};
/// The open interval read early: windows of `1 of 1` triggers only. Acts or is forgotten.
struct Peeked {
    Look look;
};
/// What the router says it serves: after a set, at start, and from time to time.
struct RouteRead {
    Served served;
};
/// The order to raise was not confirmed in its time.
struct RaiseLapsed {};
/// Something outside the store remembers a later revision of this rollout than the store has: it
/// is an older backup, or a standby that lagged behind. Told before anything is ordered.
struct StoreWentBack {
    std::uint64_t revision = 0;  // what is remembered, above the rollout's own
    Weight weight;               // wanted or served then
    bool rolled_back = false;    // and whether that was the end of it
    std::string witness;         // who remembers: "the route row"
};
struct Pause {
    std::string reason;
};
struct Resume {
    std::string reason;
};
struct Promote {
    bool override_proof = false;
    std::string reason;
};
struct RollBack {
    std::string reason;
};
struct Extend {
    Duration by{0};
    std::string reason;
};
struct Finish {
    std::string reason;
};
struct Acknowledge {
    std::string reason;
};
}  // namespace event

using What =
    std::variant<event::Started, event::Looked, event::Peeked, event::RouteRead, event::RaiseLapsed,
                 event::StoreWentBack, event::Pause, event::Resume, event::Promote, event::RollBack,
                 event::Extend, event::Finish, event::Acknowledge>;

struct Event {
    TimePoint at;      // the controller's clock when it took the event up
    std::string by;    // "canaryd", or the person's name
    std::string role;  // "engine", "operator"
    What what;
};

enum class Status { pending, progressing, rolled_back, finishing, finished };

/// A person stopped advancing.
struct Paused {
    std::string by;
    TimePoint at;
    std::string reason;
};

/// canaryd stopped advancing, for a reason. A hold that heals ends by itself.
struct Hold {
    enum class Kind {
        blind,           // no fresh metrics; heals
        shared_outage,   // the baseline breaks the same rule; heals
        drift,           // somebody lowered the route by hand; a person resumes
        unproven,        // max_step is over; a person decides
        trigger,         // a trigger with `then: hold`; a person resumes
        confirmation,    // an alarm without baseline was not confirmed; a person resumes
        unconfirmed,     // the router never confirmed the first raise; a person resumes
        criterion,       // a criterion with `then: hold` was proven broken; a person resumes
        store_went_back  // the store has forgotten decisions; a person resumes
    };
    Kind kind = Kind::blind;
    std::string name;  // the trigger's name; else empty
    TimePoint since;
    std::string why;  // a sentence
    [[nodiscard]] bool heals() const { return kind == Kind::blind || kind == Kind::shared_outage; }
};

/// Why time at this step's weight did not count as bake.
enum class Uncounted { blind, down, paused, held, suspicious, unconfirmed };
inline constexpr std::size_t uncounted_kinds = 6;

/// A trigger's memory: bit i of `fired` is the look before the i-th last.
struct TriggerState {
    std::uint32_t fired = 0;
    std::uint32_t seen = 0;  // how many looks are in it, at most 32
    Window last;             // the newest canary window, for explain
    double reached = 0;      // the canary's value in it, in the trigger's unit
    bool acted = false;      // warned or held; cleared when it is below the rule again
};

/// What was seen of a segment at this step.
struct SegmentState {
    std::int64_t requests = 0;
    std::int64_t events_failed = 0;
    std::vector<std::uint64_t> users;  // hashes, at most segment_users
    std::optional<TimePoint> last_request;
    [[nodiscard]] bool seen_enough(const Policy& policy) const;
};

/// Sums of a population at this step, for people.
struct Seen {
    std::int64_t requests = 0;
    std::vector<std::int64_t> events;  // raw, in the order of signals_of()
    Latencies latency;
};

/// Everything that is remembered about one rollout, flat and printable.
struct Rollout {
    std::string id;  // NAME-N: the N-th rollout of the policy's name
    std::string name;
    std::string policy_hash;
    Status status = Status::pending;
    std::uint64_t revision = 0;  // grows by one with each committed event

    std::size_t step = 0;                     // the step whose weight is on, or is to be the first
    Weight desired = nobody;                  // the order to the router, by level
    std::optional<Weight> applied;            // what the router confirmed last
    std::uint64_t ordered = 0;                // revision of the newest order
    std::optional<std::uint64_t> route_from;  // the row's revision when this rollout first read it
    std::uint64_t forgotten = 0;              // revisions that a store that went back had lost
    std::optional<TimePoint> raise_expires;   // an unconfirmed raise lapses then
    TimePoint started;
    TimePoint applied_since;  // since when `applied` is what it is
    bool phase_due = false;   // the step's weight is on, its first look has not come yet

    TimePoint earn_from;   // a pause or a person's hold ended then: no bake from before it
    Duration baked{0};     // of the present step
    Duration soaked{0};    // at 100 %
    Duration extended{0};  // added to the present step's bake and max_step by people
    std::array<Duration, uncounted_kinds> uncounted{};  // of the present step
    std::vector<Duration> bake_seen;                    // of each step that is over

    TimePoint last_look;  // end of the newest applied look; looks partition time
    std::string cursor;
    Ledger ledger;
    bool suspicious = false;
    bool proven = false;
    double ln_m = 0;

    std::optional<TimePoint> blind_since;
    std::string blind_why;
    bool nobody_hears = false;  // of the newest look
    std::optional<TimePoint> last_canary_request;
    TimePoint expected_since;  // expect_traffic: since when `expected_count` counts
    std::int64_t expected_count = 0;
    std::optional<Paused> paused;
    std::vector<Hold> holds;
    std::map<std::string, TriggerState> triggers;  // "name" or "name/segment"
    std::vector<SegmentState> segments;            // in the policy's order, of this step
    Seen canary, baseline;                         // of this step
    bool baked_told = false;  // "bake complete, waiting for …" was said for this step
    bool soaked_told = false;

    TimePoint last_report;
    std::string reason;  // of the newest change that a person would want to know
    std::string changed_by;
    TimePoint changed_at;
    std::optional<TimePoint> rolled_back_at;
    Weight rolled_back_from = nobody;
    std::string acknowledged_by;
    int overrides = 0;

    [[nodiscard]] bool over() const {
        return status == Status::rolled_back || status == Status::finished;
    }
    [[nodiscard]] const Hold* hold(Hold::Kind kind) const;
    /// Held by something that needs a person.
    [[nodiscard]] bool needs_a_person() const;
};

enum class Severity { info, warning, critical };

/// One thing to tell people, owed in the same commit that decided it.
struct Notice {
    enum class Kind {
        started,
        promoted,
        extended,
        held,
        waiting,
        blind,
        rolled_back,
        back_in_sight,
        resumed,
        paused,
        soaked,
        finished,
        drift,
        warned,
        report,
        raise_lapsed
    };
    Kind kind = Kind::report;
    Severity severity = Severity::info;
    std::string text;  // plain sentences; a notifier gives them its own form and escapes them
};

struct Transition {
    Rollout next;
    std::vector<Notice> notices;
    std::string reason;              // one sentence; empty iff `forget`
    bool refused = false;            // a command that does not apply; journaled too
    bool forget = false;             // nothing happened that needs remembering (a quiet peek)
    std::optional<Verdict> verdict;  // of a look; its ledger has moved to `next`
    bool soaking = false;            // the last bake is complete and proven: the rest is the soak
    bool soak_begins = false;        // from this event on

    /// People count by these: a new weight is wanted, the soak begins, the rollout is finished.
    [[nodiscard]] bool is_milestone() const {
        return !refused && !forget &&
               (next.ordered == next.revision || soak_begins || next.status == Status::finished);
    }
};

/// What happens next. Pure. The thirteen promises:
///  1 bake and proof are two clocks; 2 baking starts when the router confirms; 3 a step ends in
///  promote, roll back or extend; 4 a breach while paused or held still rolls back; 5 a rollback
///  latches; 6 one step at a time, and a restart is a no-op; 7 lowering is never blocked; 8 the
///  policy is pinned; 9 blind is held, and heals; 10 a shared outage holds, and an alarm without
///  baseline waits for its confirmation; 11 a command that does not apply is refused with a
///  sentence and journaled; 12 drift: lower is an operator's wish, higher is lowered back; 13 at
///  100 % the watch goes on for the soak, then an operator finishes.
Transition step(const Rollout& rollout, const Event& event, const Policy& policy);

/// One thing that stands between this rollout and its next step (or, at 100 %, its finish).
struct Missing {
    enum class Kind {
        not_running,  // pending or over
        paused,
        held,
        alarm,  // an alarm waits for its confirmation
        raise,  // the router has not confirmed the newest order
        bake,
        proof,
        suspicion,
        segments,      // an expected segment was not seen enough
        stale,         // no fresh look
        nobody_hears,  // the raise to 100 % waits while nobody can be told
        soak           // at 100 % only
    };
    Kind kind = Kind::not_running;
    std::string what;  // a sentence; for held, of that hold
    std::optional<Hold::Kind> hold;
};
/// Empty: the next good look promotes (or, at 100 %, the soak is over). `now` decides freshness.
std::vector<Missing> missing_to_advance(const Rollout& rollout, const Policy& policy,
                                        TimePoint now);
/// How much seen time this step needs, extensions included.
Duration bake_wanted(const Rollout& rollout, const Policy& policy);
/// The last step is proven and its bake complete, so that only the soak goes on (or went on, of a
/// rollout that is over).
bool is_soaking(const Rollout& rollout, const Policy& policy);

}  // namespace canaryd
