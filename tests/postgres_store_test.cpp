// The durable record in PostgreSQL: what it promises as a store, directly and through a pooler with
// one connection, and what the lease and the route in the same database add to that.
//
//   tests/postgres/server.py --run build/canaryd_tests --test-suite=postgres-store
#include <doctest/doctest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "canaryd/lease.hpp"
#include "daemon/postgres.hpp"
#include "daemon/stores/stores.hpp"
#include "daemon/verify.hpp"
#include "tests/store_contract.hpp"

using namespace canaryd;
using namespace canaryd::test;

namespace {

std::optional<std::string> address(const char* variable) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return value;
    MESSAGE("skipped: ", std::string(variable), " names no server; tests/run postgres starts one");
    return std::nullopt;
}

Connection connection_to(const std::string& url) {
    Connection connection;
    connection.name = "shop";
    connection.kind = "postgres";
    connection.url = url;
    return connection;
}

Settings settings_of(const std::string& url) {
    Settings settings;
    settings.store_kind = "postgres";
    settings.store_connection = "shop";
    settings.connections["shop"] = connection_to(url);
    return settings;
}

void psql(const std::string& url, const std::string& arguments) {
    const std::string command =
        "psql -X -q -v ON_ERROR_STOP=1 '" + url + "' " + arguments + " >/dev/null 2>&1";
    REQUIRE(std::system(command.c_str()) == 0);  // NOLINT: a test's own words
}

/// The schema as deploy/sql makes it, on a database where nothing of it was.
void make_schema(const std::string& url) {
    psql(url, "-c 'drop schema if exists canaryd cascade'");
    psql(url, std::string("-f " CANARYD_SOURCE_DIR "/deploy/sql/0005_store.sql"));
}

/// A store whose lease is ours, and let go at its end.
class HeldStore : public Store {
public:
    HeldStore(OpenedStore opened, Loop& loop) : opened_(std::move(opened)), loop_(loop) {
        const auto holder = loop_.run(opened_.lease->take());
        REQUIRE_MESSAGE(!holder, "held by " << holder.value_or(""));
    }
    ~HeldStore() override { loop_.run(opened_.lease->release()); }
    HeldStore(const HeldStore&) = delete;
    HeldStore& operator=(const HeldStore&) = delete;

    Async<std::vector<Loaded>> load() override { return opened_.store->load(); }
    Async<> commit(Event event, Transition transition, std::vector<Owed> owed) override {
        return opened_.store->commit(std::move(event), std::move(transition), std::move(owed));
    }
    Async<std::vector<Owed>> owed() override { return opened_.store->owed(); }
    Async<> settle(std::string id, std::string why) override {
        return opened_.store->settle(std::move(id), std::move(why));
    }
    Async<std::vector<JournalEntry>> journal(std::string rollout, std::uint64_t after,
                                             std::size_t limit) override {
        return opened_.store->journal(std::move(rollout), after, limit);
    }
    Async<std::uint64_t> count_of(std::string name) override {
        return opened_.store->count_of(std::move(name));
    }

private:
    OpenedStore opened_;
    Loop& loop_;
};

/// With CANARYD_POOLED canaryd goes through the pooler, and the test's own hands go straight.
bool pooled() {
    return std::getenv("CANARYD_POOLED") != nullptr;
}

OpenedStore open(const std::string& url, Loop& loop) {
    const StorePools pools{loop.executor(), loop.executor(), loop.executor()};
    return make_store(settings_of(pooled() ? address("CANARYD_PGBOUNCER").value() : url), pools);
}

OpenStore held_at(const std::string& url) {
    return [url](Loop& loop) { return std::make_unique<HeldStore>(open(url, loop), loop); };
}

/// A daemon's store and lease, as one of several.
struct Daemon {
    explicit Daemon(const std::string& url) : opened(open(url, loop)) {}
    std::optional<std::string> take() { return loop.run(opened.lease->take()); }
    bool renew() { return loop.run(opened.lease->renew()); }
    void release() { loop.run(opened.lease->release()); }
    void commit(const Change& change) {
        loop.run(opened.store->commit(change.event, change.transition, change.owed));
    }
    std::vector<Loaded> load() { return loop.run(opened.store->load()); }
    Loop loop;
    OpenedStore opened;
};

/// The row as it is; orders are not expected of it.
class PlainRouter : public Router {
public:
    explicit PlainRouter(const std::string& url) : database_(connection_to(url)) {}
    Async<> set(Order) override { throw std::logic_error("an order past the lease"); }
    Async<Served> read(std::string name) override {
        const auto row = database_.read("select weight, revision from canaryd.served($1)", name);
        Served served;
        served.weight.basis_points = static_cast<int>(row.integer(0, 0));
        served.revision = static_cast<std::uint64_t>(row.integer(0, 1));
        co_return served;
    }

private:
    postgres::Database database_;
};

/// Everything that deploy/sql makes, and the first user's tables.
void make_world(const std::string& url) {
    psql(url,
         "-c 'drop schema if exists canaryd cascade' -c 'drop schema public cascade'"
         " -c 'create schema public'"
         " -c 'create table public.users (id uuid primary key)'"
         " -c 'insert into public.users select gen_random_uuid() from generate_series(1, 200)'");
    for (const char* file : {"0001_user_schema", "0002_canaryd", "0003_routing", "0004_monitoring",
                             "0005_store", "0006_flags", "0007_emergency"}) {
        psql(url, std::string("-f " CANARYD_SOURCE_DIR "/deploy/sql/") + file + ".sql");
    }
}

Policy user_policy() {
    Policy policy;
    policy.name = "unified-webhook";
    policy.canary = "wa-webhook-unified";
    policy.router.kind = "sql";
    policy.router.connection = "shop";
    policy.steps = {{"week4", Weight{1'000}, Duration{0}},
                    {"second", Weight{5'000}, Duration{0}},
                    {"third", everybody, Duration{0}}};
    return policy;
}

/// The next change, which orders this weight.
Change ordered(const Rollout& before, Weight weight, What what, const std::string& reason) {
    Change change = next_change(before, std::move(what), reason);
    change.transition.next.desired = weight;
    change.transition.next.ordered = change.transition.next.revision;
    return change;
}

/// Somebody with SQL.
class Hand {
public:
    explicit Hand(const std::string& url) : database_(connection_to(url)) {}
    void run(const std::string& sql) { database_.write(sql, postgres::Params()); }
    std::string value(const std::string& sql) {
        const auto rows = database_.read(sql, postgres::Params());
        return rows.empty() || rows.is_null(0, 0) ? "" : rows.text(0, 0);
    }

private:
    postgres::Database database_;
};

/// The first user's database with the route, the store and a daemon that holds its lease.
struct OneDatabase {
    explicit OneDatabase(const std::string& url) : hand(url), daemon(url) {
        REQUIRE_FALSE(daemon.take());
        router = daemon.opened.with_store(user_policy(), std::make_shared<PlainRouter>(url));
    }
    Hand hand;
    Daemon daemon;
    std::shared_ptr<Router> router;
};

/// What loading it says; empty: it loads.
std::string refusal(const std::string& url) {
    Daemon daemon(url);
    std::string told;
    bool held = false;
    try {
        const auto holder = daemon.take();
        REQUIRE(!holder);
        held = true;
        daemon.load();
    } catch (const StoreUnusable& error) {
        told = error.what();
    }
    if (held) daemon.release();
    return told;
}

bool says(const std::string& text, const std::string& part) {
    INFO(text);
    return text.find(part) != std::string::npos;
}

/// Two rollouts with eight entries: webhook-1 has seq 1, 3, 5, 7, checkout-1 the others.
void fill(const std::string& url) {
    const auto store = opened(held_at(url));
    Rollout webhook = store->commit(started("webhook", 1));
    Rollout checkout = store->commit(started("checkout", 1));
    for (int i = 0; i < 3; ++i) {
        webhook = store->commit(looked(webhook));
        checkout = store->commit(looked(checkout));
    }
}

std::string refusal_after(const std::string& url, const std::string& sql) {
    make_schema(url);
    fill(url);
    Hand hand(url);
    hand.run("drop trigger journal_is_append_only on canaryd.journal");
    hand.run(sql);
    return refusal(url);
}

}  // namespace

TEST_SUITE("postgres-store") {
    TEST_CASE("the PostgreSQL store keeps the promises of a store") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        make_schema(*url);
        store_contract(held_at(*url));
    }

    TEST_CASE("the PostgreSQL store keeps them through a pooler with one connection") {
        const auto url = address("CANARYD_POSTGRES");
        const auto pooler = address("CANARYD_PGBOUNCER");
        if (!url || !pooler) return;
        make_schema(*url);
        store_contract(held_at(*pooler));
    }

    TEST_CASE("a database without the schema, or with another one, is refused with the mend") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        Hand hand(*url);
        hand.run("drop schema if exists canaryd cascade");
        CHECK(says(refusal(*url), "has no canaryd schema"));
        CHECK(says(refusal(*url), "canaryctl migrate --database"));
        make_schema(*url);
        hand.run(
            "create or replace function canaryd.store_version() returns integer language sql"
            " immutable as $$ select 2 $$");
        CHECK(says(refusal(*url), "has schema version 2 and this canaryd knows 1"));
        hand.run(
            "create or replace function canaryd.store_version() returns integer language sql"
            " immutable as $$ select 0 $$");
        CHECK(says(refusal(*url), "has schema version 0, this canaryd needs 1"));
    }

    TEST_CASE("the schema can be applied again and nobody but its owner has a right in it") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        make_schema(*url);
        fill(*url);
        psql(*url, "-f " CANARYD_SOURCE_DIR "/deploy/sql/0005_store.sql");
        CHECK(refusal(*url).empty());
        Hand hand(*url);
        CHECK(hand.value("select count(*)::text from canaryd.journal") == "8");
        CHECK(hand.value("select count(*)::text from pg_proc where pronamespace ="
                         " 'canaryd'::regnamespace and has_function_privilege('public', oid,"
                         " 'execute')") == "0");
        CHECK_THROWS_WITH_AS(hand.run("update canaryd.journal set reason = 'better'"),
                             doctest::Contains("append-only"), postgres::Error);
        CHECK_THROWS_WITH_AS(hand.run("delete from canaryd.journal"),
                             doctest::Contains("append-only"), postgres::Error);
        CHECK_THROWS_WITH_AS(hand.run("truncate canaryd.journal cascade"),
                             doctest::Contains("append-only"), postgres::Error);
    }

    TEST_CASE("a journal that was tampered with is refused, naming the first bad entry") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        const auto after = [&](const std::string& sql) { return refusal_after(*url, sql); };
        CHECK(after("select 1").empty());
        CHECK(says(after("update canaryd.journal set reason = 'all is well' where seq = 5"),
                   "journal entry 5 (webhook-1, revision 3) was changed: its hash"));
        CHECK(says(after("update canaryd.journal set by = 'mallory' where seq = 2"),
                   "journal entry 2 (checkout-1, revision 1) was changed: who and when"));
        CHECK(says(after("update canaryd.journal set at = at + interval '1 ms' where seq = 2"),
                   "journal entry 2 (checkout-1, revision 1) was changed: who and when"));
        CHECK(
            says(after("delete from canaryd.journal where seq = 5"), "journal entry 5 is missing"));
        CHECK(
            says(after("delete from canaryd.journal where seq = 1"), "journal entry 1 is missing"));
        CHECK(says(after("delete from canaryd.journal where seq = 8"),
                   "checkout-1 is at revision 4 and its newest journal entry is number 6"));
        CHECK(says(after("update canaryd.rollout set state = replace(state, '\"desired\":1000',"
                         " '\"desired\":9999') where id = 'webhook-1'"),
                   "journal entry 7 (webhook-1, revision 4) left webhook-1 in another state"));
        CHECK(says(after("update canaryd.rollout set policy_text = 'name: webhook'"),
                   "its policy text was changed"));
    }

    TEST_CASE("a journal with a NUL in a name and a reason is as good as any") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        make_schema(*url);
        {
            const auto store = opened(held_at(*url));
            const Rollout begun = store->commit(started("webhook", 1));
            Change pause = next_change(begun, event::Pause{"x"}, std::string("a\0b", 3));
            pause.event.by = std::string("al\0ice", 6);
            store->commit(pause);
        }
        CHECK(refusal(*url).empty());
        CHECK(Hand(*url).value("select reason from canaryd.journal where seq = 2") ==
              "a\xE2\x90\x80"
              "b");
    }

    TEST_CASE("one of two daemons has the lease, and the other one is told which") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        make_schema(*url);
        Daemon first(*url), second(*url);
        CHECK_FALSE(first.take());
        const auto holder = second.take();
        REQUIRE(holder);
        CHECK(says(*holder, "pid "));
        CHECK(first.renew());
        CHECK_FALSE(second.renew());
        CHECK_THROWS_AS(second.commit(started("webhook", 1)), LeaseLost);
        first.commit(started("webhook", 1));
        CHECK(second.load().size() == 1);
        first.release();
        CHECK_FALSE(second.take());
        CHECK_FALSE(first.renew());
        second.release();
    }

    TEST_CASE("a daemon that slept past its lease changes nothing, whoever has it now") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        make_schema(*url);
        Hand hand(*url);
        Daemon old(*url), fresh(*url);
        REQUIRE_FALSE(old.take());
        old.commit(started("webhook", 1));
        const Rollout begun = old.load().at(0).rollout;
        hand.run("update canaryd.lease set expires_at = clock_timestamp()");
        SUBCASE("it ran out, and nobody took it: it is still ours") {
            old.commit(looked(begun));
            CHECK(old.renew());
            CHECK(fresh.take());
            old.release();
        }
        SUBCASE("somebody took it") {
            REQUIRE_FALSE(fresh.take());
            CHECK_THROWS_AS(old.commit(looked(begun)), LeaseLost);
            CHECK_FALSE(old.renew());
            CHECK(hand.value("select count(*)::text from canaryd.journal") == "1");
            fresh.commit(looked(begun));
            CHECK(hand.value("select count(*)::text from canaryd.journal") == "2");
            fresh.release();
            // And when it is free again, what the old one still holds is no proof of anything.
            CHECK_THROWS_AS(old.commit(looked(looked(begun).transition.next)), LeaseLost);
        }
        SUBCASE("an epoch that comes again after a restored backup is not the same lease") {
            hand.run("update canaryd.lease set nonce = 'of a standby that lagged'");
            CHECK_THROWS_AS(old.commit(looked(begun)), LeaseLost);
        }
    }

    TEST_CASE("where the route is in the store's database one transaction changes all of it") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        make_world(*url);
        OneDatabase world(*url);
        Hand& hand = world.hand;
        Daemon& daemon = world.daemon;
        const auto router = world.router;
        const auto read = [&] { return daemon.loop.run(router->read("unified-webhook")); };
        const auto phase = [&](const std::string& name, const std::string& what) {
            return hand.value("select (" + what + ")::text from migration_status where phase = '" +
                              name + "'");
        };
        read();
        Change begin = started("unified-webhook", 1);
        begin.transition.next.ordered = 1;
        daemon.commit(begin);
        Rollout now = begin.transition.next;
        CHECK(read().weight == Weight{1'000});
        CHECK(hand.value("select reason from canaryd.route") == "unified-webhook-1 revision 1");
        CHECK(phase("week4", "percentage || '/' || unified_users || '/' || total_users") ==
              "10/20/200");
        CHECK(phase("week4", "success_criteria_met") == "false");

        Change raise = ordered(now, Weight{5'000}, event::RaiseLapsed{}, "week4 is proven");
        raise.transition.next.proven = true;
        SUBCASE("a raise: the step that is left is met by its proof, the next one begins") {
            daemon.commit(raise);
            CHECK(read().weight == Weight{5'000});
            CHECK(phase("week4", "success_criteria_met and completed_at is not null") == "true");
            CHECK(phase("week5",
                        "percentage = 50 and started_at is not null and completed_at is"
                        " null and not success_criteria_met") == "true");
            SUBCASE("and when the raise lapses, it is as before") {
                now = raise.transition.next;
                daemon.commit(ordered(now, Weight{1'000}, event::RaiseLapsed{}, "lapsed"));
                CHECK(read().weight == Weight{1'000});
                CHECK(phase("week4", "completed_at is null and not success_criteria_met") ==
                      "true");
                CHECK(phase("week5", "percentage = 0 and started_at is null") == "true");
            }
        }
        SUBCASE("after the last bake the phase is that of the soak") {
            Change top = ordered(now, everybody, event::RaiseLapsed{}, "everybody");
            top.transition.next.step = 2;
            daemon.commit(top);
            Change soak = looked(top.transition.next);
            soak.transition.next.proven = true;
            soak.transition.soaking = soak.transition.soak_begins = true;
            daemon.commit(soak);
            CHECK(phase("week6",
                        "percentage = 100 and completed_at is not null and"
                        " success_criteria_met") == "true");
            CHECK(phase("week7+",
                        "percentage = 100 and started_at is not null and completed_at is null and"
                        " not success_criteria_met") == "true");
            SUBCASE("until somebody finishes") {
                Change end = next_change(soak.transition.next, event::Finish{"done"}, "finished");
                end.transition.next.status = Status::finished;
                end.transition.soaking = true;
                daemon.commit(end);
                CHECK(phase("week7+", "completed_at is not null and success_criteria_met") ==
                      "true");
            }
            SUBCASE("also when it is rolled back, and the weeks before stay proven") {
                Change back =
                    ordered(soak.transition.next, nobody, event::RollBack{"late"}, "late");
                back.transition.next.status = Status::rolled_back;
                back.transition.next.rolled_back_at = back.event.at;
                back.transition.soaking = true;
                daemon.commit(back);
                CHECK(hand.value("select phase from migration_rollbacks") == "week7+");
                CHECK(phase("week7+",
                            "percentage = 0 and completed_at is not null and"
                            " not success_criteria_met") == "true");
                CHECK(phase("week6", "success_criteria_met") == "true");
            }
        }
        SUBCASE("a raise without proof, by a person's override, is no success") {
            raise.transition.next.proven = false;
            daemon.commit(raise);
            CHECK(phase("week4", "success_criteria_met or completed_at is null") == "false");
        }
        SUBCASE("a raise on a row that somebody has changed since waits for the next read") {
            hand.run("update canaryd.route set weight = 500, by = 'bob', reason = 'careful'");
            daemon.commit(raise);
            CHECK(read().weight == Weight{500});
        }
        SUBCASE("a rollback: the row, its phase, and one line with who and why") {
            hand.run("update canaryd.route set weight = 5000, by = 'bob', reason = 'hurry'");
            Change back =
                ordered(now, nobody, event::RollBack{"bad build"}, "rolled back: bad build");
            back.event.by = "alice";
            back.transition.next.status = Status::rolled_back;
            back.transition.next.rolled_back_at = back.event.at;
            back.transition.next.canary.requests = 200;
            back.transition.next.canary.events = {13};
            bool counted = false;
            SUBCASE("with the figures of the step where there are no metrics") {
                counted = false;
            }
            SUBCASE("with those of the table where there are some") {
                counted = true;
                hand.run(
                    "insert into webhook_metrics (webhook_name, started_at, created_at, status,"
                    " duration_ms) select 'wa-webhook-unified', t, t, case when n <= 5 then 'error'"
                    " else 'success' end, n * 10 from generate_series(1, 20) n, (select"
                    " timestamptz 'epoch' + interval '" +
                    std::to_string(back.event.at.time_since_epoch().count() / 1'000) +
                    " s' - interval '1 minute') at (t)");
            }
            daemon.commit(back);
            CHECK(read().weight == nobody);
            CHECK(hand.value("select phase || '/' || reason || '/' || rolled_back_by from"
                             " migration_rollbacks") == "week4/rolled back: bad build/alice");
            CHECK(hand.value("select error_rate || '/' || coalesce(latency_p95, 0) from"
                             " migration_rollbacks") == (counted ? "25.00/190" : "6.50/0"));
            CHECK(hand.value("select count(*)::text from canaryd.emergency") == "0");
            CHECK(phase("week4", "percentage = 0 and completed_at is not null") == "true");
        }
        SUBCASE("the user's tables may be locked or gone: a rollback is not stopped by them") {
            Change back = ordered(now, nobody, event::RollBack{"bad"}, "rolled back: bad");
            back.transition.next.status = Status::rolled_back;
            back.transition.next.rolled_back_at = back.event.at;
            SUBCASE("locked") {
                postgres::Database other(connection_to(*url));
                postgres::Transaction lock(other, postgres::Transaction::Kind::write);
                lock.run("lock table migration_status in access exclusive mode");
                daemon.commit(back);
                CHECK(read().weight == nobody);
            }
            SUBCASE("gone") {
                hand.run("drop table migration_status cascade");
                hand.run("alter table migration_rollbacks drop column user_complaints cascade");
                daemon.commit(back);
                CHECK(read().weight == nobody);
            }
            CHECK(daemon.load().at(0).rollout.status == Status::rolled_back);
        }
        SUBCASE("an order by itself asks for the lease as well") {
            Order order;
            order.name = "unified-webhook";
            order.weight = Weight{2'000};
            order.revision = read().revision + 1;
            order.by = "canaryd";
            order.reason = "again";
            daemon.loop.run(router->set(order));
            CHECK(read().weight == Weight{2'000});
            hand.run("update canaryd.lease set nonce = 'of another one'");
            order.weight = nobody;
            ++order.revision;
            CHECK_THROWS_AS(daemon.loop.run(router->set(order)), LeaseLost);
            CHECK(read().weight == Weight{2'000});
        }
        hand.run("update canaryd.lease set nonce = null");
    }

    TEST_CASE(
        "a row that has the weight already becomes canaryd's, one that a person set to 0 not") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        make_world(*url);
        OneDatabase world(*url);
        Hand& hand = world.hand;
        Daemon& daemon = world.daemon;
        const auto router = world.router;
        Change begin = started("unified-webhook", 1);
        begin.transition.next.ordered = 1;
        SUBCASE("a draw that was taken over") {
            hand.run("update canaryd.route set weight = 1000, by = 'taken over', reason = 'drawn'");
            daemon.loop.run(router->read("unified-webhook"));
            daemon.commit(begin);
            CHECK(hand.value("select weight || ' ' || by || ' ' || managed from canaryd.route") ==
                  "1000 canaryd true");
        }
        SUBCASE("an operator's rollback") {
            hand.run("update canaryd.route set weight = 1000, by = 'maria', reason = 'x'");
            hand.run("update canaryd.route set weight = 0, by = 'maria', reason = 'stop'");
            daemon.loop.run(router->read("unified-webhook"));
            begin.transition.next.desired = nobody;
            daemon.commit(begin);
            CHECK(hand.value("select weight || ' ' || by || ' ' || reason from canaryd.route") ==
                  "0 maria stop");
        }
        daemon.release();
    }

    TEST_CASE("a lease of a clock that was set back is not held for ever") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        make_schema(*url);
        Hand hand(*url);
        Daemon old(*url), fresh(*url);
        REQUIRE_FALSE(old.take());
        hand.run(
            "update canaryd.lease set renewed_at = clock_timestamp() + interval '1 year',"
            " expires_at = clock_timestamp() + interval '1 year'");
        CHECK_FALSE(fresh.take());
        fresh.release();
    }

    TEST_CASE(
        "what somebody else's lock or the server's state forbids is certainly not committed") {
        const auto url = address("CANARYD_POSTGRES");
        if (!url) return;
        make_schema(*url);
        Daemon daemon(*url);
        REQUIRE_FALSE(daemon.take());
        daemon.commit(started("webhook", 1));
        const Rollout begun = daemon.load().at(0).rollout;
        {
            postgres::Database other(connection_to(*url));
            postgres::Transaction lock(other, postgres::Transaction::Kind::write);
            lock.run("lock table canaryd.journal in access exclusive mode");
            CHECK_THROWS_AS(daemon.commit(looked(begun)), StoreReadOnly);
        }
        Hand hand(*url);
        // What a role's settings are a connection learns when it is made, and a pooler keeps it.
        const auto reconnect = [&url] {
            if (pooled()) {
                Hand(*url).run(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = "
                    "current_database() and pid <> pg_backend_pid()");
            }
        };
        hand.run("alter role current_user set default_transaction_read_only = on");
        reconnect();
        {
            Daemon reader(*url);
            CHECK_THROWS_AS(reader.take(), StoreReadOnly);
        }
        Hand(*url).run("set transaction read write");  // of no effect: each statement is by itself
        psql(*url,
             "-c 'set default_transaction_read_only = off' -c 'alter role current_user reset "
             "default_transaction_read_only'");
        reconnect();
        daemon.commit(looked(begun));
        CHECK(daemon.load().at(0).rollout.revision == 2);
        daemon.release();
    }
}
