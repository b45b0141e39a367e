// What every store promises, whatever it is made of. A new kind calls store_contract() in a test
// case of its own, with a function that opens one and the same store each time it is called.
#pragma once

#include <doctest/doctest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "canaryd/ports.hpp"
#include "daemon/codec.hpp"
#include "daemon/sha256.hpp"

namespace canaryd::test {

/// One thread's loop that runs a store's calls to their end.
class Loop {
public:
    [[nodiscard]] boost::asio::any_io_executor executor() { return io_.get_executor(); }
    template <class T>
    T run(Async<T> work) {
        auto result = boost::asio::co_spawn(io_, std::move(work), boost::asio::use_future);
        io_.restart();
        io_.run();
        return result.get();
    }

private:
    boost::asio::io_context io_;
};

/// A rollout's changes made by hand: a store does not ask whether they are wise.
struct Change {
    Event event;
    Transition transition;
    std::vector<Owed> owed;
};

inline TimePoint at(std::int64_t minute) {
    return TimePoint(std::chrono::minutes(29'000'000 + minute));
}

inline Change started(const std::string& name, int number) {
    const std::string policy = "name: " + name + "\n# \"quoted\"\n";
    const std::string id = name + "-" + std::to_string(number);
    Change change;
    change.event = {at(0), "alice", "operator", event::Started{id, policy, name + ".yaml"}};
    Rollout& next = change.transition.next;
    next.id = id;
    next.name = name;
    next.policy_hash = sha256_hex(policy);
    next.revision = 1;
    next.desired = Weight{1'000};
    change.transition.reason = "started by alice: 10 %";
    return change;
}

/// The next change after `before`, of this kind.
inline Change next_change(const Rollout& before, What what, const std::string& reason) {
    Change change;
    change.event = {at(static_cast<std::int64_t>(before.revision)), "canaryd", "engine",
                    std::move(what)};
    change.transition.next = before;
    ++change.transition.next.revision;
    change.transition.reason = reason;
    return change;
}

inline Change looked(const Rollout& before) {
    Look look;
    look.from = at(static_cast<std::int64_t>(before.revision) - 1);
    look.to = at(static_cast<std::int64_t>(before.revision));
    look.cursor = std::to_string(before.revision);
    Change change = next_change(before, event::Looked{look}, "a quiet look");
    change.transition.next.last_look = look.to;
    change.transition.next.ledger.ln_c -= 0.001;
    return change;
}

inline void owe(Change& change, const std::string& channel) {
    const Rollout& next = change.transition.next;
    Owed owed;
    owed.channel = channel;
    owed.message.id = next.id + "/" + std::to_string(next.revision) + "/" +
                      std::to_string(change.owed.size()) + "/" + channel;
    owed.message.rollout = next.id;
    owed.message.revision = next.revision;
    owed.message.at = change.event.at;
    owed.message.notice = {Notice::Kind::promoted, Severity::warning, "50 % \"now\""};
    change.owed.push_back(owed);
}

/// A store under test, and its loop.
struct Opened {
    Loop loop;
    std::unique_ptr<Store> store;

    Rollout commit(const Change& change) {
        loop.run(store->commit(change.event, change.transition, change.owed));
        return change.transition.next;
    }
    std::vector<Loaded> load() { return loop.run(store->load()); }
    std::vector<Owed> owed() { return loop.run(store->owed()); }
    void settle(const std::string& id, const std::string& why) { loop.run(store->settle(id, why)); }
    std::vector<JournalEntry> journal(const std::string& rollout, std::uint64_t after = 0,
                                      std::size_t limit = 1'000) {
        return loop.run(store->journal(rollout, after, limit));
    }
    std::uint64_t count_of(const std::string& name) { return loop.run(store->count_of(name)); }
};

/// Opens the store under test; the Opened before it is gone by then.
using OpenStore = std::function<std::unique_ptr<Store>(Loop&)>;

inline std::unique_ptr<Opened> opened(const OpenStore& open) {
    auto result = std::make_unique<Opened>();
    result->store = open(result->loop);
    return result;
}

inline std::vector<std::string> ids_of(const std::vector<Loaded>& loaded) {
    std::vector<std::string> ids;
    for (const Loaded& one : loaded) ids.push_back(one.rollout.id);
    return ids;
}

inline Rollout over(Opened& store, const std::string& name, int number, Status status) {
    const Rollout begun = store.commit(started(name, number));
    Change end = next_change(begun, event::RollBack{"enough"}, "rolled back by alice");
    end.transition.next.status = status;
    return store.commit(end);
}

inline void check_chain(const std::vector<JournalEntry>& journal) {
    std::string previous;
    for (const JournalEntry& entry : journal) {
        CHECK(entry.previous == previous);
        CHECK(entry.hash == sha256_hex(codec::chain_input(previous, entry.rollout, entry.revision,
                                                          codec::to_json(entry.event), entry.reason,
                                                          entry.refused, entry.state_hash)));
        previous = entry.hash;
    }
}

// NOLINTNEXTLINE(readability-function-size): one promise a SUBCASE.
inline void store_contract(const OpenStore& open) {
    auto store = opened(open);

    SUBCASE("a new store is empty") {
        CHECK(store->load().empty());
        CHECK(store->owed().empty());
        CHECK(store->journal("").empty());
        CHECK(store->count_of("webhook") == 0);
    }

    SUBCASE("a rollout is what its newest commit says, now and after a restart") {
        const Rollout last = store->commit(looked(store->commit(started("webhook", 1))));
        for (int restart = 0; restart < 2; ++restart) {
            const auto loaded = store->load();
            REQUIRE(loaded.size() == 1);
            CHECK(codec::to_json(loaded[0].rollout) == codec::to_json(last));
            CHECK(loaded[0].policy_text == "name: webhook\n# \"quoted\"\n");
            CHECK(loaded[0].policy_file == "webhook.yaml");
            store.reset();
            store = opened(open);
        }
    }

    SUBCASE("the journal tells every change with who, when and why, chained over all rollouts") {
        Rollout first = store->commit(started("webhook", 1));
        Rollout second = store->commit(started("checkout", 1));
        first = store->commit(looked(first));
        Change refusal = next_change(second, event::Finish{"done"}, "refused: not finishing");
        refusal.event.by = "bob";
        refusal.event.role = "operator";
        refusal.transition.refused = true;
        second = store->commit(refusal);
        store.reset();
        store = opened(open);

        const auto all = store->journal("");
        REQUIRE(all.size() == 4);
        check_chain(all);
        CHECK(all[0].rollout == "webhook-1");
        CHECK(all[1].rollout == "checkout-1");
        CHECK(all[3].rollout == "checkout-1");
        CHECK(all[3].revision == 2);
        CHECK(all[3].refused);
        CHECK_FALSE(all[2].refused);
        CHECK(all[3].event.by == "bob");
        CHECK(all[3].event.at == at(1));
        CHECK(all[3].reason == "refused: not finishing");
        CHECK(all[3].state_hash == sha256_hex(codec::to_json(second)));
        CHECK(all[2].state_hash == sha256_hex(codec::to_json(first)));
    }

    SUBCASE("the journal is read in pages, of one rollout or of all") {
        Rollout webhook = store->commit(started("webhook", 1));
        store->commit(started("checkout", 1));
        for (int i = 0; i < 4; ++i) webhook = store->commit(looked(webhook));
        const auto page = store->journal("webhook-1", 2, 2);
        REQUIRE(page.size() == 2);
        CHECK(page[0].revision == 3);
        CHECK(page[1].revision == 4);
        CHECK(store->journal("webhook-1", 5, 10).empty());
        CHECK(store->journal("nobody-1", 0, 10).empty());
        // Of all rollouts `after` counts entries.
        const auto rest = store->journal("", 4, 10);
        REQUIRE(rest.size() == 2);
        CHECK(rest[0].revision == 4);
        CHECK(store->journal("", 0, 0).empty());
    }

    SUBCASE("a revision is committed once, and none is left out") {
        const Rollout begun = store->commit(started("webhook", 1));
        store->commit(looked(begun));
        CHECK_THROWS_AS(store->commit(looked(begun)), std::runtime_error);
        Change leap = looked(begun);
        leap.transition.next.revision = 9;
        CHECK_THROWS_AS(store->commit(leap), std::runtime_error);
        CHECK_THROWS_AS(store->commit(started("webhook", 1)), std::runtime_error);
        CHECK(store->journal("").size() == 2);
        CHECK(store->load().at(0).rollout.revision == 2);
    }

    SUBCASE("a change without a reason, by nobody, or of a rollout never started is refused") {
        const Rollout begun = store->commit(started("webhook", 1));
        Change change = looked(begun);
        change.transition.reason.clear();
        CHECK_THROWS_AS(store->commit(change), std::runtime_error);
        change = looked(begun);
        change.event.by.clear();
        CHECK_THROWS_AS(store->commit(change), std::runtime_error);
        change = looked(begun);
        change.transition.forget = true;
        CHECK_THROWS_AS(store->commit(change), std::runtime_error);
        change = looked(Rollout{});
        change.transition.next.id = "ghost-1";
        change.transition.next.name = "ghost";
        CHECK_THROWS_AS(store->commit(change), std::runtime_error);
        change = started("pinned", 1);
        change.transition.next.policy_hash = "another policy's";
        CHECK_THROWS_AS(store->commit(change), std::runtime_error);
        CHECK(store->journal("").size() == 1);
        CHECK(store->commit(looked(begun)).revision == 2);
    }

    SUBCASE("notices are owed from the commit that decided them until they are settled") {
        Change begin = started("webhook", 1);
        owe(begin, "0:slack");
        owe(begin, "1:log");
        const Rollout begun = store->commit(begin);
        Change look = looked(begun);
        owe(look, "0:slack");
        store->commit(look);
        store.reset();
        store = opened(open);
        auto owed = store->owed();
        REQUIRE(owed.size() == 3);
        CHECK(owed[0].message.id == "webhook-1/1/0/0:slack");
        CHECK(owed[1].channel == "1:log");
        CHECK(owed[2].message.revision == 2);
        CHECK(owed[2].message.at == look.event.at);
        CHECK(owed[2].message.rollout == "webhook-1");
        CHECK(owed[2].message.notice.text == "50 % \"now\"");
        CHECK(owed[2].message.notice.severity == Severity::warning);
        store->settle(owed[1].message.id, "");
        store->settle(owed[1].message.id, "");
        store->settle(owed[2].message.id, "the channel is archived");
        store.reset();
        store = opened(open);
        owed = store->owed();
        REQUIRE(owed.size() == 1);
        CHECK(owed[0].message.id == "webhook-1/1/0/0:slack");
    }

    SUBCASE("a commit that fails leaves nothing of itself") {
        Change begin = started("webhook", 1);
        owe(begin, "0:slack");
        const Rollout begun = store->commit(begin);
        Change look = looked(begun);
        owe(look, "0:slack");
        look.owed.push_back(begin.owed.front());  // an id that is taken
        CHECK_THROWS_AS(store->commit(look), std::runtime_error);
        CHECK(store->journal("").size() == 1);
        CHECK(store->load().at(0).rollout.revision == 1);
        CHECK(store->owed().size() == 1);
        look.owed.pop_back();
        CHECK(store->commit(look).revision == 2);
        CHECK(store->owed().size() == 2);
    }

    SUBCASE("what runs is loaded, and of what is over the newest of each name") {
        over(*store, "webhook", 1, Status::rolled_back);
        over(*store, "webhook", 2, Status::finished);
        over(*store, "checkout", 1, Status::rolled_back);
        store->commit(started("webhook", 3));
        CHECK(ids_of(store->load()) ==
              std::vector<std::string>{"checkout-1", "webhook-2", "webhook-3"});
        CHECK(store->count_of("webhook") == 3);
        CHECK(store->count_of("checkout") == 1);
        CHECK(store->count_of("other") == 0);
    }

    SUBCASE("hostile text comes back as it was, but for bytes that are no text") {
        const Rollout begun = store->commit(started("webhook", 1));
        const std::string reason =
            std::string("'; DROP TABLE journal; --\0 \x01\n", 29) + "\xC3\xA9";
        Change pause = next_change(begun, event::Pause{reason}, reason + "\xFF");
        pause.event.by = "m\"allory\n";
        store->commit(pause);
        store.reset();
        store = opened(open);
        const auto journal = store->journal("webhook-1", 1);
        REQUIRE(journal.size() == 1);
        CHECK(std::get<event::Pause>(journal[0].event.what).reason == reason);
        CHECK(journal[0].event.by == "m\"allory\n");
        CHECK(journal[0].reason == reason + "\xEF\xBF\xBD");
        check_chain(store->journal(""));
    }
}

}  // namespace canaryd::test
