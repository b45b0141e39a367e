// The controller's inside, shared by its files: controller.cpp decides, controller_start.cpp
// begins, controller_loops.cpp watches and steers, controller_tell.cpp tells,
// controller_lease.cpp keeps the lease, controller_view.cpp shows.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "canaryd/controller.hpp"
#include "daemon/async.hpp"

namespace canaryd {

/// One place to tell, and what is still owed to it.
struct Channel {
    Channel(asio::any_io_executor executor, std::string id) : name(std::move(id)), wake(executor) {}
    std::string name;  // "0:slack"
    std::deque<Owed> owed;
    Wake wake;
    std::vector<std::pair<std::string, std::string>> unsettled;  // message id, why given up
    std::string failing;  // why the newest attempt failed; empty: it did not
};

/// One rollout and what is known beside its state. Changed on the deciding thread only.
struct Entry {
    explicit Entry(asio::any_io_executor executor)
        : steer_wake(executor), watch_wake(executor), history_wake(executor) {}
    Rollout rollout;
    Policy policy;
    Ports ports;
    Wake steer_wake, watch_wake;  // rung at every decision
    std::vector<std::shared_ptr<Channel>> channels;
    // Milestones that the router's history has not got yet; lost with the process.
    std::deque<std::pair<Event, Transition>> milestones;
    Wake history_wake;

    std::optional<Served> served;
    std::optional<TimePoint> served_at;
    // Until when the newest order lets the canary be exposed; unset: without end, or not known.
    std::optional<TimePoint> leased_until;
    bool lease_lifted = false;  // the newest order was without end
    bool route_tried = false;   // the first read-back was tried: part of READY
    std::string router_error;
    std::optional<TimePoint> peeked_at;
    std::string source_error;
    std::vector<std::string> remarks;
    // What failed, for people: asked for once, when a rollback's route has moved.
    std::optional<std::vector<TopError>> top_errors;
    std::optional<SteadyPoint> look_due;  // when the present look should have been taken
    // The store could not take a lowering: acted upon all the same, and recorded when it can.
    struct Unrecorded {
        Event event;
        Weight weight;
        bool rolls_back = false;
        std::string why;
    };
    std::optional<Unrecorded> unrecorded;
};

/// The answer to one message, for whoever waits for it.
struct Reply {
    explicit Reply(asio::any_io_executor executor) : wake(std::move(executor)) {}
    void fail(std::exception_ptr why) {
        error = std::move(why);
        wake.ring();
    }
    Wake wake;
    std::optional<Transition> transition;
    std::exception_ptr error;
};

struct StartRequest {
    std::string policy_text;
    std::string policy_file;
};

/// What the deciding loop takes from its inbox, one at a time.
struct Item {
    std::shared_ptr<Entry> entry;  // of a start: prepared for it
    std::optional<StartRequest> start;
    What what;
    Actor by;
    std::shared_ptr<Reply> reply;
};

struct Controller::Impl {
    Impl(asio::any_io_executor on, Clock& time, Store& record, PortsMaker maker, Guards guard)
        : executor(on),
          clock(time),
          store(record),
          make_ports(std::move(maker)),
          guards(guard),
          inbox_wake(std::move(on)) {}

    asio::any_io_executor executor;
    Clock& clock;
    Store& store;
    PortsMaker make_ports;
    Guards guards;
    std::map<std::string, std::shared_ptr<Entry>> entries;  // by rollout id
    std::deque<std::shared_ptr<Item>> inbox;
    Wake inbox_wake;
    bool loaded = false;
    std::optional<SteadyPoint> busy_since;
    std::string store_trouble;
    std::string standby;        // who holds the lease, while it is not ours
    bool stopping = false;      // the lease is being let go: nothing is ordered any more
    SteadyPoint lease_until{};  // by our own clock, counted from when it was asked for

    // controller.cpp
    Async<> run(std::function<void()> serving);
    Async<> load();
    Async<Transition> ask(std::shared_ptr<Item> item);
    Async<Transition> ask(std::shared_ptr<Entry> entry, What what);
    Async<> decide(std::shared_ptr<Item> item);
    Async<> apply(std::shared_ptr<Entry> entry, Event event, std::shared_ptr<Reply> reply);
    Async<> settle(std::shared_ptr<Channel> channel);
    std::shared_ptr<Entry> make_entry(Policy policy);
    void take_in(const std::shared_ptr<Entry>& entry);
    [[nodiscard]] std::shared_ptr<Entry> newest_of(const std::string& name) const;
    [[nodiscard]] std::shared_ptr<Entry> find(const std::string& rollout) const;

    // controller_start.cpp
    using Names = std::set<std::string>;
    std::shared_ptr<Names> starting = std::make_shared<Names>();
    /// One start of a name at a time, else it throws std::invalid_argument. Owns a share, since a
    /// start may outlive the controller.
    class Starting {
    public:
        Starting(std::shared_ptr<Names> starting, std::string name);
        ~Starting();
        Starting(const Starting&) = delete;
        Starting& operator=(const Starting&) = delete;

    private:
        std::shared_ptr<Names> starting_;
        std::string name_;
    };
    Async<std::shared_ptr<Entry>> prepare(Policy policy);
    Async<> start(std::shared_ptr<Item> item);
    [[nodiscard]] std::shared_ptr<Entry> unfinished_of(const std::string& name) const;

    // controller_lease.cpp
    Async<> stand_by(std::function<void()>& serving);
    Async<> show_what_is_stored();
    Async<> renew_lease();
    Async<> keep_lease();
    Async<> confirm_lease(bool lowers);
    Async<> lower_at_last(std::shared_ptr<Entry> entry);
    void refuse_standing_by() const;
    Async<> compare_with_marks(std::map<std::string, std::shared_ptr<Entry>> loaded_now);

    // controller_view.cpp
    [[nodiscard]] View view_of(const Entry& entry) const;

    // controller_loops.cpp and controller_tell.cpp
    Async<> watch(std::shared_ptr<Entry> entry);
    Async<> steer(std::shared_ptr<Entry> entry);
    Async<> tell(std::shared_ptr<Entry> entry, std::shared_ptr<Channel> channel);
    Async<> keep_history(std::shared_ptr<Entry> entry);
    Async<> route_has_moved(std::shared_ptr<Entry> entry);
    Async<> take_look(std::shared_ptr<Entry> entry);
    Async<> take_peek(std::shared_ptr<Entry> entry);
    Async<> read_route(std::shared_ptr<Entry> entry);
    Async<> set_route(std::shared_ptr<Entry> entry);
    [[nodiscard]] bool lease_is_due(const Entry& entry) const;
    Async<> ask_what_failed(std::shared_ptr<Entry> entry);
    static bool is_as_wanted_by_others(const Entry& entry);
    Async<Message> with_details(std::shared_ptr<Entry> entry, Message message);
};

/// Which revision of this rollout the route row says it follows; nullopt: it follows another one,
/// or somebody else.
std::optional<std::uint64_t> followed_by(const Served& served, const Rollout& rollout);
/// What the route row remembers and the store does not, if anything.
std::optional<event::StoreWentBack> forgotten_by_store(const Served& served,
                                                       const Rollout& rollout);

/// How long to wait after one more failure.
inline Duration doubled(Duration backoff, Duration most) {
    return std::min(2 * backoff, most);
}
/// The longest time that one call of the store may take.
inline constexpr Duration store_limit = std::chrono::seconds{20};
/// Who acts when nobody asked.
inline const Actor engine{"canaryd", "engine"};

}  // namespace canaryd
