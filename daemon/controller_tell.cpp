// What is for people, after the route: tell notifies, one coroutine per channel, and keep_history
// hands milestones to the router. Nothing here decides anything.
#include <algorithm>
#include <utility>

#include "canaryd/text.hpp"
#include "daemon/controller_impl.hpp"
#include "daemon/log.hpp"

namespace canaryd {
namespace {

constexpr Duration settled_again_after = std::chrono::seconds{5};

}  // namespace

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
            // Those tables are a newer rollout's by now, if there is one.
            if (newest_of(entry->policy.name) == entry) entry->milestones.push_front(milestone);
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
    if (rolled_back) co_await route_has_moved(entry);
    const SteadyPoint patience = clock.steady() + std::chrono::seconds{5};
    while (rolled_back && !entry->top_errors && clock.steady() < patience &&
           entry->rollout.applied == entry->rollout.desired) {
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
