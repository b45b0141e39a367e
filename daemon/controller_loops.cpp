// watch measures and steer moves traffic, one coroutine of each per rollout. They ask the deciding
// loop; they never change a rollout themselves. What tells people is in controller_tell.cpp.
#include <algorithm>
#include <utility>

#include "canaryd/text.hpp"
#include "daemon/ask.hpp"
#include "daemon/controller_impl.hpp"
#include "daemon/log.hpp"
#include "daemon/stores/stores.hpp"

namespace canaryd {
namespace {

constexpr Duration route_limit = std::chrono::seconds{5};
constexpr Duration peek_limit = std::chrono::seconds{15};

bool peeks(const Policy& policy) {
    return policy.peek_every < policy.evaluate_every &&
           std::any_of(policy.triggers.begin(), policy.triggers.end(),
                       [](const Trigger& trigger) { return trigger.at_peeks(); });
}

/// Where the next look ends. A look never spans a change of weight; after a gap one look catches
/// up.
TimePoint next_look_to(const Rollout& rollout, const Policy& policy, TimePoint watermark) {
    const Duration every = policy.evaluate_every;
    const Duration behind = watermark - policy.settle - rollout.last_look;
    const auto whole = std::max<std::int64_t>(1, behind / every);
    const TimePoint to = rollout.last_look + whole * every;
    if (rollout.phase_due && rollout.last_look < rollout.applied_since) {
        return std::min(to, rollout.applied_since);
    }
    return to;
}

}  // namespace

Async<> Controller::Impl::take_look(std::shared_ptr<Entry> entry) {
    const Policy& policy = entry->policy;
    constexpr Duration limit = std::chrono::seconds{30};
    event::Looked looked;
    try {
        const TimePoint mark = co_await with_deadline(clock, limit, "the source's clock",
                                                      entry->ports.source->watermark());
        const Rollout& rollout = entry->rollout;
        looked.look.from = rollout.last_look;
        const TimePoint to = next_look_to(rollout, policy, mark);
        if (mark + policy.evaluate_every < rollout.last_look) {
            throw std::runtime_error("the source's clock says " + text::time(mark) +
                                     ", which is before the end of the last look");
        }
        if (mark < to + policy.settle && to > rollout.applied_since) co_return;  // not yet
        Ask ask = ask_for(rollout, policy);
        ask.to = to;
        looked.look = co_await with_deadline(clock, limit, "the metrics",
                                             entry->ports.source->observe(std::move(ask)));
    } catch (const std::exception& error) {
        looked.look.error = error.what();
    }
    entry->source_error = looked.look.error;
    if (looked.look.error.empty()) entry->remarks = looked.look.remarks;
    What what = std::move(looked);
    try {
        co_await ask(entry, std::move(what));
    } catch (const std::runtime_error& error) {
        // The store cannot be written: nothing was applied, and the same look is asked for again.
        entry->source_error = error.what();
    }
}

Async<> Controller::Impl::take_peek(std::shared_ptr<Entry> entry) {
    event::Peeked peeked;
    try {
        const TimePoint mark = co_await with_deadline(clock, peek_limit, "the source's clock",
                                                      entry->ports.source->watermark());
        Ask ask = ask_for(entry->rollout, entry->policy);
        ask.to = mark;
        ask.peek = true;
        if (ask.to <= ask.windows_from) co_return;
        peeked.look = co_await with_deadline(clock, peek_limit, "the metrics",
                                             entry->ports.source->observe(std::move(ask)));
    } catch (const std::exception& error) {
        entry->source_error = error.what();
        co_return;  // a peek acts or is forgotten
    }
    entry->peeked_at = clock.now();
    What what = std::move(peeked);
    try {
        co_await ask(entry, std::move(what));
    } catch (const std::runtime_error& error) {
        entry->source_error = error.what();
    }
}

Async<> Controller::Impl::watch(std::shared_ptr<Entry> entry) {
    SteadyPoint retry = clock.steady();
    SteadyPoint next_peek = clock.steady();
    for (;;) {
        const Rollout& rollout = entry->rollout;
        const Policy& policy = entry->policy;
        if (rollout.over()) {
            entry->look_due.reset();
            co_return;
        }
        if (rollout.status == Status::pending) {
            co_await entry->watch_wake.wait();
            continue;
        }
        const TimePoint now = clock.now();
        const TimePoint to = next_look_to(rollout, policy, now);
        const TimePoint due = to <= rollout.applied_since ? to : to + policy.settle;
        const SteadyPoint steady = clock.steady();
        const bool peeking = peeks(policy);
        // A wall clock that went back would never be due: the look says so, and it is blindness.
        const bool is_due = now >= due || now + policy.evaluate_every < rollout.last_look;
        if (is_due && steady >= retry) {
            if (!entry->look_due) entry->look_due = steady;
            const TimePoint before = rollout.last_look;
            co_await take_look(entry);
            if (entry->rollout.last_look != before) {
                retry = clock.steady();
            } else {
                retry = clock.steady() + std::min(policy.evaluate_every, policy.peek_every);
            }
            next_peek = clock.steady() + policy.peek_every;
        } else if (peeking && steady >= next_peek) {
            next_peek = steady + policy.peek_every;
            co_await take_peek(entry);
        } else {
            entry->look_due = is_due ? retry : steady + (due - now);
            // Sliced, so that a jump of the wall clock is noticed.
            SteadyPoint wake_at = std::min(*entry->look_due, steady + policy.peek_every);
            if (peeking) wake_at = std::min(wake_at, next_peek);
            co_await wait_until(clock, entry->watch_wake, std::max(wake_at, steady + Duration{1}));
        }
    }
}

/// Reads what is served and asks for what follows from it. Throws what the router threw.
Async<> Controller::Impl::read_route(std::shared_ptr<Entry> entry) {
    event::RouteRead read;
    std::string name = entry->policy.name;
    read.served = co_await with_deadline(clock, route_limit, "reading the route",
                                         entry->ports.router->read(std::move(name)));
    entry->served = read.served;
    entry->served_at = clock.now();
    entry->route_tried = true;
    if (auto forgotten = forgotten_by_store(read.served, entry->rollout)) {
        What what = std::move(*forgotten);
        co_await ask(entry, std::move(what));
    }
    What what = std::move(read);
    co_await ask(entry, std::move(what));
}

/// Whether the exposure has to be renewed, or at the end of a rollout to be made endless.
bool Controller::Impl::lease_is_due(const Entry& entry) const {
    const auto& lease = entry.policy.router.exposure_lease;
    const Rollout& rollout = entry.rollout;
    if (!lease || rollout.desired == nobody || rollout.applied != rollout.desired) return false;
    if (rollout.status == Status::finished) return !entry.lease_lifted;
    return !entry.leased_until || *entry.leased_until - clock.now() < *lease * 3 / 4;
}

/// The row has the wanted weight in somebody else's words: users who were drawn by hand are taken
/// over, say. It is ordered once all the same, so that it carries what belongs to an order: who
/// steers, for how long, who reads. A row that a person lowered stays theirs.
bool Controller::Impl::is_as_wanted_by_others(const Entry& entry) {
    const Rollout& rollout = entry.rollout;
    return rollout.status != Status::finished && entry.served && rollout.desired > nobody &&
           entry.served->weight == rollout.desired && rollout.applied == rollout.desired &&
           !followed_by(*entry.served, rollout) && rollout.hold(Hold::Kind::drift) == nullptr;
}

/// Orders the newest decision, whatever it is by now.
Async<> Controller::Impl::set_route(std::shared_ptr<Entry> entry) {
    const Rollout& rollout = entry->rollout;
    const Weight wanted = entry->unrecorded ? entry->unrecorded->weight : rollout.desired;
    co_await confirm_lease(wanted == nobody || (entry->served && wanted < entry->served->weight));
    Order order;
    order.name = rollout.name.empty() ? entry->policy.name : rollout.name;
    order.weight = entry->unrecorded ? entry->unrecorded->weight : rollout.desired;
    order.revision = entry->served ? entry->served->revision + 1 : 1;
    order.decided = rollout.ordered;
    order.by = engine.name;
    order.reason = rollout.id + " revision " + std::to_string(rollout.ordered);
    if (entry->unrecorded && entry->unrecorded->rolls_back) {
        // The row itself carries what the store could not take: the next start records it.
        order.by += " (store not written)";
        order.reason = entry->unrecorded->why;
    }
    const auto& lease = entry->policy.router.exposure_lease;
    if (lease && order.weight > nobody && rollout.status != Status::finished)
        order.valid_until = clock.now() + *lease;
    const std::optional<TimePoint> until = order.valid_until;
    co_await with_deadline(clock, route_limit, "setting the route",
                           entry->ports.router->set(std::move(order)));
    entry->leased_until = until;
    entry->lease_lifted = !until;
}

Async<> Controller::Impl::steer(std::shared_ptr<Entry> entry) {
    constexpr Duration least = std::chrono::seconds{1};
    constexpr Duration most = std::chrono::minutes{1};
    Duration backoff = least;
    // After a retry has started the row is its own: the rollout before it reads and sets no more.
    const auto superseded = [&] {
        return entry->rollout.over() && newest_of(entry->policy.name) != entry;
    };
    while (!superseded()) {
        const std::uint64_t decided = entry->rollout.ordered;
        Duration pause = entry->policy.peek_every;
        bool lapsed = false;
        try {
            const Weight applied = entry->rollout.applied.value_or(nobody);
            const bool lowering = entry->unrecorded || entry->rollout.desired < applied;
            // What is served may have changed by hand, so a raise looks first; a lowering does not.
            if (lowering) co_await set_route(entry);
            co_await read_route(entry);
            const Rollout& now = entry->rollout;
            lapsed = now.raise_expires && clock.now() >= *now.raise_expires;
            if (now.applied != now.desired && !lapsed && now.ordered == decided && !superseded()) {
                co_await set_route(entry);
                co_await read_route(entry);
            }
            // Just read as it should be: a route that has lapsed is not raised here.
            const bool incomplete = lease_is_due(*entry) || is_as_wanted_by_others(*entry);
            if (incomplete && !superseded()) co_await set_route(entry);
            entry->router_error.clear();
            if (entry->rollout.applied == entry->rollout.desired) backoff = least;
        } catch (const LeaseLost&) {
            throw;
        } catch (const std::exception& error) {
            if (entry->router_error.empty()) {
                log(Level::warning, "route of " + entry->policy.name + ": " + error.what());
            }
            entry->router_error = error.what();
        }
        entry->route_tried = true;
        if (lapsed) {
            What what = event::RaiseLapsed{};
            try {
                co_await ask(entry, std::move(what));
            } catch (const std::runtime_error& error) {
                entry->router_error = error.what();
            }
            continue;
        }
        const Rollout& now = entry->rollout;
        const bool settled = now.applied == now.desired && entry->router_error.empty();
        if (settled && now.status == Status::finished && !entry->unrecorded) co_return;
        if (settled && now.status == Status::rolled_back && !entry->top_errors) {
            co_await ask_what_failed(entry);
        }
        if (settled && now.over()) {
            pause = most;  // 0 % for ever: a hand that raises it is lowered back
        } else if (!settled) {
            pause = backoff;
            backoff = doubled(backoff, most);
        }
        if (now.ordered != decided) {
            backoff = least;
            continue;
        }
        co_await wait_until(clock, entry->steer_wake, clock.steady() + pause);
        if (entry->rollout.ordered != decided) backoff = least;
    }
}

}  // namespace canaryd
