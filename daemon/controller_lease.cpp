// Several daemons on one store: one acts, the others stand by and show what is stored. And what
// this machine remembers of the store, so that an older copy of it is noticed before any raise.
#include <algorithm>

#include "daemon/controller_impl.hpp"
#include "daemon/fields.hpp"
#include "daemon/log.hpp"
#include "daemon/stores/stores.hpp"

namespace canaryd {
namespace {

constexpr Duration lease_limit = std::chrono::seconds{5};

}  // namespace

/// Comes back when the lease is ours. A store that cannot be asked is asked again: a daemon that
/// starts while its database is down says so and carries on when it is back.
Async<> Controller::Impl::stand_by(std::function<void()>& serving) {
    if (guards.lease == nullptr) co_return;
    std::string told;
    SteadyPoint shown{};
    for (;;) {
        const SteadyPoint asked = clock.steady();
        std::string now;
        try {
            const auto holder = co_await with_deadline(clock, lease_limit, "taking the lease",
                                                       guards.lease->take());
            if (!holder) {
                lease_until = asked + lease_length;
                break;
            }
            now = "standing by: " + *holder + " holds the lease";
            standby = "this daemon stands by: " + *holder + " holds the lease and acts";
            store_trouble.clear();
            if (shown == SteadyPoint{} || asked - shown >= lease_renewed_every) {
                shown = asked;
                co_await show_what_is_stored();
            }
        } catch (const StoreUnusable&) {
            throw;
        } catch (const std::exception& error) {
            now = store_trouble = error.what();
        }
        if (now != told) log(Level::notice, now);
        told = now;
        if (serving) std::exchange(serving, nullptr)();
        co_await sleep_until(clock, asked + stand_by_every);
    }
    // From here on nothing is taken for the whole of it until it is read anew.
    standby.clear();
    store_trouble.clear();
    log(Level::notice, "the lease is ours");
    asio::co_spawn(executor, keep_lease(), or_die);
}

/// What another daemon decides, for people who ask this one. Nothing is carried out.
Async<> Controller::Impl::show_what_is_stored() {
    std::vector<Loaded> known =
        co_await with_deadline(clock, store_limit, "reading the store", store.load());
    entries.clear();
    const auto remembered =
        guards.marks == nullptr ? std::map<std::string, Mark>{} : guards.marks->read();
    for (Loaded& one : known) {
        ParsedPolicy parsed = parse_policy(one.policy_text, one.policy_file);
        if (!parsed.policy) continue;  // the one that acts says what is wrong with it
        const auto entry = std::make_shared<Entry>(executor);
        entry->policy = std::move(*parsed.policy);
        entry->rollout = std::move(one.rollout);
        const auto mark = remembered.find(entry->rollout.id);
        // Never back: it may be this copy that is older, and nobody has said so yet.
        if (guards.marks != nullptr &&
            (mark == remembered.end() || mark->second.revision < entry->rollout.revision)) {
            guards.marks->write(entry->rollout);
        }
        entries[entry->rollout.id] = entry;
    }
}

Async<> Controller::Impl::renew_lease() {
    const SteadyPoint asked = clock.steady();
    const bool ours =
        co_await with_deadline(clock, lease_limit, "renewing the lease", guards.lease->renew());
    if (!ours) throw LeaseLost("another daemon has taken the lease: this one stops");
    lease_until = std::max(lease_until, asked + lease_length);
}

Async<> Controller::Impl::keep_lease() {
    bool failing = false;
    for (;;) {
        co_await sleep_until(clock, clock.steady() + lease_renewed_every);
        if (stopping) co_return;
        try {
            co_await renew_lease();
            failing = false;
        } catch (const LeaseLost&) {
            if (stopping) co_return;
            throw;
        } catch (const std::exception& error) {
            if (!failing) log(Level::warning, std::string("the lease: ") + error.what());
            failing = true;
        }
    }
}

/// Before each order. A lease that is about to run out, or did while this process was stopped, is
/// renewed first; when nobody can be asked, only a lowering may go on: it is always safe.
Async<> Controller::Impl::confirm_lease(bool lowers) {
    if (guards.lease == nullptr) co_return;
    if (stopping) throw std::runtime_error("stopping: the lease is let go");
    if (clock.steady() + lease_margin < lease_until) co_return;
    std::string trouble;
    try {
        co_await renew_lease();
    } catch (const LeaseLost&) {
        throw;
    } catch (const std::exception& error) {
        trouble = error.what();
    }
    if (!trouble.empty() && !lowers) {
        throw std::runtime_error("nothing is raised without the lease: " + trouble);
    }
}

void Controller::Impl::refuse_standing_by() const {
    if (!standby.empty()) throw StandingBy(standby + ": give the command there");
    if (guards.lease != nullptr && !loaded) {
        throw StandingBy("this daemon is about to read its store" +
                         (store_trouble.empty() ? "" : ": " + store_trouble) +
                         "; ask again in a moment");
    }
}

/// Told as an event of each rollout that the store has an older revision of, before its loops
/// begin.
Async<> Controller::Impl::compare_with_marks(
    std::map<std::string, std::shared_ptr<Entry>> loaded_now) {
    if (guards.marks == nullptr) co_return;
    const std::map<std::string, Mark> marks = guards.marks->read();
    for (const auto& [id, mark] : marks) {
        const auto found = loaded_now.find(id);
        // One that is over is not loaded for ever.
        if (found == loaded_now.end()) continue;
        const auto entry = found->second;
        if (mark.revision <= entry->rollout.revision) continue;
        const Event event{clock.now(), engine.name, engine.role,
                          event::StoreWentBack{mark.revision, mark.weight, mark.rolled_back,
                                               guards.marks->name()}};
        const auto reply = std::make_shared<Reply>(executor);
        co_await apply(entry, event, reply);
        // A store that cannot be written has not heard of it: nothing is decided before it has.
        if (reply->error && !entry->unrecorded) {
            const Weight weight = std::min(entry->rollout.desired, mark.weight);
            entry->unrecorded = Entry::Unrecorded{event, weight, false, "the store went back"};
        }
    }
}

/// Before the process ends: what the route says to it is of no account any more.
Async<> Controller::Impl::lower_at_last(std::shared_ptr<Entry> entry) {
    try {
        co_await set_route(entry);
    } catch (const std::exception& error) {
        log(Level::error, "route of " + entry->policy.name + ": " + error.what());
    }
}

std::optional<std::uint64_t> followed_by(const Served& served, const Rollout& rollout) {
    const std::string before = rollout.id + " revision ";
    if (served.by != engine.name || served.reason.rfind(before, 0) != 0) return std::nullopt;
    const auto revision = read_whole(std::string_view(served.reason).substr(before.size()));
    if (!revision.value || *revision.value < 0) return std::nullopt;
    return static_cast<std::uint64_t>(*revision.value);
}

/// The row says which decision it follows. One that the store does not have was lost with a newer
/// copy of it.
std::optional<event::StoreWentBack> forgotten_by_store(const Served& served,
                                                       const Rollout& rollout) {
    const auto decided = followed_by(served, rollout);
    if (!decided || *decided <= std::max(rollout.revision, rollout.forgotten)) return std::nullopt;
    return event::StoreWentBack{*decided, served.weight, false, "the route row"};
}

Async<> Controller::stop() {
    if (impl_->guards.lease == nullptr || !impl_->standby.empty()) co_return;
    impl_->stopping = true;
    constexpr Duration patience = std::chrono::seconds{2};
    co_await with_deadline(impl_->clock, patience, "letting the lease go",
                           impl_->guards.lease->release());
}

}  // namespace canaryd
