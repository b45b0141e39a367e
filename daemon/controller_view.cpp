// What people see of a running controller. Nothing here changes a rollout.
#include <algorithm>
#include <stdexcept>

#include "daemon/controller_impl.hpp"

namespace canaryd {

View Controller::Impl::view_of(const Entry& entry) const {
    View view;
    view.rollout = entry.rollout;
    view.policy = entry.policy;
    view.served = entry.served;
    view.served_at = entry.served_at;
    if (entry.ports.router) view.route_progress = entry.ports.router->progress();
    view.router_error = entry.router_error;
    view.store_trouble = store_trouble;
    view.by_hand = entry.ports.by_hand;
    view.peeked_at = entry.peeked_at;
    view.source_error = entry.source_error;
    view.remarks = entry.remarks;
    for (const auto& channel : entry.channels) {
        view.owed += channel->owed.size();
        if (!channel->failing.empty()) {
            view.notify_error +=
                (view.notify_error.empty() ? "" : "; ") + channel->name + ": " + channel->failing;
        }
    }
    if (entry.top_errors) view.top_errors = *entry.top_errors;
    view.now = clock.now();
    return view;
}

std::vector<View> Controller::views() const {
    std::vector<View> views;
    for (const auto& [id, entry] : impl_->entries) views.push_back(impl_->view_of(*entry));
    std::sort(views.begin(), views.end(), [](const View& a, const View& b) {
        return a.rollout.over() != b.rollout.over() ? b.rollout.over()
                                                    : a.rollout.started < b.rollout.started;
    });
    return views;
}

std::optional<View> Controller::view(const std::string& rollout) const {
    const auto entry = impl_->find(rollout);
    if (!entry) return std::nullopt;
    return impl_->view_of(*entry);
}

Health Controller::health() const {
    Health health;
    const SteadyPoint now = impl_->clock.steady();
    health.ready = impl_->loaded;
    health.store_trouble = impl_->store_trouble;
    health.standby = impl_->standby;
    if (impl_->busy_since) health.busy = now - *impl_->busy_since;
    for (const auto& [id, entry] : impl_->entries) {
        const Rollout& rollout = entry->rollout;
        health.ready = health.ready && entry->route_tried;
        for (const auto& channel : entry->channels) health.owed += channel->owed.size();
        if (rollout.over()) continue;
        ++health.rollouts;
        if (rollout.paused) ++health.paused;
        if (rollout.hold(Hold::Kind::blind) != nullptr) ++health.blind;
        if (!rollout.holds.empty()) ++health.held;
        if (rollout.status != Status::pending) {
            health.last_look =
                std::max(health.last_look.value_or(rollout.last_look), rollout.last_look);
        }
        if (entry->look_due && *entry->look_due < now) {
            health.latest_lateness = std::max(health.latest_lateness, now - *entry->look_due);
        }
    }
    return health;
}

Async<std::vector<JournalEntry>> Controller::journal(std::string rollout, std::uint64_t after,
                                                     std::size_t limit) {
    std::string id;
    if (!rollout.empty()) {
        const auto entry = impl_->find(rollout);
        id = entry ? entry->rollout.id : rollout;
    }
    co_return co_await with_deadline(impl_->clock, store_limit, "reading the journal",
                                     impl_->store.journal(std::move(id), after, limit));
}

Async<std::vector<std::string>> Controller::notify_test(std::string rollout, Actor by) {
    impl_->refuse_standing_by();
    const auto entry = impl_->find(rollout);
    if (!entry) throw std::out_of_range("no rollout called " + rollout);
    std::vector<std::string> outcome;
    for (std::size_t i = 0; i < entry->channels.size(); ++i) {
        Message message;
        message.id = entry->rollout.id + "/test";
        message.rollout = entry->rollout.id;
        message.revision = entry->rollout.revision;
        message.at = impl_->clock.now();
        message.notice.text = entry->policy.name + ": a test message, sent by " + by.name;
        std::string line = entry->channels[i]->name + ": ";
        try {
            const Sent sent =
                co_await with_deadline(impl_->clock, std::chrono::seconds{20}, "sending",
                                       entry->ports.notifiers[i]->send(std::move(message)));
            line += sent.kind == Sent::Kind::delivered ? "delivered" : "not delivered: " + sent.why;
        } catch (const std::exception& error) {
            line += "not delivered: " + std::string(error.what());
        }
        outcome.push_back(std::move(line));
    }
    co_return outcome;
}

}  // namespace canaryd
