// The route in the user's own database, as deploy/sql makes it: the promises of every router, the
// look-ups of applications, the flags that follow, and what goes wrong.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cctype>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "canaryd/routing.hpp"
#include "tests/has.hpp"
#include "tests/postgres_world.hpp"
#include "tests/router_contract.hpp"

namespace canaryd::testing {
using canaryd::testing::has;

namespace {

/// A database with `users` users, canaryd's migration, and the daemon's own login.
class Shop : public RouteRow {
public:
    explicit Shop(int users = 0, std::string route = "rides") : route_(std::move(route)) {
        sql().execute(
            "create table users (id uuid primary key);"
            "insert into users select md5(i::text)::uuid from generate_series(1, " +
            std::to_string(users) + ") i");
        std::vector<std::filesystem::path> files;
        const std::filesystem::path folder = std::string(CANARYD_SOURCE_DIR) + "/deploy/sql";
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            const std::string file = entry.path().filename().string();
            if (file.front() == '0' && entry.path().extension() == ".sql")
                files.push_back(entry.path());
        }
        std::sort(files.begin(), files.end());
        for (const auto& file : files) {
            apply(file);
        }
        apply(folder / "grants.sql");
    }
    [[nodiscard]] std::string name() const override { return route_; }
    std::shared_ptr<Router> router(Pool pool) override {
        return make_postgres_router(policy(), login_, std::move(pool));
    }
    std::shared_ptr<Router> router_with_history(const Policy& policy, Pool pool) {
        return make_postgres_router(policy, login_, pool, pool);
    }
    void by_hand(int weight, int revision, const std::string& by) override {
        sql().write("update canaryd.route set weight = $2, revision = $3, by = $4 where name = $1",
                    route_, weight, revision, by);
    }

    [[nodiscard]] Policy policy() const {
        Policy policy = postgres_policy();
        policy.name = route_;
        policy.router.readers = readers;
        return policy;
    }
    void log_in_as(const std::string& user) { login_ = database_.connection(user); }
    TestDatabase& database() { return database_; }
    /// Of the database itself, which connections learn when they are made.
    void alter(const std::string& what) {
        database_.admin().write("alter database " + database_.name() + " " + what);
        database_.cut_connections();
    }
    postgres::Database& sql() { return database_.sql(); }
    /// Users that the function sends to the canary, and those with the flag.
    std::int64_t on_function() {
        return sql()
            .read(
                "select count(*) from users"
                " where public.get_webhook_route(id) = 'wa-webhook-unified'")
            .integer(0, 0);
    }
    std::int64_t on_column() {
        return sql().read("select count(*) from users where use_unified_webhook").integer(0, 0);
    }

    std::optional<Readers> readers;

private:
    void apply(const std::filesystem::path& file) {
        std::ifstream stream(file);
        sql().execute(std::string(std::istreambuf_iterator<char>(stream), {}));
    }

    TestDatabase database_;
    std::string route_;
    Connection login_ = database_.connection("canaryd");  // the least rights that do
};

constexpr const char* flagged = "unified-webhook";

/// The row that a single machine's applications read.
class SqliteRow : public RouteRow {
public:
    explicit SqliteRow(Connection file) : file_(std::move(file)) {}
    [[nodiscard]] std::string name() const override { return flagged; }
    std::shared_ptr<Router> router(Pool pool) override {
        return make_sqlite_router(file_, std::move(pool));
    }
    void by_hand(int, int, const std::string&) override {}

private:
    Connection file_;
};

std::string upper(std::string id) {
    for (char& letter : id) letter = static_cast<char>(std::toupper(letter));
    return id;
}

/// Until the flags follow, or too long: the progress that was seen last.
std::string followed(const Route& route) {
    for (int i = 0; i < 600 && !has(route.progress(), "all follow the route"); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
    return route.progress();
}

}  // namespace

TEST_SUITE("postgres-router") {
    TEST_CASE("the route row in PostgreSQL keeps every router's promises") {
        if (has_server()) route_contract([] { return std::make_unique<Shop>(); });
    }

    TEST_CASE("look-ups follow an order at once, and agree with canaryd on every user") {
        if (!has_server()) return;
        Shop shop(2000, flagged);
        Route route(shop);
        route.set(order(3000, 1));
        const auto users = shop.sql().read(
            "select id, public.get_webhook_route(id) = 'wa-webhook-unified' from users");
        int differ = 0;
        for (int row = 0; row < users.size(); ++row) {
            differ += users.boolean(row, 1) != on_canary(flagged, users.text(row, 0), Weight{3000});
        }
        CHECK(users.size() == 2000);
        CHECK(differ == 0);
        route.set(order(0, 2));
        CHECK(shop.on_function() == 0);
    }

    TEST_CASE("10,000 ids of many shapes get one answer from SQL, canaryd and a row in SQLite") {
        if (!has_server()) return;
        Shop shop(0, flagged);
        Route route(shop);
        route.set(order(3000, 1));
        const Folder folder;
        const Connection file{"route", "sqlite", folder.file("route.db"), "", ""};
        SqliteRow row(file);
        Route in_sqlite(row);
        in_sqlite.set(order(3000, 1));
        const Weight weight = in_sqlite.read().weight;
        std::mt19937_64 random(7);
        boost::json::array ids;
        const auto uuid =
            shop.sql().read("select md5(n::text)::uuid::text from generate_series(1, 4000) n");
        for (int i = 0; i < 4000; ++i) {
            const std::string id = uuid.text(i, 0);
            ids.emplace_back(i % 4 == 0 ? upper(id) : id);
        }
        const std::array<std::string, 8> pieces{"a", "Z", "\\", "'", "\xC3\xA9", "\n", " ", "9"};
        for (int i = 0; i < 2000; ++i) {
            ids.emplace_back(std::to_string(i));
            ids.emplace_back("+2507" + std::to_string(10'000'000 + random() % 90'000'000));
            std::string text;
            for (std::uint64_t n = random() % 40; n > 0; --n) text += pieces[random() % 8];
            ids.emplace_back(text);
        }
        REQUIRE(ids.size() == 10'000);
        const auto answers = shop.sql().read(
            "select id, canaryd.on_canary($1, id), canaryd.bucket($1, id)"
            " from json_array_elements_text($2::json) id",
            std::string(flagged), boost::json::serialize(ids));
        REQUIRE(answers.size() == 10'000);
        int on = 0, differ = 0;
        for (int i = 0; i < answers.size(); ++i) {
            const std::string id = answers.text(i, 0);
            const bool ours = on_canary(flagged, id, weight);
            on += ours;
            differ +=
                ours != answers.boolean(i, 1) || bucket_of(flagged, id) != answers.integer(i, 2);
        }
        CHECK(differ == 0);
        CHECK(on > 2800);
        CHECK(on < 3200);
    }

    TEST_CASE("an exposure that nobody renews ends by itself, for readers and for canaryd") {
        if (!has_server()) return;
        Shop shop(200, flagged);
        Route route(shop);
        Order lease = order(10'000, 1);
        lease.valid_until = TimePoint(std::chrono::hours{24 * 365 * 100});
        route.set(lease);
        CHECK(shop.on_function() == 200);
        lease.revision = 2;
        lease.valid_until = TimePoint(Duration(1));
        route.set(lease);
        CHECK(shop.on_function() == 0);
        CHECK(route.read().weight == nobody);
        CHECK(route.read().by == "canaryd");
        lease.revision = 3;
        lease.valid_until.reset();
        route.set(lease);
        CHECK(shop.on_function() == 200);
    }

    TEST_CASE("the flags follow the newest decision, and the route does not wait for them") {
        if (!has_server()) return;
        Shop shop(5000, flagged);
        Route route(shop);
        route.set(order(3000, 1));
        CHECK_MESSAGE(has(followed(route), "all follow the route"), route.progress());
        CHECK(shop.on_column() == shop.on_function());
        CHECK(shop.on_column() > 1000);
        route.set(order(10'000, 2));
        route.set(order(0, 3));
        CHECK(shop.on_function() == 0);
        for (int i = 0; i < 600 && shop.on_column() > 0; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds{50});
        CHECK(shop.on_column() == 0);
    }

    TEST_CASE("flags that a crash left behind are followed by the next daemon") {
        if (!has_server()) return;
        Shop shop(5000, flagged);
        Route route(shop);
        route.set(order(5000, 1));
        route.stop();  // in the middle
        route.restart();
        CHECK(route.read().weight == Weight{5000});
        CHECK_MESSAGE(has(followed(route), "all follow the route"), route.progress());
        CHECK(shop.on_column() == shop.on_function());
        // And so is what somebody did by hand, when canaryd reads it.
        shop.by_hand(0, 2, "bob");
        CHECK(route.read().by == "bob");
        for (int i = 0; i < 600 && shop.on_column() > 0; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds{50});
        CHECK(shop.on_column() == 0);
    }

    TEST_CASE("a table of users that somebody has locked stops the flags and not the route") {
        if (!has_server()) return;
        Shop shop(500, flagged);
        Route route(shop);
        shop.sql().write("begin");
        shop.sql().write("lock table users");
        route.set(order(5000, 1));
        CHECK(route.read().weight == Weight{5000});
        for (int i = 0; i < 200 && !has(route.progress(), "stopped"); ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds{50});
        CHECK_MESSAGE(has(route.progress(), "stopped, tried again by itself"), route.progress());
        route.set(order(0, 2));
        CHECK(route.read().weight == nobody);
        shop.sql().write("commit");
        CHECK_MESSAGE(has(followed(route), "all follow the route"), route.progress());
        CHECK(shop.on_column() == 0);
    }

    TEST_CASE("programs that ask the function only have no flags that follow") {
        if (!has_server()) return;
        Shop shop(100, flagged);
        shop.readers = Readers::function;
        Route route(shop);
        route.set(order(5000, 1));
        CHECK(route.read().weight == Weight{5000});
        CHECK(route.progress().empty());
        CHECK(shop.on_column() == 0);
    }

    TEST_CASE("canaryd.rollback() by hand is read with who and why, and an old raise loses") {
        if (!has_server()) return;
        Shop shop(100, flagged);
        Route route(shop);
        route.set(order(5000, 1));
        shop.sql().read("select canaryd.rollback('too slow', $1)", flagged);
        CHECK(route.read().weight == nobody);
        CHECK_FALSE(route.read().by.empty());
        CHECK(route.read().by != "canaryd");
        CHECK(route.read().reason == "too slow");
        route.set(order(5000, 2));
        CHECK(route.read().weight == nobody);
    }

    TEST_CASE("a cut or refused connection is thrown, and the next order gets through") {
        if (!has_server()) return;
        Shop shop;
        Route route(shop);
        route.set(order(5000, 1));
        shop.database().cut_connections();
        CHECK(route.read().weight == Weight{5000});
        shop.alter("allow_connections false");
        CHECK(has(route.failure(), "not currently accepting connections"));
        CHECK_THROWS_AS(route.set(order(0, 2)), std::runtime_error);
        shop.alter("allow_connections true");
        route.set(order(0, 2));
        CHECK(route.read().weight == nobody);
    }

    TEST_CASE("a database that reads only unless it is told takes a rollback all the same") {
        if (!has_server()) return;
        Shop shop;
        Route route(shop);
        route.set(order(5000, 1));
        shop.alter("set default_transaction_read_only = on");
        route.set(order(0, 2));
        CHECK(route.read().weight == nobody);
    }

    TEST_CASE("the words of an order are kept as they are, whatever is in them") {
        if (!has_server()) return;
        Shop shop;
        Route route(shop);
        Order first = order(5000, 1);
        first.reason = R"(it's "10 %" ' or $1 and $2; \ -- /* é 😀)";
        route.set(first);
        CHECK(route.read().reason == first.reason);
        shop.alter("set standard_conforming_strings = off");
        Order second = order(0, 2);
        second.reason = first.reason + "'";
        route.set(second);
        CHECK(route.read().reason == second.reason);
        CHECK(route.read().weight == nobody);
    }

    TEST_CASE("an order that waits for somebody's lock is undone and said, then taken") {
        if (!has_server()) return;
        Shop shop;
        Route route(shop);
        route.set(order(5000, 1));
        shop.sql().write("begin");
        shop.sql().write("select from canaryd.route for update");
        std::string what;
        try {
            route.set(order(0, 2));
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK_MESSAGE(has(what, "select canaryd.order_route($1"), what);
        CHECK_MESSAGE(has(what, "lock timeout"), what);
        CHECK(route.read().weight == Weight{5000});
        shop.sql().write("rollback");
        route.set(order(0, 2));
        CHECK(route.read().weight == nobody);
    }

    TEST_CASE("a milestone is kept for people beside the route, once") {
        if (!has_server()) return;
        Shop shop(10, flagged);
        Policy policy = shop.policy();
        policy.steps = {{"week4", Weight{1000}, Duration{0}}, {"week5", everybody, Duration{0}}};
        asio::io_context io;
        const auto router = shop.router_with_history(policy, io.get_executor());
        CHECK(router->keeps_history());
        CHECK_FALSE(shop.router(io.get_executor())->keeps_history());
        Policy another = policy;
        another.name = "rides";
        CHECK_FALSE(shop.router_with_history(another, io.get_executor())->keeps_history());

        const auto record = [](std::shared_ptr<Router> into, Event event,
                               Transition transition) -> Async<bool> {
            co_await into->record(std::move(event), std::move(transition));
            co_return true;
        };
        const TimePoint now{std::chrono::hours{24 * 20'000}};
        Transition raise;
        raise.next.desired = everybody;
        raise.next.revision = raise.next.ordered = 5;
        raise.next.proven = true;
        run(io, record(router, Event{now, "canaryd", "engine", event::RaiseLapsed{}}, raise));
        CHECK(shop.sql()
                  .read("select string_agg(phase || ' ' || percentage || ' ' ||"
                        " success_criteria_met, ', ' order by phase) from migration_status")
                  .text(0, 0) == "week4 10 true, week5 100 false");
        Transition back = raise;
        back.next.step = 1;
        back.next.desired = nobody;
        back.next.revision = back.next.ordered = 6;
        back.next.status = Status::rolled_back;
        back.next.rolled_back_at = now;
        back.reason = "rolled back by alice: bad";
        const Event command{now, "alice", "operator", event::RollBack{"bad"}};
        run(io, record(router, command, back));
        run(io, record(router, command, back));
        const auto rows =
            shop.sql().read("select phase, reason, rolled_back_by from migration_rollbacks");
        REQUIRE(rows.size() == 1);
        CHECK(rows.text(0, 0) == "week5");
        CHECK(rows.text(0, 1) == back.reason);
        CHECK(rows.text(0, 2) == "alice");
        CHECK(shop.sql().read("select from canaryd.emergency").empty());
        // Ordered once more: there is nothing new to say.
        back.next.revision = back.next.ordered = 7;
        run(io,
            record(router,
                   Event{now + std::chrono::hours{1}, "alice", "operator", event::RollBack{"bad"}},
                   back));
        CHECK(shop.sql().read("select from migration_rollbacks").size() == 1);
        CHECK(shop.sql()
                  .read("select from migration_status where phase = 'week5' and percentage = 0"
                        " and completed_at is not null")
                  .size() == 1);
    }

    TEST_CASE("a missing migration and a missing right say their mend") {
        if (!has_server()) return;
        Shop shop;
        const std::string login = shop.database().name() + "_daemon";
        shop.sql().execute("create role " + login + " login");
        shop.log_in_as(login);
        Route route(shop);
        CHECK(has(route.failure(), "permission denied"));
        CHECK(has(route.failure(), "canaryctl doctor"));
        shop.sql().execute("drop schema canaryd cascade");
        CHECK(has(route.failure(), "canaryctl migrate"));
        shop.sql().execute("drop role " + login);
    }
}

}  // namespace canaryd::testing
