// Triggers' windows are what a person would count, and rows not to be believed are left out of
// everything.
#include <doctest/doctest.h>

#include "daemon/sources/cursor.hpp"
#include "daemon/sources/sqlite_sql.hpp"
#include "tests/source_contract.hpp"

namespace canaryd::testing {
namespace {

using namespace contract;

/// A policy with one number trigger.
Policy number_policy(const std::string& query) {
    Policy policy = metrics_policy();
    policy.triggers = {trigger("dead-letters", Trigger::Kind::number, std::chrono::minutes{15})};
    policy.metrics = {{"dead-letters", query}};
    return policy;
}

Number number(const std::string& file, const std::string& query) {
    Observer observer(number_policy(query), file);
    return number_in(observer.observe(ask(begin, begin + 60 * second)));
}

/// A table of its own with events from the beginning on.
void log_events(MetricsFile& file, const std::string& table, const std::string& time, int count,
                std::int64_t apart) {
    file.database().execute("create table " + table + " (" + time + " integer)");
    for (int i = 0; i < count; ++i) {
        file.database().execute("insert into " + table + " values (" +
                                std::to_string(begin + i * apart) + ")");
    }
}

}  // namespace

TEST_SUITE("source") {
    TEST_CASE("garbage rows are left out of counts and windows, and said with an example") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        const auto insert = [&](const std::string& values) {
            file.database().execute(
                "insert into webhook_metrics (webhook_name, status, duration_ms, created_at,"
                " started_at, completed_at) values ('new', " +
                values + ")");
        };
        const std::string now = std::to_string(begin + second);
        file.log({.at = begin + second});
        insert("'foo', 10, " + now + ", null, null");
        insert("null, 10, " + now + ", null, null");
        insert("'success', 'NaN', " + now + ", null, null");
        insert("'error', -5, " + now + ", null, null");
        insert("'success', 1000000000000000000, " + now + ", null, null");
        insert("'success', 9e999, " + now + ", null, null");
        insert("'error', 10, '2026-01-01 00:00:00', null, null");
        insert("'error', 10, null, null, null");
        insert("'error', 10, 1764331201, null, null");  // seconds
        insert("'error', 10, " + now + ".5, null, null");
        insert("x'00ff', 10, " + now + ", null, null");
        insert("'success', null, " + now + ", 'then', 'now'");
        insert("'success', null, " + now + ", 9223372036854775807, -9223372036854775808");
        Policy policy = metrics_policy();
        policy.triggers = {trigger("failed", Trigger::Kind::share, std::chrono::minutes{5})};
        Observer observer(policy, folder.file("m.db"));
        const Look look = observer.observe(ask(begin, begin + 10 * second));
        CHECK(total_requests(look) == 1);
        CHECK(window(look, "failed", Population::canary)->requests == 1);
        CHECK(window(look, "failed", Population::canary)->failures == 0);
        REQUIRE(look.remarks.size() == 1);
        CHECK(look.remarks[0] ==
              "13 rows were left out as not to be believed, the first: row 2, status \"foo\"");
        const Look next =
            observer.observe(ask(begin + 10 * second, begin + 20 * second, look.cursor));
        CHECK(next.remarks.empty());
    }

    TEST_CASE("a failure needs no times, and a fraction of a millisecond is slower") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        file.log({.at = begin, .took = std::nullopt, .status = "error"});
        file.log({.at = begin, .took = 2000});
        file.database().execute(
            "insert into webhook_metrics (webhook_name, status, duration_ms, created_at)"
            " values ('new', 'success', 2000.5, " +
            std::to_string(begin) + ")");
        Observer observer(metrics_policy(), folder.file("m.db"));
        const Look look = observer.observe(ask(begin, begin + second));
        CHECK(look.on_time[0].requests == 3);
        CHECK(look.on_time[0].events[0].raw == 1);
        CHECK(look.on_time[0].events[1].raw == 1);
    }

    TEST_CASE("a number trigger's query gives one finite number, or a remark and no value") {
        const Folder folder;
        const std::string path = folder.file("m.db");
        MetricsFile file(path);
        log_events(file, "webhook_dlq", "created_at", 5, 20 * second);
        const std::string from = "select count(*) from webhook_dlq where created_at ";
        CHECK(number(path, from + ">= $1 and created_at < $2").value == 3);
        CHECK(number(path, from + "< $2 and created_at >= $1 -- not $1").value == 3);
        CHECK(number(path, "select $2 - $1").value == 60'000);
        CHECK(
            number(path, "/* $2 */ select length('$2') + \"$1\" from (select 1 as \"$1\")").value ==
            3);
        const auto refused = [&](const std::string& query, const std::string& why) {
            const Number got = number(path, query);
            CAPTURE(query);
            CHECK_FALSE(got.value);
            CHECK(got.remark.find("trigger dead-letters has no number: ") == 0);
            CHECK_MESSAGE(got.remark.find(why) != std::string::npos, got.remark);
        };
        refused("select max(created_at) from webhook_dlq where created_at < 0", "NULL");
        refused("select 'NaN'", "the text \"NaN\"");
        refused("select 9e999 - 9e999", "NULL");  // SQLite's NaN
        refused("select 9e999", "finite");
        refused("select 1, 2", "one number");
        refused("select 1 union select 2", "more than one row");
        refused("select 1 where 0", "no row");
        refused("select $1 + $2 + $3", "$1 and $2");
        refused("select nothing from nowhere", "nowhere");
        refused("select", "incomplete");
        refused("", "SELECT");
        refused("delete from webhook_dlq returning 1", "SELECT");
        refused("with a as (select 1) delete from webhook_dlq returning 1", "write nothing");
        refused("pragma query_only = 0", "SELECT");
        CHECK(number(path, "select count(*) from webhook_dlq").value == 5);
    }

    TEST_CASE(
        "what a criterion per hour counts is asked for of each look's own time, not at peeks") {
        const Folder folder;
        const std::string path = folder.file("m.db");
        MetricsFile file(path);
        log_events(file, "crashes", "at", 6, 5 * second);
        Policy policy = metrics_policy();
        policy.metrics = {{"crashes", "select count(*) from crashes where at >= $1 and at < $2"}};
        policy.criteria.push_back({"crashes", "crashes",
                                   Signal{Signal::Kind::counted, Duration{0}, "crashes", Per::hour},
                                   2});
        Observer observer(policy, path);
        const auto counted = [](const Look& look) -> const Window* {
            return window(look, "metrics/crashes", Population::canary);
        };
        const Look first = observer.observe(ask(begin, begin + 10 * second));
        REQUIRE(counted(first) != nullptr);
        CHECK(counted(first)->value == 2);
        CHECK(counted(first)->from == first.from);
        CHECK(counted(first)->to == first.to);
        const Look next =
            observer.observe(ask(begin + 10 * second, begin + 30 * second, first.cursor));
        CHECK(counted(next)->value == 4);
        Ask peek = ask(begin + 10 * second, begin + 30 * second, first.cursor);
        peek.peek = true;
        CHECK(counted(observer.observe(peek)) == nullptr);
        file.database().execute("drop table crashes");
        const Look without =
            observer.observe(ask(begin + 30 * second, begin + 40 * second, next.cursor));
        CHECK_FALSE(counted(without)->value);
        REQUIRE(without.remarks.size() == 1);
        CHECK(without.remarks[0].find("metrics/crashes has no number: ") == 0);
    }

    TEST_CASE("clusters are a sum of shares and how many they are") {
        const Folder folder;
        const std::string path = folder.file("m.db");
        MetricsFile file(path);
        file.database().execute("create table sessions (ended integer, failed real)");
        Policy policy = metrics_policy();
        const auto seen = [&](const std::string& query) {
            Policy asking = policy;
            asking.metrics = {{"sessions", query}};
            asking.criteria.push_back(
                {"sessions", "sessions",
                 Signal{Signal::Kind::counted, Duration{0}, "sessions", Per::cluster}, 0.01});
            const Look look = Observer(asking, path).observe(ask(begin, begin + 10 * second));
            const Window* found = window(look, "metrics/sessions", Population::canary);
            REQUIRE(found != nullptr);
            return std::pair(*found, look.remarks.empty() ? std::string() : look.remarks[0]);
        };
        const std::string query =
            "select sum(failed), count(*) from sessions where ended >= $1 and ended < $2";
        const auto [none, silent] = seen(query);
        CHECK(none.value == 0);  // the sum of nothing is null
        CHECK(none.requests == 0);
        CHECK(silent.empty());
        const std::string end = std::to_string(begin + second);
        file.database().execute("insert into sessions values (" + end + ", 1), (" + end +
                                ", 0.25), (" + end + ", 0), (" + std::to_string(begin - 1) +
                                ", 1)");
        const auto [some, quiet] = seen(query);
        CHECK(some.value == 1.25);
        CHECK(some.requests == 3);
        CHECK(quiet.empty());
        const auto refused = [&](const std::string& sql, const std::string& why) {
            const auto [bad, remark] = seen(sql);
            CAPTURE(sql);
            CHECK_FALSE(bad.value);
            CHECK_MESSAGE(remark == "metrics/sessions has no number: " + why, remark);
        };
        CHECK(seen("select null, null").first.value == 0);
        refused("select null, 3", "the query gave NULL");
        refused("select 9e999, 3", "it is not a finite number");
        refused("select 1, null", "its second number is not how many they are");
        refused("select 1, 2.5", "its second number is not how many they are");
        refused("select 1, -1", "its second number is not how many they are");
        refused("select 1, 9e999", "its second number is not how many they are");
        refused("select 1, 'three'", "the query gave the text \"three\"");
        refused("select 1",
                "the query must give two numbers, the sum of the shares and how many they are, "
                "from $1 and $2, and write nothing");
    }

    TEST_CASE("every statement goes by an index or by the id") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        file.database().execute(
            "create index by_status on webhook_metrics (status, created_at desc)");
        file.database().execute(
            "create index by_user on webhook_metrics (user_id, created_at desc)");
        for (int i = 0; i < 2000; ++i) file.log({.user = "u", .at = begin + i, .status = "error"});
        const auto table = rows::sql::table_of(metrics_policy());
        rows::WindowAsk each;
        each.each_segment = true;
        each.signal = Signal{Signal::Kind::slower, std::chrono::seconds{5}};
        rows::WindowAsk failed;
        failed.signal = Signal{};
        for (const bool analysed : {false, true}) {
            if (analysed) file.database().execute("analyze");
            for (const std::string& statement :
                 {rows::sql::taken(table), rows::sql::read(table),
                  rows::sql::events(table, std::chrono::seconds{2}), rows::sql::first_id(table),
                  rows::sql::window(table, {}), rows::sql::window(table, failed),
                  rows::sql::window(table, each), rows::sql::top_errors(table),
                  rows::sql::request_ids(table)}) {
                sqlite::Statement plan = file.database().prepare("explain query plan " + statement);
                std::string text;
                while (plan.step()) text += plan.text(3) + "; ";
                CAPTURE(statement);
                CHECK_MESSAGE(text.find("SCAN webhook_metrics") == std::string::npos, text);
                const bool good =
                    text.find("by_name (webhook_name=? AND created_at") != std::string::npos ||
                    text.find("INTEGER PRIMARY KEY (rowid>? AND rowid<?)") != std::string::npos;
                CHECK_MESSAGE(good, text);
            }
        }
    }
}

}  // namespace canaryd::testing
