#include "tests/simulation/world.hpp"

#include <boost/asio/co_spawn.hpp>

#include "canaryd/text.hpp"
#include "tests/simulation/ports.hpp"

namespace canaryd::simulation {
namespace {

constexpr const char* as_agreed = R"(steps:
  - {name: week4, weight: 10%, bake: 7d}
  - {name: week5, weight: 50%, bake: 7d}
  - {name: week6, weight: 100%, bake: 7d}
criteria:
  - {name: errors, metric: error_rate, below: 1%}
  - {name: latency, metric: latency_p95, below: 2s}
  - {name: success, metric: success_rate, above: 99%}
)";
/// In a hurry: whatever of it came into force would show in weights and bakes.
constexpr const char* loosened = R"(steps:
  - {name: soon, weight: 20%, bake: 6h}
  - {name: sooner, weight: 60%, bake: 6h}
  - {name: now, weight: 100%, bake: 6h}
criteria:
  - {name: errors, metric: error_rate, below: 5%}
  - {name: latency, metric: latency_p95, below: 5s}
)";
constexpr const char* misspelt = R"(steps:
  - {name: week4, weight: lots, bake: 7}
)";

std::string policy_text(const Plan& plan, const char* steps_and_criteria) {
    return std::string(R"(name: sim
canary: new
baseline: [old]
source: {kind: sqlite, connection: metrics}
triggers:
  - {name: error-burst, metric: error_rate, above: 20%, over: 5m, for: 1 of 1 looks, at_least: 10 failures}
  - {name: agent-down, metric: success_rate, each: agent, below: 5%, over: 30m, for: 1 of 1 looks}
segments:
  agent: {column: agent_type, expect: [jobs, rides, market, support]}
segment_seen: {requests: 20, users: 4, if_not: ask}
notify: [{kind: slack, connection: ops}]
finish: {soak: 30d}
)") + steps_and_criteria +
           "router: {kind: sql, connection: route, exposure_lease: " + plan.lease + "}\n" +
           "blind: {hold_after: 15m, rollback_after: " + (plan.blind_rolls_back ? "2d" : "never") +
           "}\n";
}

/// One life of the daemon. Destroyed: the controller first, then the loop with the parked frames.
struct Daemon {
    explicit Daemon(World& world)
        : store(make_store(world)), io(std::make_unique<asio::io_context>(1)) {
        controller = std::make_unique<Controller>(io->get_executor(), world.clock, *store,
                                                  [&world](const Policy& policy) {
                                                      return Ports{make_source(world, policy),
                                                                   make_router(world),
                                                                   {make_notifier(world)},
                                                                   {"move it by hand"}};
                                                  });
        asio::co_spawn(*io, controller->run(), or_die);
    }
    ~Daemon() {
        controller.reset();
        io.reset();
    }
    std::unique_ptr<Store> store;
    std::unique_ptr<asio::io_context> io;
    std::unique_ptr<Controller> controller;
};

class Theatre {
public:
    explicit Theatre(const Plan& plan) : world_(plan), policy_file_(policy_text(plan, as_agreed)) {}

    Run play(int days) {
        world_.began = world_.clock.steady();
        world_.run.served = world_.plan.found;
        begin();
        start_rollout();
        const Plan& plan = world_.plan;
        every(plan.crashes_per_day, [this] { fuse_ = 1 + world_.random.below(40); });
        every(plan.commands_per_day, [this] { command(); });
        every(plan.hands_per_week / 7, [this] { hand(); });
        every(plan.clock_jumps_per_week / 7, [this] { jump(); });
        every(plan.suspends_per_week / 7, [this] { sleep(); });
        if (plan.edited_at > Duration{0}) {
            world_.clock.call_at(world_.began + plan.edited_at, [this] { edit_policy(); });
        }
        const std::chrono::hours length{24 * days};
        live_until(world_.began + length);
        world_.healed = true;
        fuse_ = 0;
        live_until(world_.clock.steady() + std::chrono::hours{2});
        daemon_.reset();
        world_.run.hash = hash();
        return std::move(world_.run);
    }

private:
    void begin() {
        world_.note(Trace::Kind::start);
        daemon_ = std::make_unique<Daemon>(world_);
        offer_policy();
    }

    void kill() {
        world_.note(Trace::Kind::crash);
        daemon_.reset();
        fuse_ = 0;
        // RestartSec, or a machine that was down for a while.
        const Duration down = world_.random.chance(0.8) ? Duration{std::chrono::seconds{3}}
                                                        : Duration{world_.random.below(7'200'000)};
        world_.clock.suspend(down);
        begin();
    }

    /// One handler after the other, so that a crash can come between any two.
    void drain() {
        for (;;) {
            daemon_->io->restart();
            std::size_t ran = 0;
            try {
                ran = daemon_->io->poll_one();
            } catch (const std::logic_error& error) {
                world_.run.died = error.what();
                return;
            } catch (const std::runtime_error& error) {
                if (std::string(error.what()).find("simulated: I/O error") == std::string::npos) {
                    world_.run.died = error.what();
                    return;
                }
                kill();  // the store's unknown outcome: the process ends, systemd starts it again
                continue;
            }
            if (ran == 0) return;
            if (fuse_ > 0 && --fuse_ == 0) kill();
        }
    }

    void live_until(SteadyPoint end) {
        bool done = false;
        const Alarm alarm(world_.clock, end, [&done] { done = true; });
        while (!done && world_.run.died.empty()) {
            drain();
            if (idle() || !world_.clock.advance()) return;
        }
        drain();
    }

    /// Nothing will happen any more: over, served as wanted, and everybody was told. A history is
    /// kept after that, whenever its database can be reached.
    bool idle() const {
        if (world_.durable.empty() || !world_.owed.empty() || world_.plan.history) return false;
        const Rollout& rollout = world_.durable.back().rollout;
        return rollout.over() && rollout.applied == rollout.desired &&
               world_.run.served.weight == rollout.desired;
    }

    void every(double per_day, std::function<void()> act) {
        if (per_day <= 0) return;
        const auto repeat = std::make_shared<std::function<void()>>();
        *repeat = [this, per_day, act, again = std::weak_ptr<std::function<void()>>(repeat)] {
            if (!world_.healed) act();
            schedule(per_day, again.lock());
        };
        repeats_.push_back(repeat);
        schedule(per_day, repeat);
    }

    void schedule(double per_day, const std::shared_ptr<std::function<void()>>& repeat) {
        const double u = std::max(world_.random.uniform(), 1e-12);
        Duration in{static_cast<std::int64_t>(-std::log(u) / per_day * 86'400'000)};
        // Half of them in the very millisecond of a look.
        if (world_.random.chance(0.5)) {
            const Duration grid = std::chrono::minutes{5};
            in = (world_.age() + in) / grid * grid + std::chrono::seconds{30} - world_.age();
        }
        world_.clock.call_at(world_.clock.steady() + std::max(in, Duration{1}),
                             [repeat] { (*repeat)(); });
    }

    void start_rollout() {
        Controller& controller = *daemon_->controller;
        asio::co_spawn(*daemon_->io,
                       controller.start(policy_file_, "sim.yaml", {"alice", "operator"}),
                       [this](const std::exception_ptr& error, const Transition&) {
                           if (error && world_.source_dead()) start_later();
                       });
    }

    /// The operator reads that nobody was moved, and tries again.
    void start_later() {
        world_.clock.call_at(world_.clock.steady() + std::chrono::minutes{5},
                             [this] { start_rollout(); });
    }

    /// The daemon reads no policy's file: what stands in it comes with a start, or not at all.
    void edit_policy() {
        edited_ = true;
        policy_file_ = policy_text(world_.plan, world_.plan.edit_is_broken ? misspelt : loosened);
        offer_policy();
    }

    /// Somebody believes that a start under the same name brings the edit to what runs.
    void offer_policy() {
        if (!edited_ || world_.durable.empty() || world_.durable.back().rollout.over()) return;
        start_rollout();
    }

    void command() {
        const auto view = daemon_->controller->view("sim");
        if (!view || (view->rollout.over() && world_.random.chance(0.3))) {
            start_rollout();  // the first, or a retry
            return;
        }
        What what;
        switch (world_.random.below(9)) {
            case 0:
                what = event::RollBack{"simulated"};
                if (!world_.random.chance(0.1)) what = event::Pause{};
                break;
            case 1:
                what = event::Pause{};
                break;
            case 2:
            case 3:
            case 4:
                what = event::Resume{"simulated"};
                break;
            case 5:
                what = event::Promote{world_.random.chance(0.2), "simulated"};
                break;
            case 6:
                what = event::Extend{std::chrono::hours{world_.random.below(48)}, "simulated"};
                break;
            case 7:
                what = event::Finish{"simulated"};
                break;
            case 8:
                what = event::Acknowledge{};
                break;
        }
        submit(std::move(what));
    }

    void submit(What what) {
        const auto done = [this](const std::exception_ptr& error, const Transition& transition) {
            if (error || transition.refused) return;
            Trace& trace = world_.note(Trace::Kind::acknowledged);
            trace.rollout = transition.next.id;
            trace.revision = transition.next.revision;
        };
        asio::co_spawn(*daemon_->io,
                       daemon_->controller->submit("sim", std::move(what), {"alice", "operator"}),
                       done);
    }

    /// Somebody changes the route without the daemon.
    void hand() {
        Served& served = world_.run.served;
        Trace& trace = world_.note(Trace::Kind::hand);
        trace.before = served.weight;
        switch (world_.random.below(4)) {
            case 0:
                served = Served{};
                break;
            case 1:
                served = {nobody, served.revision + 1, "bob", "by hand"};
                break;
            case 2:
                served = {Weight{served.weight.basis_points / 2}, served.revision + 1, "", ""};
                break;
            case 3:
                served = {Weight{std::min(10'000, served.weight.basis_points + 2'000)},
                          served.revision + 1, "bob", "more"};
                break;
        }
        trace.weight = served.weight;
    }

    void jump() {
        const Duration by = world_.random.chance(0.5)
                                ? Duration{std::chrono::hours{world_.random.below(24 * 9) - 24}}
                                : Duration{world_.random.below(7'200'000) - 3'600'000};
        world_.clock.jump_wall(by);
    }

    void sleep() { world_.clock.suspend(Duration{world_.random.below(3 * 86'400'000)}); }

    std::uint64_t hash() const {
        std::uint64_t h = 1469598103934665603ULL;
        const auto mix = [&h](std::uint64_t value) {
            h ^= value;
            h *= 1099511628211ULL;
        };
        for (const Trace& t : world_.run.traces) {
            mix(static_cast<std::uint64_t>(t.kind));
            mix(static_cast<std::uint64_t>(t.steady.time_since_epoch().count()));
            mix(t.revision);
            mix(static_cast<std::uint64_t>(t.weight.basis_points));
            for (const char c : t.what) mix(static_cast<unsigned char>(c));
        }
        for (const JournalEntry& t : world_.run.journal) {
            for (const char c : t.reason) mix(static_cast<unsigned char>(c));
        }
        return h;
    }

    World world_;
    std::string policy_file_;
    bool edited_ = false;
    std::vector<std::shared_ptr<std::function<void()>>> repeats_;
    std::unique_ptr<Daemon> daemon_;
    std::int64_t fuse_ = 0;
};

}  // namespace

Run simulate(const Plan& plan, int days) {
    return Theatre(plan).play(days);
}

}  // namespace canaryd::simulation
