// One row decides who is on the canary; applications read it, canaryd and people write it.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>

#include "canaryd/routing.hpp"
#include "daemon/postgres_user_tables.hpp"
#include "tests/has.hpp"
#include "tests/router_contract.hpp"

namespace canaryd::testing {
using canaryd::testing::has;

namespace {

void by_hand(const std::string& path, const std::string& sql) {
    sqlite::Database(path, sqlite::Mode::read_write).execute(sql);
}

/// A file that is there or not.
class RouteFile : public RouteRow {
public:
    explicit RouteFile(std::string path) : path_(std::move(path)) {}
    std::shared_ptr<Router> router(Pool pool) override {
        const Connection connection{"route", "sqlite", path_, "", ""};
        return make_sqlite_router(connection, std::move(pool));
    }
    void by_hand(int weight, int revision, const std::string& by) override {
        testing::by_hand(path_, "update canaryd_route set weight = " + std::to_string(weight) +
                                    ", revision = " + std::to_string(revision) + ", by = '" + by +
                                    "'");
    }

private:
    std::string path_;
};

/// The same in a folder of its own.
class NewRouteFile : private Folder, public RouteFile {
public:
    NewRouteFile() : RouteFile(Folder::file("route.db")) {}
};

}  // namespace

TEST_SUITE("router") {
    TEST_CASE("a row in a SQLite file keeps every router's promises") {
        route_contract([] { return std::make_unique<NewRouteFile>(); });
    }

    TEST_CASE("a row that makes no sense is said when it is read, and an order mends it") {
        const Folder folder;
        const std::string path = folder.file("route.db");
        by_hand(
            [&] {
                sqlite::Database(path, sqlite::Mode::create).execute("pragma journal_mode = wal");
                return path;
            }(),
            "create table canaryd_route (name text primary key, weight, revision, valid_until,"
            " by, reason, changed_at)");
        RouteFile row(path);
        Route route(row);
        for (const char* weight : {"'ten'", "10001", "-1", "null", "0.5", "9e999"}) {
            CAPTURE(weight);
            by_hand(path, std::string("insert or replace into canaryd_route values ('rides', ") +
                              weight + ", 1, null, 'bob', 'x', 0)");
            CHECK(has(route.failure(), "row rides: weight is no number from 0 to 10000"));
        }
        by_hand(path, "update canaryd_route set weight = 1, revision = -1");
        CHECK(has(route.failure(), "revision is no number"));
        by_hand(path, "update canaryd_route set revision = 1, by = null, reason = 3");
        CHECK(route.read().by.empty());
        by_hand(path, "update canaryd_route set weight = 'ten'");
        route.set(order(0, 1));
        CHECK(route.read().weight == nobody);
    }

    TEST_CASE("the table refuses by itself what is no weight") {
        const Folder folder;
        const std::string path = folder.file("route.db");
        RouteFile row(path);
        Route route(row);
        route.set(order(5000, 6));
        for (const char* weight : {"'ten'", "10001", "-1", "null", "0.5"}) {
            CAPTURE(weight);
            CHECK_THROWS_AS(
                by_hand(path, std::string("update canaryd_route set weight = ") + weight),
                sqlite::Error);
        }
        CHECK_THROWS_AS(route.set(order(10'001, 7)), std::invalid_argument);
        CHECK_THROWS_AS(route.set(order(-1, 7)), std::invalid_argument);
        CHECK(route.read().weight == Weight{5000});
    }

    TEST_CASE("a deleted row is no row, and a deleted file is made again") {
        const Folder folder;
        const std::string path = folder.file("route.db");
        RouteFile row(path);
        Route route(row);
        route.set(order(5000, 6));
        by_hand(path, "delete from canaryd_route");
        CHECK(route.read().weight == nobody);
        CHECK(route.read().by.empty());
        route.set(order(5000, 7));
        for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path + suffix);
        CHECK(route.read().weight == nobody);
        route.set(order(1000, 8));
        CHECK(route.read().weight == Weight{1000});
    }

    TEST_CASE("applications may read the file whatever the umask, also when canaryd is down") {
        const Folder folder;
        const std::string path = folder.file("route.db");
        RouteFile row(path);
        Route route(row);
        const mode_t before = ::umask(0077);
        route.set(order(5000, 6));
        ::umask(before);
        route.stop();
        for (const char* suffix : {"", "-wal", "-shm"}) {
            struct stat file {};
            CAPTURE(suffix);
            REQUIRE(::stat((path + suffix).c_str(), &file) == 0);
            CHECK((file.st_mode & 0777) == 0644);
        }
        std::filesystem::permissions(folder.path(), std::filesystem::perms(0555));
        const bool root = ::geteuid() == 0;
        if (root) REQUIRE(::seteuid(65534) == 0);
        std::string weight;
        try {
            sqlite::Database reader(path, sqlite::Mode::read_only);
            weight = reader.first_text("select weight from canaryd_route where name = 'rides'");
        } catch (const std::exception& error) {
            weight = error.what();
        }
        if (root) REQUIRE(::seteuid(0) == 0);
        std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
        CHECK(weight == "5000");
    }

    TEST_CASE("a folder that is missing and a file that is no database are said, and heal") {
        const Folder folder;
        RouteFile row(folder.file("sub/route.db"));
        Route route(row);
        CHECK(has(route.failure(), "create: No such file or directory"));
        std::filesystem::create_directory(folder.file("sub"));
        std::ofstream(folder.file("sub/route.db")) << std::string(5000, 'x');
        CHECK(has(route.failure(), "file is not a database"));
        std::filesystem::remove(folder.file("sub/route.db"));
        CHECK(route.failure().empty());
    }

    TEST_CASE("a reader in the middle of its transaction does not delay a rollback") {
        const Folder folder;
        const std::string path = folder.file("route.db");
        RouteFile row(path);
        Route route(row);
        route.set(order(5000, 6));
        sqlite::Database reader(path, sqlite::Mode::read_only);
        reader.execute("begin; select * from canaryd_route");
        route.set(order(0, 7));
        CHECK(route.read().weight == nobody);
        reader.execute("commit");
        CHECK(reader.first_text("select weight from canaryd_route") == "0");
    }

    TEST_CASE("an unknown kind or connection is named") {
        asio::io_context io;
        Settings settings;
        Policy policy = metrics_policy();
        const auto failure = [&] {
            try {
                make_router(policy, settings, io.get_executor());
            } catch (const std::invalid_argument& error) {
                return std::string(error.what());
            }
            return std::string();
        };
        CHECK(has(failure(), "router.connection \"route\" is not among"));
        settings.connections["route"] = {"route", "slack", "", "", ""};
        CHECK(has(failure(), "known: sql on sqlite, sql on postgres"));
        settings.connections["route"] = {"route", "sqlite", "/nowhere/route.db", "", ""};
        CHECK(failure().empty());  // nothing is opened yet
        policy.router.readers = Readers::both;
        CHECK(has(failure(), "of kind sqlite has no flag column; write function"));
    }

    TEST_CASE("each kind of route says how a person lowers it without canaryd") {
        using Ways = std::vector<std::string>;
        Settings settings;
        Policy policy = metrics_policy();
        CHECK(route_by_hand(policy, settings).empty());
        settings.connections["route"] = {"route", "sqlite", "/nowhere/route.db", "", ""};
        CHECK(route_by_hand(policy, settings) == Ways{"canaryctl rollback --direct rides"});
        settings.connections["route"] = {"route", "postgres", "", "postgresql:///shop", ""};
        CHECK(route_by_hand(policy, settings) ==
              Ways{"select canaryd.rollback('why', 'rides');",
                   "canaryctl rollback --direct rides --database URL"});
        policy.name = user_tables::flagged_route;
        CHECK(route_by_hand(policy, settings).front() == "select canaryd.rollback('why');");
    }

    TEST_CASE("users stay where they are: 10 % is inside 50 %, and a UUID has one spelling") {
        int on_10 = 0, on_50 = 0;
        for (int i = 0; i < 20'000; ++i) {
            const std::string user = "user-" + std::to_string(i);
            const bool small = on_canary("rides", user, Weight{1000});
            const bool large = on_canary("rides", user, Weight{5000});
            if (small) CHECK(large);
            on_10 += small;
            on_50 += large;
        }
        CHECK(on_10 > 1800);
        CHECK(on_10 < 2200);
        CHECK(on_50 > 9700);
        CHECK(on_50 < 10'300);
        CHECK(bucket_of("rides", "0F8FAD5B-D9CB-469F-A165-70867728950E") ==
              bucket_of("rides", "0f8fad5b-d9cb-469f-a165-70867728950e"));
    }
}

}  // namespace canaryd::testing
