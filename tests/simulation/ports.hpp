// The simulated ports: they fail as the plan says and write down what they saw.
#pragma once

#include <functional>

#include "daemon/async.hpp"

#include "tests/simulation/world.hpp"

namespace canaryd::simulation {

/// Two clocks that move by hand: alarms ring one at a time, in order.
class VirtualClock final : public Clock {
public:
    TimePoint now() const override { return wall_; }
    SteadyPoint steady() const override { return steady_; }
    Key call_at(SteadyPoint at, std::function<void()> ring) override {
        return alarms_.add(put_off ? put_off(at) : at, std::move(ring));
    }
    void forget(const Key& key) override { alarms_.forget(key); }
    /// When an alarm for `at` rings: later is allowed, earlier is not. Empty: at `at`.
    std::function<SteadyPoint(SteadyPoint at)> put_off;
    /// Moves to the first alarm and rings it.
    bool advance();
    void jump_wall(Duration by) { wall_ += by; }
    /// Time passes and nothing runs: alarms ring late.
    void suspend(Duration by) {
        wall_ += by;
        steady_ += by;
    }

private:
    Alarms alarms_;
    TimePoint wall_{std::chrono::hours{24 * 20'000}};
    SteadyPoint steady_{std::chrono::hours{1}};
};

/// What happened and what is durable; the ports below are views of it.
struct World {
    explicit World(const Plan& what) : plan(what), random(what.seed) {
        run.plan = what;
        clock.put_off = [this](SteadyPoint at) { return near_a_fault() ? at : next_look(at); };
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    Plan plan;
    Random random;  // of the daemon's surroundings; traffic has streams of its own
    VirtualClock clock;
    Run run;
    SteadyPoint began;
    bool healed = false;  // the last phase: no more faults, everything must come right
    std::vector<Loaded> durable;
    std::vector<Owed> owed;
    std::string chain;

    [[nodiscard]] Duration age() const { return clock.steady() - began; }
    [[nodiscard]] bool within(Duration at, Duration length) const {
        return !healed && length > Duration{0} && age() >= at && age() < at + length;
    }
    [[nodiscard]] bool source_dead() const {
        return within(plan.source_dead_at, plan.source_dead_for);
    }
    /// Within an hour of the begin or the end of a fault or an outage.
    [[nodiscard]] bool near_a_fault() const;
    /// What is asked for every peek_every (a peek, a routine read of the route) waits for the next
    /// look: simulated around faults only, else it would be all that is simulated.
    [[nodiscard]] SteadyPoint next_look(SteadyPoint at) const;
    bool fails(double share) { return !healed && share > 0 && random.chance(share); }
    Trace& note(Trace::Kind kind);

private:
    const Policy defaults_;  // of the rhythm, which the plan's policies leave alone
};

std::shared_ptr<MetricSource> make_source(World& world, const Policy& policy);
std::shared_ptr<Router> make_router(World& world);
std::shared_ptr<Notifier> make_notifier(World& world);
std::unique_ptr<Store> make_store(World& world);

/// The daemon was killed here.
struct Killed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace canaryd::simulation
