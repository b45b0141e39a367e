#include "tests/simulation/ports.hpp"

#include <algorithm>

#include "daemon/stores/stores.hpp"

namespace canaryd::simulation {

bool VirtualClock::advance() {
    const auto first = alarms_.first();
    if (!first) return false;
    if (*first > steady_) {
        const Duration by = *first - steady_;
        steady_ += by;
        wall_ += by;
    }
    return alarms_.ring_one(steady_);
}

bool World::near_a_fault() const {
    constexpr Duration hour = std::chrono::hours{1};
    const auto near = [&](Duration at, Duration length) {
        return length > Duration{0} &&
               (within(at - hour, 2 * hour) || within(at + length - hour, 2 * hour));
    };
    return near(plan.fault_at, plan.fault_for) || near(plan.outage_at, plan.outage_for);
}

SteadyPoint World::next_look(SteadyPoint at) const {
    const SteadyPoint now = clock.steady();
    if (at - now != defaults_.peek_every || durable.empty()) return at;
    const Duration every = defaults_.evaluate_every;
    const TimePoint due = durable.back().rollout.last_look + every + defaults_.settle;
    // A look that is overdue failed: it is tried again after one interval.
    const Duration wait = due > clock.now() ? due - clock.now() : every;
    return now + std::clamp(wait, defaults_.peek_every, every);
}

Trace& World::note(Trace::Kind kind) {
    Trace trace;
    trace.kind = kind;
    trace.steady = clock.steady();
    trace.wall = clock.now();
    trace.source_was_dead = source_dead();
    run.traces.push_back(std::move(trace));
    return run.traces.back();
}

namespace {

/// Users talk at a rate, some requests fail; a question asked twice has the same answer.
class SimulatedSource final : public MetricSource {
public:
    SimulatedSource(World& world, const Policy& policy) : world_(world), policy_(policy) {}

    Async<TimePoint> watermark() override { co_return world_.clock.now(); }

    Async<> check() override {
        if (world_.source_dead()) throw std::runtime_error("simulated: connection refused");
        co_return;
    }

    Async<std::vector<TopError>> top_errors(TimePoint, TimePoint) override {
        world_.note(Trace::Kind::asked);
        co_return std::vector<TopError>{};
    }

    Async<Look> observe(Ask ask) override {
        if (world_.source_dead()) throw std::runtime_error("simulated: connection refused");
        if (world_.fails(world_.plan.source_fails)) throw std::runtime_error("simulated: timeout");
        Look look;
        look.from = ask.from;
        look.to = ask.to;
        look.cursor = std::to_string(ask.to.time_since_epoch().count());
        if (!ask.peek) {
            fill(look, ask, Population::canary);
            fill(look, ask, Population::baseline);
        }
        for (const Trigger& trigger : policy_.triggers) {
            if (!ask.peek || trigger.at_peeks()) windows(look, ask, trigger);
        }
        co_return look;
    }

private:
    static constexpr double shares[] = {0.4, 0.3, 0.2, 0.1};

    /// Share of [from, to) in which something that begins at `at` lasts; in world time.
    double overlap(TimePoint from, TimePoint to, Duration at, Duration length) const {
        if (length <= Duration{0} || to <= from) return 0;
        // The world's clock and the wall differ by the jumps made so far; the present is the same.
        const Duration shift = world_.age() - world_.clock.now().time_since_epoch();
        const Duration a = from.time_since_epoch() + shift;
        const Duration b = to.time_since_epoch() + shift;
        const Duration both = std::min(b, at + length) - std::max(a, at);
        return std::max(0.0,
                        static_cast<double>(both.count()) / static_cast<double>((b - a).count()));
    }

    double failing(TimePoint from, TimePoint to, Population who, std::size_t agent) const {
        const Plan& plan = world_.plan;
        double rate = plan.error_rate;
        if (!world_.healed || plan.fault_for > std::chrono::hours{24}) {
            const double outage = overlap(from, to, plan.outage_at, plan.outage_for);
            rate += outage * (plan.outage_rate - rate);
            const bool mine =
                who == Population::canary &&
                (plan.fault_agent < 0 || static_cast<std::size_t>(plan.fault_agent) == agent);
            if (mine && plan.fault_rate > 0) {
                const double fault = overlap(from, to, plan.fault_at, plan.fault_for);
                rate += fault * (plan.fault_rate - rate);
            }
        }
        return rate;
    }

    double mean(TimePoint from, TimePoint to, Population who, std::size_t agent) const {
        const double minutes = static_cast<double>((to - from).count()) / 60'000.0;
        double total = world_.plan.canary_per_minute * 10;
        if (world_.plan.diurnal) {
            const double hour =
                static_cast<double>(from.time_since_epoch().count() / 3'600'000 % 24);
            total *= 1 + 0.8 * std::sin(hour * 6.283185307179586 / 24);
        }
        const double share = world_.run.served.weight.share();
        return total * minutes * (who == Population::canary ? share : 1 - share) * shares[agent];
    }

    void fill(Look& look, const Ask& ask, Population who) {
        Random random = keyed(world_.plan.seed, ask.from.time_since_epoch().count(),
                              ask.to.time_since_epoch().count(), who == Population::canary ? 1 : 2);
        Tally total;
        total.who = who;
        total.events.resize(2);
        const std::int64_t block = ask.from.time_since_epoch() / policy_.floor_within;
        for (std::size_t agent = 0; agent < policy_.segments.size(); ++agent) {
            Tally tally;
            tally.who = who;
            tally.segment = policy_.segments[agent];
            tally.events.resize(2);
            tally.requests = random.poisson(mean(ask.from, ask.to, who, agent));
            const auto n = static_cast<double>(tally.requests);
            const double rates[] = {failing(ask.from, ask.to, who, agent), world_.plan.slow_rate};
            for (std::size_t i = 0; i < 2; ++i) {
                const std::int64_t k = std::min(tally.requests, random.poisson(n * rates[i]));
                tally.events[i].raw = k;
                if (k > 0) tally.events[i].first.push_back({block, k});
                total.events[i].raw += k;
            }
            for (std::int64_t i = 0; i < std::min<std::int64_t>(tally.requests, 4); ++i) {
                tally.new_users.push_back(random.next());
            }
            total.requests += tally.requests;
            look.on_time.push_back(std::move(tally));
        }
        for (std::size_t i = 0; i < 2; ++i) {
            const std::int64_t k = total.events[i].raw;
            if (k > 0) total.events[i].first.push_back({block, k});
            if (who == Population::canary) total.bursts.push_back({k, k});
        }
        if (who == Population::canary) {
            world_.run.answers.push_back({ask.from, ask.to, total.requests, total.events[0].raw,
                                          total.events[1].raw, world_.run.traces.size()});
        }
        look.on_time.push_back(std::move(total));
    }

    void windows(Look& look, const Ask& ask, const Trigger& trigger) {
        const TimePoint from = std::max(ask.to - trigger.over, ask.windows_from);
        if (from >= ask.to) return;
        for (const Population who : {Population::canary, Population::baseline}) {
            Random random =
                keyed(world_.plan.seed, from.time_since_epoch().count(),
                      ask.to.time_since_epoch().count(), who == Population::canary ? 3 : 4);
            Window total;
            total.trigger = trigger.name;
            total.who = who;
            total.from = from;
            total.to = ask.to;
            for (std::size_t agent = 0; agent < policy_.segments.size(); ++agent) {
                Window window = total;
                window.segment = policy_.segments[agent];
                window.requests = random.poisson(mean(from, ask.to, who, agent));
                const double rate = trigger.signal.kind == Signal::Kind::failed
                                        ? failing(from, ask.to, who, agent)
                                        : 0.0;
                window.failures = std::min(
                    window.requests, random.poisson(static_cast<double>(window.requests) * rate));
                window.users = window.failures;
                total.requests += window.requests;
                total.failures += window.failures;
                total.users += window.failures;
                if (trigger.each_segment) look.windows.push_back(std::move(window));
            }
            if (!trigger.each_segment) look.windows.push_back(std::move(total));
        }
    }

    World& world_;
    Policy policy_;
};

class SimulatedRouter final : public Router {
public:
    explicit SimulatedRouter(World& world) : world_(world) {}

    Async<> set(Order order) override {
        const double share = world_.plan.router_fails;
        if (dead() || world_.fails(share / 2)) fail("router is not there");
        Served& served = world_.run.served;
        const bool old = order.revision < served.revision && order.weight >= served.weight;
        if (!old) {
            Trace& trace = world_.note(Trace::Kind::route);
            trace.rollout = order.reason.substr(0, order.reason.find(' '));
            trace.revision = order.decided;
            trace.before = served.weight;
            trace.weight = order.weight;
            served = {order.weight, std::max(order.revision, served.revision + 1), order.by,
                      order.reason};
            world_.run.served_until = order.valid_until;
        }
        // Applied, and the answer is lost.
        if (world_.fails(share / 2)) fail("no answer from router");
        co_return;
    }

    Async<Served> read(std::string) override {
        if (dead() || world_.fails(world_.plan.router_fails / 2)) fail("router is not there");
        Served served = world_.run.served;
        const auto& until = world_.run.served_until;
        if (until && world_.clock.now() >= *until) served.weight = nobody;
        co_return served;
    }

    [[nodiscard]] bool keeps_history() const override { return world_.plan.history; }

    Async<> record(Event, Transition transition) override {
        if (dead() || world_.fails(world_.plan.router_fails)) {
            throw std::runtime_error("simulated: router is not there");
        }
        Trace& trace = world_.note(Trace::Kind::history);
        trace.rollout = transition.next.id;
        trace.revision = transition.next.revision;
        trace.weight = transition.next.desired;
        trace.before = world_.run.served.weight;
        co_return;
    }

private:
    [[noreturn]] void fail(const std::string& what) {
        world_.note(Trace::Kind::route_failed);
        throw std::runtime_error("simulated: " + what);
    }
    bool dead() { return world_.within(world_.plan.router_dead_at, world_.plan.router_dead_for); }

    World& world_;
};

class SimulatedNotifier final : public Notifier {
public:
    explicit SimulatedNotifier(World& world) : world_(world) {}

    Async<Sent> send(Message message) override {
        if (world_.within(world_.plan.notifier_dead_at, world_.plan.notifier_dead_for)) {
            co_await sleep_long();
        }
        if (world_.fails(world_.plan.notifier_fails))
            throw std::runtime_error("simulated: HTTP 503");
        const bool lost = world_.fails(world_.plan.notifier_fails / 4);
        Trace& trace = world_.note(lost ? Trace::Kind::ambiguous : Trace::Kind::sent);
        trace.rollout = message.rollout;
        trace.revision = message.revision;
        trace.what = message.id;
        trace.text = message.notice.text;
        if (lost) throw std::runtime_error("simulated: no answer after the request");
        co_return Sent{};
    }

private:
    /// A silent peer: the caller's deadline has to end it.
    Async<> sleep_long() {
        co_await sleep_until(world_.clock, world_.clock.steady() + std::chrono::hours{24 * 365});
    }
    World& world_;
};

/// The looks are large, and only the replay reads them.
Event without_counts(const Event& event) {
    const auto* looked = std::get_if<event::Looked>(&event.what);
    if (looked == nullptr) return event;
    event::Looked bare;
    bare.look.from = looked->look.from;
    bare.look.to = looked->look.to;
    bare.look.error = looked->look.error;
    return Event{event.at, event.by, event.role, std::move(bare)};
}

Decided what_the_checker_reads(const Transition& transition) {
    const Rollout& next = transition.next;
    Decided decided;
    decided.id = next.id;
    decided.status = next.status;
    decided.step = next.step;
    decided.desired = next.desired;
    decided.baked = next.baked;
    decided.ln_m = next.ln_m;
    decided.over = next.over();
    decided.paused = next.paused.has_value();
    decided.held = !next.holds.empty();
    decided.drifted = next.hold(Hold::Kind::drift) != nullptr;
    if (transition.verdict) {
        decided.proven = transition.verdict->proven && !transition.verdict->suspicious;
    }
    for (const Notice& notice : transition.notices) decided.told.push_back(notice.kind);
    return decided;
}

class SimulatedStore final : public Store {
public:
    explicit SimulatedStore(World& world) : world_(world) {}

    Async<std::vector<Loaded>> load() override {
        co_return world_.durable;  // with every old rollout, as after years
    }

    Async<> commit(Event event, Transition transition, std::vector<Owed> owed) override {
        const Plan& plan = world_.plan;
        if (world_.within(plan.store_full_at, plan.store_full_for)) {
            throw StoreReadOnly("simulated: disk full");
        }
        const bool unknown = world_.fails(plan.store_unknown);
        if (unknown && world_.random.chance(0.5)) {
            world_.note(Trace::Kind::commit_error);
            throw std::runtime_error("simulated: I/O error, nothing written");
        }
        write(event, transition, owed);
        if (unknown) {
            world_.note(Trace::Kind::commit_error);
            throw std::runtime_error("simulated: I/O error after the commit");
        }
        co_return;
    }

    Async<std::vector<Owed>> owed() override { co_return world_.owed; }

    Async<> settle(std::string id, std::string) override {
        const Plan& plan = world_.plan;
        if (world_.within(plan.store_full_at, plan.store_full_for)) {
            throw StoreReadOnly("simulated: disk full");
        }
        auto& owed = world_.owed;
        owed.erase(std::remove_if(owed.begin(), owed.end(),
                                  [&](const Owed& one) { return one.message.id == id; }),
                   owed.end());
        co_return;
    }

    Async<std::vector<JournalEntry>> journal(std::string, std::uint64_t, std::size_t) override {
        co_return world_.run.journal;
    }

    Async<std::uint64_t> count_of(std::string name) override {
        const auto count =
            std::count_if(world_.durable.begin(), world_.durable.end(),
                          [&](const Loaded& one) { return one.rollout.name == name; });
        co_return static_cast<std::uint64_t>(count);
    }

private:
    void write(const Event& event, const Transition& transition, const std::vector<Owed>& owed) {
        const Rollout& next = transition.next;
        auto found = std::find_if(world_.durable.begin(), world_.durable.end(),
                                  [&](const Loaded& one) { return one.rollout.id == next.id; });
        if (found == world_.durable.end()) {
            const auto& started = std::get<event::Started>(event.what);
            world_.durable.push_back({Rollout{}, started.policy_text, started.policy_file});
            found = std::prev(world_.durable.end());
        }
        if (next.revision != found->rollout.revision + 1) {
            throw std::logic_error("two entries of one revision");
        }
        found->rollout = next;
        JournalEntry entry;
        entry.rollout = next.id;
        entry.revision = next.revision;
        entry.event = world_.run.keeps_looks() ? event : without_counts(event);
        entry.reason = transition.reason;
        entry.refused = transition.refused;
        world_.run.journal.push_back(std::move(entry));
        if (std::holds_alternative<event::Looked>(event.what)) ++world_.run.looks;
        world_.run.decided.push_back(what_the_checker_reads(transition));
        for (const Owed& one : owed) {
            world_.owed.push_back(one);
            world_.run.all_owed.push_back(one);
        }
        Trace& trace = world_.note(Trace::Kind::commit);
        trace.rollout = next.id;
        trace.revision = next.revision;
        trace.weight = next.desired;
        trace.refused = transition.refused;
        trace.what = std::to_string(event.what.index());
    }

    World& world_;
};

}  // namespace

std::shared_ptr<MetricSource> make_source(World& world, const Policy& policy) {
    return std::make_shared<SimulatedSource>(world, policy);
}
std::shared_ptr<Router> make_router(World& world) {
    return std::make_shared<SimulatedRouter>(world);
}
std::shared_ptr<Notifier> make_notifier(World& world) {
    return std::make_shared<SimulatedNotifier>(world);
}
std::unique_ptr<Store> make_store(World& world) {
    return std::make_unique<SimulatedStore>(world);
}

}  // namespace canaryd::simulation
