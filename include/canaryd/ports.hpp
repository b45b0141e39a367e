// What the controller asks of the world, and what a failure means. An adapter is one file: a
// class in an anonymous namespace and a factory, listed in its folder's table.
//
// Everything here is called on the deciding thread; an adapter that blocks does so on a pool of
// its own (daemon/async.hpp, run_blocking). Every wait has a deadline set by the caller.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "canaryd/evidence.hpp"
#include "canaryd/policy.hpp"
#include "canaryd/rollout.hpp"

namespace canaryd {

template <class T = void>
using Async = boost::asio::awaitable<T>;

/// A clock that goes on through suspend and never jumps. For deadlines; only differences matter.
using SteadyPoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

/// The only place that reads a clock. One ordered map of alarms for the real and the virtual one.
class Clock {
public:
    using Key = std::pair<SteadyPoint, std::uint64_t>;
    virtual ~Clock() = default;
    virtual TimePoint now() const = 0;       // wall
    virtual SteadyPoint steady() const = 0;  // CLOCK_BOOTTIME
    /// Calls `ring` once, on the deciding thread, not before `at`.
    virtual Key call_at(SteadyPoint at, std::function<void()> ring) = 0;
    virtual void forget(const Key& key) = 0;
};

/// A question to a source. Times are the source's; [from, to) is closed and behind its watermark.
struct Ask {
    TimePoint from, to;
    TimePoint gate_from;     // bursts count requests from here on (8.1)
    TimePoint windows_from;  // no trigger window begins earlier: not before this exposure
    std::string cursor;      // of the last committed look; empty at the first
    bool peek = false;       // windows of `1 of 1` triggers only: no tallies, no cursor
    std::vector<std::string> users_wanted;  // segments whose new_users are still asked for
    Weight weight = everybody;  // served: with everybody on the canary no baseline row is expected
};

/// Where counts come from. Throwing means no evidence: it never promotes, bakes or rolls back.
class MetricSource {
public:
    virtual ~MetricSource() = default;
    /// Exactly-once counts behind ask.cursor; a failure in [from, to) is reported in Look::error
    /// or thrown. Unknown rows are left out and named in Look::remarks.
    virtual Async<Look> observe(Ask ask) = 0;
    /// The source's own clock.
    virtual Async<TimePoint> watermark() = 0;
    /// Whether looks can work at all: the table or `query` is there with the columns that are
    /// needed, and every number of `metrics` can be asked for. Counts nothing. Throws what is
    /// wrong, with its mend. Asked once, before a rollout's first order.
    virtual Async<> check() = 0;
    /// For people, after the route has moved: the most frequent error texts of the canary.
    virtual Async<std::vector<TopError>> top_errors(TimePoint from, TimePoint to) = 0;
};

/// The newest decision, as a level. A lowering order stands for ever.
struct Order {
    std::string name;  // the rollout's name: what applications look up, and the salt
    Weight weight;
    std::uint64_t revision = 0;  // above what was served when the order was made
    std::optional<TimePoint> valid_until;
    std::string by;  // who decided
    std::string reason;
    std::uint64_t decided = 0;  // the rollout's revision that ordered it, for traces
};

/// Moves users. Throwing means not there yet: asked again with the newest decision, 1 s to 60 s.
class Router {
public:
    virtual ~Router() = default;
    /// Idempotent; an order older than what is served is ignored.
    virtual Async<> set(Order order) = 0;
    /// What readers get now; no row: nobody, revision 0, by "".
    virtual Async<Served> read(std::string name) = 0;
    /// What still has to follow the route of itself, for people: "flags: 31 % of the table …". It
    /// never waits, and nothing is decided by it. Empty: nothing follows.
    [[nodiscard]] virtual std::string progress() const { return {}; }
    /// Whether its database keeps a history of decisions for people beside the route.
    [[nodiscard]] virtual bool keeps_history() const { return false; }
    /// Adds a milestone to that history; called after the route has moved, never in its way. The
    /// same one twice is there once. Throwing means not yet: asked again, 1 s to 60 s.
    virtual Async<> record(Event /*event*/, Transition /*transition*/) { co_return; }
};

/// One message to one place.
struct Message {
    std::string id;  // of the outbox row: ROLLOUT/REVISION/INDEX/CHANNEL
    std::string rollout;
    std::uint64_t revision = 0;
    TimePoint at;  // when it was decided: "sent 00:12, happened 23:41" when late
    Notice notice;
    int attempts = 0;  // earlier tries
};

/// What became of a message.
struct Sent {
    enum class Kind {
        delivered,
        later,  // not before `wait` from now; a 429 is no attempt
        never   // the place refuses for good (revoked, archived): the channel is dead
    };
    Kind kind = Kind::delivered;
    std::optional<Duration> wait;
    std::string why;
};

/// Tells people. Throwing means later, in order, at least once. Never in the way of traffic.
class Notifier {
public:
    virtual ~Notifier() = default;
    virtual Async<Sent> send(Message message) = 0;
};

/// An outbox row that is not settled yet.
struct Owed {
    std::string channel;  // index into the policy's notify, as text, and its kind: "0:slack"
    Message message;
};

/// One line of the journal.
struct JournalEntry {
    std::string rollout;
    std::uint64_t revision = 0;
    Event event;
    std::string reason;
    bool refused = false;
    std::string state_hash;  // sha256 of the state after the event: what verify() recomputes
    std::string previous;    // hash of the entry before it, over all rollouts
    std::string hash;
};

struct Loaded {
    Rollout rollout;
    std::string policy_text;
    std::string policy_file;
};

/// The durable record. Throwing means that the outcome is unknown: the daemon stops acting, exits
/// and reads again (a lowering is carried out first). One daemon per store.
class Store {
public:
    virtual ~Store() = default;
    /// Every rollout that is not over, the newest one that is of each name, and those that
    /// people still have to be told of.
    virtual Async<std::vector<Loaded>> load() = 0;
    /// ONE transaction: journal entry, state, owed notices. (rollout, revision) is unique.
    virtual Async<> commit(Event event, Transition transition, std::vector<Owed> owed) = 0;
    virtual Async<std::vector<Owed>> owed() = 0;
    /// Delivered or given up; why is empty when delivered.
    virtual Async<> settle(std::string message_id, std::string why) = 0;
    /// Entries of one rollout (empty: of all) with revision > after, at most `limit`.
    virtual Async<std::vector<JournalEntry>> journal(std::string rollout, std::uint64_t after,
                                                     std::size_t limit) = 0;
    /// How many rollouts of this name were ever started.
    virtual Async<std::uint64_t> count_of(std::string name) = 0;
};

/// The ports of one rollout, made from its policy.
struct Ports {
    std::shared_ptr<MetricSource> source;
    std::shared_ptr<Router> router;
    std::vector<std::shared_ptr<Notifier>> notifiers;  // in the order of Policy::notify
    std::vector<std::string> by_hand = {};             // View::by_hand
};
using PortsMaker = std::function<Ports(const Policy&)>;

}  // namespace canaryd
