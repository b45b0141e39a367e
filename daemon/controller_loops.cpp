// watch measures, steer moves traffic, tell notifies: one coroutine of each per rollout (tell: per
// channel). They ask the deciding loop; they never change a rollout themselves.
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
constexpr Duration settled_again_after = std::chrono::seconds{5};
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

Duration doubled(Duration backoff, Duration most) {
    return std::min(2 * backoff, most);
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
    return entry.served && rollout.desired > nobody && entry.served->weight == rollout.desired &&
           rollout.applied == rollout.desired && !followed_by(*entry.served, rollout) &&
           rollout.hold(Hold::Kind::drift) == nullptr;
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

/// What is for people waits until the newest order is carried out, but not for ever.
Async<> Controller::Impl::route_has_moved(std::shared_ptr<Entry> entry) {
    const SteadyPoint patience = clock.steady() + std::chrono::seconds{5};
    while (entry->rollout.applied != entry->rollout.desired && clock.steady() < patience) {
        co_await sleep_until(clock, clock.steady() + std::chrono::milliseconds{20});
    }
}

/// The router's history gets each milestone, in order, when its database can be reached.
Async<> Controller::Impl::keep_history(std::shared_ptr<Entry> entry) {
    constexpr Duration least = std::chrono::seconds{1};
    constexpr Duration most = std::chrono::minutes{1};
    constexpr Duration limit = std::chrono::seconds{25};
    Duration backoff = least;
    std::string told;
    for (;;) {
        while (entry->milestones.empty()) co_await entry->history_wake.wait();
        co_await route_has_moved(entry);
        const auto milestone = entry->milestones.front();
        entry->milestones.pop_front();
        std::string trouble;
        try {
            Event event = milestone.first;
            Transition transition = milestone.second;
            co_await with_deadline(
                clock, limit, "the history",
                entry->ports.router->record(std::move(event), std::move(transition)));
        } catch (const std::exception& error) {
            trouble = error.what();
        }
        if (trouble.empty()) {
            backoff = least;
        } else {
            if (trouble != told)
                log(Level::warning, "history of " + entry->policy.name + ": " + trouble);
            entry->milestones.push_front(milestone);
            co_await sleep_until(clock, clock.steady() + backoff);
            backoff = doubled(backoff, most);
        }
        told = trouble;
    }
}

/// Best effort: without an answer within 5 s there are none.
Async<> Controller::Impl::ask_what_failed(std::shared_ptr<Entry> entry) {
    const Rollout& rollout = entry->rollout;
    const TimePoint to = rollout.rolled_back_at.value_or(clock.now());
    const TimePoint from = std::max<TimePoint>(rollout.started, to - std::chrono::hours{1});
    std::vector<TopError> errors;
    try {
        errors = co_await with_deadline(clock, std::chrono::seconds{5}, "the top errors",
                                        entry->ports.source->top_errors(from, to));
    } catch (const std::exception& error) {
        log(Level::info, std::string("no error details: ") + error.what());
    }
    entry->top_errors = std::move(errors);
}

/// A message says what is known when it is sent: where users are, the way back by hand. A
/// rollback's names what failed, which is asked for after the route has moved. A route that does
/// not move within 5 s is the greater news.
Async<Message> Controller::Impl::with_details(std::shared_ptr<Entry> entry, Message message) {
    const bool rolled_back = message.notice.kind == Notice::Kind::rolled_back;
    const SteadyPoint asked = clock.steady();
    while (rolled_back && !entry->top_errors) {
        const Duration waited = clock.steady() - asked;
        const bool moved = entry->rollout.applied == entry->rollout.desired;
        if (waited >= std::chrono::seconds{moved ? 10 : 5}) break;
        co_await sleep_until(clock, clock.steady() + std::chrono::milliseconds{20});
    }
    message.notice.text = text::told(view_of(*entry), message.notice);
    if (!rolled_back || !entry->top_errors) co_return message;
    for (const TopError& error : *entry->top_errors) {
        message.notice.text += "\nTop error: " + std::to_string(error.times) + "x " + error.message;
        for (const std::string& id : error.request_ids) message.notice.text += " req " + id;
    }
    co_return message;
}

namespace {

bool is_report(const Owed& owed) {
    return owed.message.notice.kind == Notice::Kind::report;
}

/// Critical messages overtake; else in order.
std::deque<Owed>::iterator next_of(std::deque<Owed>& owed) {
    const auto critical = std::find_if(owed.begin(), owed.end(), [](const Owed& one) {
        return one.message.notice.severity == Severity::critical;
    });
    return critical == owed.end() ? owed.begin() : critical;
}

}  // namespace

Async<> Controller::Impl::tell(std::shared_ptr<Entry> entry, std::shared_ptr<Channel> channel) {
    constexpr Duration least = std::chrono::seconds{1};
    constexpr Duration most = std::chrono::minutes{5};
    const auto index = static_cast<std::size_t>(
        std::find(entry->channels.begin(), entry->channels.end(), channel) -
        entry->channels.begin());
    const auto notifier = entry->ports.notifiers.at(index);
    Duration backoff = least;
    for (;;) {
        while (channel->owed.empty()) {
            if (channel->unsettled.empty()) {
                co_await channel->wake.wait();
            } else {
                co_await wait_until(clock, channel->wake, clock.steady() + settled_again_after);
                co_await settle(channel);
            }
        }
        auto& owed = channel->owed;
        std::string given_up;
        std::string done;
        const auto reports = std::count_if(owed.begin(), owed.end(), is_report);
        if (reports > 1) {
            // Only the newest report is news.
            const auto old = std::find_if(owed.begin(), owed.end(), is_report);
            done = old->message.id;
            given_up = "a newer report followed";
        } else {
            const Message message = next_of(owed)->message;
            Message full = co_await with_details(entry, message);
            std::optional<Duration> wait;
            try {
                const Sent sent = co_await with_deadline(clock, std::chrono::seconds{20}, "sending",
                                                         notifier->send(std::move(full)));
                channel->failing = sent.kind == Sent::Kind::delivered ? "" : sent.why;
                if (sent.kind == Sent::Kind::never) given_up = "refused: " + sent.why;
                if (sent.kind == Sent::Kind::later) {
                    wait = sent.wait.value_or(std::chrono::seconds{30});
                } else {
                    done = message.id;
                }
            } catch (const std::exception& error) {
                channel->failing = error.what();
                wait = backoff;
                backoff = doubled(backoff, most);
                for (Owed& one : owed) {
                    if (one.message.id == message.id) ++one.message.attempts;
                }
                const bool old = clock.now() - message.at > std::chrono::hours{24};
                if (old && message.notice.severity == Severity::info) {
                    done = message.id;
                    given_up = "not delivered for a day";
                    wait.reset();
                }
            }
            if (wait) {
                co_await sleep_until(clock, clock.steady() + *wait);
                continue;
            }
            backoff = least;
        }
        owed.erase(std::find_if(owed.begin(), owed.end(),
                                [&](const Owed& one) { return one.message.id == done; }));
        channel->unsettled.emplace_back(done, given_up);
        co_await settle(channel);
    }
}

}  // namespace canaryd
