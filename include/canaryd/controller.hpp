// The one loop: observe, judge, step, commit, then steer traffic and tell people.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "canaryd/lease.hpp"
#include "canaryd/ports.hpp"
#include "canaryd/view.hpp"

namespace canaryd {

/// Who gives a command.
struct Actor {
    std::string name;
    std::string role;
};

/// A command for a daemon that stands by: says who holds the lease.
struct StandingBy : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Whether the loops answer: what the watchdog is fed with.
struct Health {
    bool ready = false;           // loaded, first read-back of every route tried
    std::string standby;          // not empty: another daemon acts, and which
    Duration latest_lateness{0};  // of the look that is most overdue; 0: none
    Duration busy{0};             // since when the present message is being worked on
    std::size_t rollouts = 0, paused = 0, held = 0, blind = 0, owed = 0;
    std::optional<TimePoint> last_look;
    std::string store_trouble;  // not empty: the store can be read but not written
};

/// What is there beside the ports of each rollout, where several daemons share a store or a store
/// may be an older copy. All of it outlives the controller; null: none.
struct Guards {
    Lease* lease = nullptr;  // without: the store has one daemon
    Marks* marks = nullptr;  // what this machine remembers of the store
};

/// All on one thread, `executor`'s. Clock, Store and executor outlive it.
class Controller {
public:
    Controller(boost::asio::any_io_executor executor, Clock& clock, Store& store,
               PortsMaker make_ports, Guards guards = {});
    ~Controller();
    Controller(const Controller&) = delete;
    Controller& operator=(const Controller&) = delete;

    /// Stands by until the lease is ours, loads the store, reconciles what is served, then decides
    /// for ever. Calls `serving` once, when there is something to show: from then on commands find
    /// their rollouts, or throw StandingBy. Throws what the store threw, or LeaseLost: the process
    /// must end and start anew.
    Async<> run(std::function<void()> serving = {});

    /// Lets the lease go, so that another daemon takes over at once; from then on nothing is
    /// ordered here. Throws when the store cannot be asked: then it runs out by itself.
    Async<> stop();

    /// Starts a rollout. Refused (Transition::refused) when one of the name is unfinished; throws
    /// std::invalid_argument with the problems when the text is no policy, or when its metrics
    /// cannot be read now: nobody was moved, and it may be tried again.
    Async<Transition> start(std::string policy_text, std::string policy_file, Actor by);
    /// An operator's command, acknowledged when durable. `rollout` is an id or a name (its newest).
    /// Throws std::out_of_range for an unknown one.
    Async<Transition> submit(std::string rollout, What what, Actor by);

    [[nodiscard]] std::vector<View> views() const;
    /// An id or a name (its newest).
    [[nodiscard]] std::optional<View> view(const std::string& rollout) const;
    [[nodiscard]] Health health() const;
    /// Read-only access for GET …/journal.
    Async<std::vector<JournalEntry>> journal(std::string rollout, std::uint64_t after,
                                             std::size_t limit);
    /// Sends a test message to every channel of a rollout's policy; one line of outcome each.
    Async<std::vector<std::string>> notify_test(std::string rollout, Actor by);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace canaryd
