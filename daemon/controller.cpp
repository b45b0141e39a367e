// The deciding loop: one message at a time, durable first, then visible, then acted on.
#include "canaryd/controller.hpp"

#include <algorithm>
#include <stdexcept>

#include "canaryd/text.hpp"
#include "daemon/controller_impl.hpp"
#include "daemon/log.hpp"
#include "daemon/stores/stores.hpp"

namespace canaryd {
namespace {

constexpr std::size_t inbox_limit = 4096;

std::vector<Owed> owed_of(const Entry& entry, const Event& event, const Transition& transition) {
    std::vector<Owed> owed;
    for (std::size_t i = 0; i < transition.notices.size(); ++i) {
        for (const auto& channel : entry.channels) {
            Message message;
            message.rollout = transition.next.id;
            message.revision = transition.next.revision;
            message.id = message.rollout + "/" + std::to_string(message.revision) + "/" +
                         std::to_string(i) + "/" + channel->name;
            message.at = event.at;
            message.notice = transition.notices[i];
            owed.push_back({channel->name, std::move(message)});
        }
    }
    return owed;
}

void enqueue(Entry& entry, const Owed& owed) {
    for (const auto& channel : entry.channels) {
        if (channel->name != owed.channel) continue;
        channel->owed.push_back(owed);
        channel->wake.ring();
    }
}

/// History is for people: what is many milestones old is dropped before memory is.
void note_milestone(Entry& entry, const Event& event, const Transition& transition) {
    constexpr std::size_t most = 64;
    if (entry.milestones.size() == most) entry.milestones.pop_front();
    entry.milestones.emplace_back(event, transition);
    entry.history_wake.ring();
}

/// One a line.
std::string all_of(const std::vector<Problem>& problems) {
    std::string text;
    for (const Problem& problem : problems) text += (text.empty() ? "" : "\n") + to_string(problem);
    return text;
}

Level level_of(const Transition& transition) {
    Severity worst = Severity::info;
    for (const Notice& notice : transition.notices) worst = std::max(worst, notice.severity);
    switch (worst) {
        case Severity::critical:
            return Level::error;
        case Severity::warning:
            return Level::warning;
        case Severity::info:
            return transition.verdict && transition.notices.empty() ? Level::info : Level::notice;
    }
    return Level::notice;
}

void log_decision(const Event& event, const Transition& transition) {
    log(level_of(transition), (transition.refused ? "refused: " : "") + transition.reason,
        {{"CANARYD_ROLLOUT", transition.next.id},
         {"CANARYD_REV", std::to_string(transition.next.revision)},
         {"CANARYD_WEIGHT", text::weight(transition.next.desired)},
         {"CANARYD_ACTOR", event.by}});
}

void answer(const std::shared_ptr<Reply>& reply, Transition transition) {
    reply->transition = std::move(transition);
    reply->wake.ring();
}

}  // namespace

Async<Transition> Controller::Impl::ask(std::shared_ptr<Item> item) {
    if (inbox.size() >= inbox_limit) throw std::runtime_error("too many commands at once");
    const auto reply = std::make_shared<Reply>(executor);
    item->reply = reply;
    inbox.push_back(std::move(item));
    inbox_wake.ring();
    co_await reply->wake.wait();
    if (reply->error) std::rethrow_exception(reply->error);
    co_return std::move(*reply->transition);
}

Async<Transition> Controller::Impl::ask(std::shared_ptr<Entry> entry, What what) {
    const auto item = std::make_shared<Item>();
    item->entry = std::move(entry);
    item->what = std::move(what);
    item->by = engine;
    co_return co_await ask(item);
}

std::shared_ptr<Entry> Controller::Impl::make_entry(Policy policy) {
    const auto entry = std::make_shared<Entry>(executor);
    entry->ports = make_ports(policy);
    for (std::size_t i = 0; i < policy.notify.size(); ++i) {
        entry->channels.push_back(
            std::make_shared<Channel>(executor, std::to_string(i) + ":" + policy.notify[i].kind));
    }
    entry->policy = std::move(policy);
    return entry;
}

/// From here on the rollout is watched, steered and told about. The route row has the name of the
/// policy, so only the newest rollout of a name may order it.
void Controller::Impl::take_in(const std::shared_ptr<Entry>& entry) {
    entries[entry->rollout.id] = entry;
    if (newest_of(entry->policy.name) == entry) {
        asio::co_spawn(executor, steer(entry), or_die);
    } else {
        entry->route_tried = true;
    }
    asio::co_spawn(executor, watch(entry), or_die);
    for (const auto& channel : entry->channels) {
        asio::co_spawn(executor, tell(entry, channel), or_die);
    }
    if (entry->ports.router->keeps_history()) asio::co_spawn(executor, keep_history(entry), or_die);
}

/// Everything that is stored becomes an entry; from then on it is watched, steered and told about.
Async<> Controller::Impl::load() {
    std::vector<Loaded> known =
        co_await with_deadline(clock, store_limit, "loading the store", store.load());
    for (Loaded& one : known) {
        ParsedPolicy parsed = parse_policy(one.policy_text, one.policy_file);
        if (!parsed.policy) {
            throw StoreUnusable("the pinned policy of " + one.rollout.id +
                                " is not understood: " + all_of(parsed.problems));
        }
        std::shared_ptr<Entry> entry;
        try {
            entry = make_entry(std::move(*parsed.policy));
        } catch (const std::exception& error) {
            throw StoreUnusable(one.rollout.id + " cannot be carried on: " + error.what());
        }
        entry->rollout = std::move(one.rollout);
        entries[entry->rollout.id] = entry;
    }
    const std::vector<Owed> owed =
        co_await with_deadline(clock, store_limit, "loading the outbox", store.owed());
    for (const Owed& one : owed) {
        const auto found = entries.find(one.message.rollout);
        if (found != entries.end()) enqueue(*found->second, one);
    }
}

Async<> Controller::Impl::run(std::function<void()> serving) {
    co_await stand_by(serving);
    for (bool done = false; !done;) {
        entries.clear();
        std::exception_ptr error;
        try {
            co_await load();
            done = true;
            store_trouble.clear();
        } catch (const StoreReadOnly& trouble) {
            if (guards.lease == nullptr) error = std::current_exception();
            store_trouble = trouble.what();
        }
        if (error) std::rethrow_exception(error);
        if (!done) co_await sleep_until(clock, clock.steady() + stand_by_every);
    }
    const auto all = entries;
    co_await compare_with_marks(all);
    for (const auto& [id, entry] : all) take_in(entry);
    loaded = true;
    if (serving) serving();
    for (;;) {
        while (inbox.empty()) co_await inbox_wake.wait();
        const auto item = std::move(inbox.front());
        inbox.pop_front();
        busy_since = clock.steady();
        co_await decide(item);
        busy_since.reset();
    }
}

Async<> Controller::Impl::decide(std::shared_ptr<Item> item) {
    if (item->start) {
        co_await start(item);
        co_return;
    }
    if (item->entry->unrecorded) {
        // What was done while the store could not be written is recorded before anything else.
        Event late = item->entry->unrecorded->event;
        late.role += ", recorded late";
        const auto recorded = std::make_shared<Reply>(executor);
        co_await apply(item->entry, late, recorded);
        // If that fails again, judge on all the same: what comes may lower further.
        if (!recorded->error) item->entry->unrecorded.reset();
    }
    Event event{clock.now(), item->by.name, item->by.role, std::move(item->what)};
    if (auto* looked = std::get_if<event::Looked>(&event.what)) {
        const auto& channels = item->entry->channels;
        looked->nobody_hears =
            !channels.empty() && std::all_of(channels.begin(), channels.end(),
                                             [](const auto& c) { return !c->failing.empty(); });
    }
    co_await apply(item->entry, std::move(event), item->reply);
}

/// step, commit, and only then let it be seen. A store that is full or read-only stops every
/// change but a lowering; any other failure means that the outcome is unknown: run() ends.
Async<> Controller::Impl::apply(std::shared_ptr<Entry> entry, Event event,
                                std::shared_ptr<Reply> reply) {
    Transition transition = step(entry->rollout, event, entry->policy);
    if (transition.forget) {
        answer(reply, std::move(transition));
        co_return;
    }
    std::vector<Owed> owed = owed_of(*entry, event, transition);
    std::exception_ptr trouble, unknown;
    try {
        co_await with_deadline(clock, store_limit, "committing",
                               store.commit(event, transition, owed));
    } catch (const StoreReadOnly& error) {
        const bool news = store_trouble.empty();
        store_trouble = error.what();
        if (news) {
            // No message can be owed now, so that the log says how to go back by hand.
            const Notice notice{Notice::Kind::held, Severity::critical,
                                "the store cannot be written: " + store_trouble};
            log(Level::critical, text::one_line(text::told(view_of(*entry), notice)),
                {{"CANARYD_ROLLOUT", transition.next.id}});
        }
        trouble = std::current_exception();
    } catch (const LeaseLost&) {
        // Nothing was committed, and whoever acts now knows better what to lower.
        if (!stopping) throw;
        trouble = std::current_exception();
    } catch (...) {
        unknown = std::current_exception();
    }
    if (stopping && trouble) {
        reply->fail(std::make_exception_ptr(std::runtime_error("canaryd is stopping")));
        co_return;
    }
    const bool lowers = transition.next.desired < entry->rollout.desired;
    if (trouble || unknown) {
        // A rollback takes the place of a weaker lowering; nothing takes the place of a rollback.
        const bool ends = transition.next.status == Status::rolled_back;
        if (lowers && (!entry->unrecorded || (ends && !entry->unrecorded->rolls_back))) {
            entry->unrecorded =
                Entry::Unrecorded{event, transition.next.desired, ends, transition.reason};
            entry->steer_wake.ring();
        }
        if (unknown) {
            // A lowering is carried out even now; then the process ends and reads again.
            if (lowers) co_await lower_at_last(entry);
            std::rethrow_exception(unknown);
        }
        reply->fail(trouble);
        co_return;
    }
    store_trouble.clear();
    entry->rollout = transition.next;
    if (guards.marks != nullptr) guards.marks->write(entry->rollout);
    for (const Owed& one : owed) enqueue(*entry, one);
    if (transition.is_milestone() && entry->ports.router->keeps_history())
        note_milestone(*entry, event, transition);
    entry->steer_wake.ring();
    entry->watch_wake.ring();
    log_decision(event, transition);
    answer(reply, std::move(transition));
}

/// Remembered as sent or given up. While the store cannot be written it is tried again later; a
/// start before that sends it twice.
Async<> Controller::Impl::settle(std::shared_ptr<Channel> channel) {
    while (!channel->unsettled.empty()) {
        std::string id = channel->unsettled.front().first;
        std::string why = channel->unsettled.front().second;
        std::exception_ptr unknown;
        try {
            co_await with_deadline(clock, store_limit, "settling a notice",
                                   store.settle(std::move(id), std::move(why)));
            store_trouble.clear();
        } catch (const StoreReadOnly& error) {
            store_trouble = error.what();
            co_return;
        } catch (...) {
            unknown = std::current_exception();
        }
        if (unknown) std::rethrow_exception(unknown);
        channel->unsettled.erase(channel->unsettled.begin());
    }
}

/// An unfinished one, else the one that was started last: ids are NAME-N.
std::shared_ptr<Entry> Controller::Impl::newest_of(const std::string& name) const {
    std::shared_ptr<Entry> newest;
    const auto later = [](const Rollout& a, const Rollout& b) {
        if (a.over() != b.over()) return b.over();
        return a.id.size() != b.id.size() ? a.id.size() > b.id.size() : a.id > b.id;
    };
    for (const auto& [id, entry] : entries) {
        if (entry->policy.name != name) continue;
        if (!newest || later(entry->rollout, newest->rollout)) newest = entry;
    }
    return newest;
}

std::shared_ptr<Entry> Controller::Impl::find(const std::string& rollout) const {
    const auto exact = entries.find(rollout);
    return exact != entries.end() ? exact->second : newest_of(rollout);
}

Controller::Controller(asio::any_io_executor executor, Clock& clock, Store& store,
                       PortsMaker make_ports, Guards guards)
    : impl_(std::make_unique<Impl>(std::move(executor), clock, store, std::move(make_ports),
                                   guards)) {}
Controller::~Controller() = default;

Async<> Controller::run(std::function<void()> serving) {
    return impl_->run(std::move(serving));
}

Async<Transition> Controller::start(std::string policy_text, std::string policy_file, Actor by) {
    impl_->refuse_standing_by();
    const auto item = std::make_shared<Item>();
    item->start = StartRequest{std::move(policy_text), std::move(policy_file)};
    item->by = std::move(by);
    ParsedPolicy parsed = parse_policy(item->start->policy_text, item->start->policy_file);
    if (!parsed.policy) throw std::invalid_argument(all_of(parsed.problems));
    // Until the reply is there: what a store on the same database knows of a name is one policy's.
    const Impl::Starting one(impl_->starting, parsed.policy->name);
    item->entry = co_await impl_->prepare(std::move(*parsed.policy));
    co_return co_await impl_->ask(item);
}

Async<Transition> Controller::submit(std::string rollout, What what, Actor by) {
    impl_->refuse_standing_by();
    const auto item = std::make_shared<Item>();
    item->entry = impl_->find(rollout);
    if (!item->entry) throw std::out_of_range("no rollout called " + rollout);
    item->what = std::move(what);
    item->by = std::move(by);
    co_return co_await impl_->ask(item);
}

}  // namespace canaryd
