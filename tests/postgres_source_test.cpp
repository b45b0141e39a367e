// A real server's table: the promises of every source, the rows of slow transactions, the planner's
// ways, and what goes wrong with a database of somebody else.
#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "daemon/sources/postgres_reader.hpp"
#include "daemon/sources/postgres_sql.hpp"
#include "tests/postgres_world.hpp"
#include "tests/source_contract.hpp"

namespace canaryd::testing {
namespace {

using namespace contract;

std::unique_ptr<MetricsTable> make() {
    return std::make_unique<PostgresTable>();
}

const Ask first_ask = ask(begin, begin + 10 * second);

std::int64_t seen(const Look& look) {
    return requests(look.on_time) + requests(look.late);
}

Number number_of(PostgresTable& table, const std::string& query) {
    Policy policy = postgres_policy();
    policy.triggers = {trigger("dead-letters", Trigger::Kind::number, std::chrono::minutes{15})};
    policy.metrics = {{"dead-letters", query}};
    Observer observer(policy, table);
    return number_in(observer.observe(ask(begin, begin + 60 * second)));
}

}  // namespace

TEST_SUITE("postgres-source") {
    TEST_CASE("a PostgreSQL table's rows count exactly once") {
        if (has_server()) each_row_counts_once(make, 3);
    }

    TEST_CASE("windows, errors and remarks of a PostgreSQL table are what a person would find") {
        if (has_server()) windows_and_remarks(make);
    }

    TEST_CASE("rows of slow transactions appear late, out of order, and count once") {
        if (!has_server()) return;
        PostgresTable table;
        Observer observer(postgres_policy(), table);
        postgres::Database slow(table.database().connection());
        postgres::Database slower(table.database().connection());
        const auto insert = [](postgres::Database& by, std::int64_t created_at) {
            by.write(
                "insert into webhook_metrics (webhook_name, status, duration_ms, created_at)"
                " values ('new', 'error', 10, ms($1))",
                created_at);
        };
        slow.write("begin");
        insert(slow, begin + 1);  // id 1
        slower.write("begin");
        insert(slower, begin + 2);  // id 2
        insert(table.sql(), begin + 3);
        const Look first = observer.observe(first_ask);
        CHECK(seen(first) == 1);
        slower.write("commit");
        insert(table.sql(), begin + 12 * second);
        const Look next =
            observer.observe(ask(begin + 10 * second, begin + 20 * second, first.cursor));
        CHECK(requests(next.on_time) == 1);
        CHECK(requests(next.late) == 1);
        observer.restart();
        slow.write("commit");
        const Look last =
            observer.observe(ask(begin + 20 * second, begin + 30 * second, next.cursor));
        CHECK(requests(last.on_time) == 0);
        CHECK(requests(last.late) == 1);
        CHECK(seen(observer.observe(ask(begin + 30 * second, begin + 40 * second, last.cursor))) ==
              0);
    }

    TEST_CASE("a row that was rolled back is a gap that hides nothing") {
        if (!has_server()) return;
        PostgresTable table;
        Observer observer(postgres_policy(), table);
        table.sql().write("begin");
        table.log({.at = begin});
        table.sql().write("rollback");
        table.log({.at = begin});
        const Look first = observer.observe(first_ask);
        CHECK(seen(first) == 1);
        table.log({.at = begin + 11 * second});
        CHECK(seen(observer.observe(ask(begin + 10 * second, begin + 20 * second, first.cursor))) ==
              1);
    }

    TEST_CASE("the watermark is the database's clock, not this machine's") {
        if (!has_server()) return;
        PostgresTable table;
        Observer observer(postgres_policy(), table);
        const auto now = [&] {
            return table.sql()
                .read("select floor(extract(epoch from clock_timestamp()) * 1000)::bigint")
                .time(0, 0);
        };
        const TimePoint before = now();
        const TimePoint mark = observer.watermark();
        CHECK(mark >= before);
        CHECK(mark <= now());
    }

    TEST_CASE("microseconds are rounded down, on both sides of a look") {
        if (!has_server()) return;
        PostgresTable table;
        Observer observer(postgres_policy(), table);
        for (const char* microseconds : {"-1", "0", "1", "999"}) {
            table.sql().write(std::string("insert into webhook_metrics (webhook_name, status,"
                                          " duration_ms, created_at) values ('new', 'success', 1,"
                                          " ms($1) + interval '") +
                                  microseconds + " microseconds')",
                              begin + 10 * second);
        }
        const Look first = observer.observe(first_ask);
        CHECK(requests(first.on_time) == 1);
        const Look next =
            observer.observe(ask(begin + 10 * second, begin + 10 * second + 1, first.cursor));
        CHECK(requests(next.on_time) == 3);
        CHECK(next.late.empty());
    }

    TEST_CASE("rows not to be believed are left out of counts and windows, and said") {
        if (!has_server()) return;
        PostgresTable table;
        table.database().run(
            "alter table webhook_metrics alter duration_ms type numeric,"
            " alter status drop not null, alter created_at drop not null,"
            " alter started_at drop not null;");
        table.log({.at = begin + second});
        for (const char* values :
             {"'foo', 10, ms($1)", "null, 10, ms($1)", "'success', 'NaN', ms($1)",
              "'error', -5, ms($1)", "'success', 1e18, ms($1)", "'success', 1e400, ms($1)",
              "'error', 10, 'infinity'", "'error', 10, null", "'error', 10, '-infinity'",
              "'error', 10, 'epoch'"}) {
            table.sql().write(
                std::string("insert into webhook_metrics (webhook_name, status, duration_ms,"
                            " created_at) select 'new', ") +
                    std::string(values) + " where $1::bigint > 0",
                begin + second);
        }
        table.sql().write(
            "insert into webhook_metrics (webhook_name, status, started_at, completed_at,"
            " created_at) values ('new', 'success', 'infinity', '-infinity', ms($1))",
            begin + second);
        Policy policy = postgres_policy();
        policy.triggers = {trigger("failed", Trigger::Kind::share, std::chrono::minutes{5})};
        Observer observer(policy, table);
        const Look look = observer.observe(first_ask);
        CHECK(total_requests(look) == 1);
        CHECK(window(look, "failed", Population::canary)->requests == 1);
        CHECK(window(look, "failed", Population::canary)->failures == 0);
        REQUIRE(look.remarks.size() == 1);
        CHECK(has(look.remarks[0],
                  "rows were left out as not to be believed, the first: row 2, "
                  "status \"foo\""));
    }

    TEST_CASE("a fraction of a millisecond is slower, and a null user is a user") {
        if (!has_server()) return;
        PostgresTable table;
        table.database().run(
            "alter table webhook_metrics alter duration_ms type double precision;");
        table.log({.at = begin, .took = 2000});
        table.sql().write(
            "insert into webhook_metrics (webhook_name, status, duration_ms, created_at)"
            " values ('new', 'success', 2000.5, ms($1)), ('new', 'error', null, ms($1))",
            begin);
        Observer observer(postgres_policy(), table);
        const Look look = observer.observe(first_ask);
        CHECK(look.on_time[0].requests == 3);
        CHECK(look.on_time[0].events[0].raw == 1);
        CHECK(look.on_time[0].events[1].raw == 1);
    }

    TEST_CASE("a number's query fails alone: the look and its limits stay whole") {
        if (!has_server()) return;
        PostgresTable table;
        table.log({.at = begin});
        table.database().run("create table webhook_dlq (created_at timestamptz);");
        for (int i = 0; i < 5; ++i) {
            table.sql().write("insert into webhook_dlq values (ms($1))", begin + i * 20 * second);
        }
        const std::string window = " created_at >= $1 and created_at < $2";
        CHECK(number_of(table, "select count(*) from webhook_dlq where" + window).value == 3);
        CHECK(number_of(table, "select sum(0.5) from webhook_dlq where" + window).value == 1.5);
        const auto refused = [&](const std::string& query, const std::string& why) {
            const Number got = number_of(table, query);
            CAPTURE(query);
            CHECK_FALSE(got.value);
            CHECK_MESSAGE(has(got.remark, why), got.remark);
        };
        refused("select max(1) from webhook_dlq where false and" + window, "NULL");
        refused("select 'many' from webhook_dlq where" + window + " limit 1", "not a number");
        refused("select 'NaN'::float8 from webhook_dlq where" + window + " limit 1", "finite");
        refused("select 1, 2 from webhook_dlq where" + window + " limit 1", "1 rows of 2 columns");
        refused("select 1 from webhook_dlq where" + window, "3 rows of 1 columns");
        refused("select 1 from nowhere where" + window, "\"nowhere\" does not exist");
        refused("select 1 / 0 from webhook_dlq where" + window, "division by zero");
        refused("with gone as (delete from webhook_dlq where" + window + " returning 1) select 1",
                "read-only");
        CHECK(number_of(table, "select count(*) from webhook_dlq where" + window).value == 3);
    }

    TEST_CASE("a table of another shape is read by a query with named columns") {
        if (!has_server()) return;
        PostgresTable table;
        table.database().run(
            "create table calls (n serial primary key, service text, who text, kind text,"
            " began timestamptz, seconds numeric, ok boolean);");
        table.sql().write(
            "insert into calls (service, who, kind, began, seconds, ok)"
            " values ('new', 'a', 'jobs', ms($1), 0.25, true), ('new', 'b', 'jobs', ms($1), 3, "
            "false)",
            begin);
        Policy policy = postgres_policy();
        policy.source.table.clear();
        policy.source.query =
            "select n as id, service as webhook_name, who as user_id, kind as agent_type,"
            " began as started_at, began + seconds * interval '1 s' as completed_at,"
            " seconds * 1000 as duration_ms, case when ok then 'success' else 'error' end as"
            " status, null::text as error_message, null::text as request_id,"
            " began as created_at from calls -- all of them";
        Observer observer(policy, table);
        const Look look = observer.observe(first_ask);
        CHECK(requests(look.on_time) == 2);
        CHECK(requests(look.on_time, "jobs") == 2);
        CHECK(total(look.on_time, Population::canary)->events[0].raw == 1);
        CHECK(total(look.on_time, Population::canary)->events[1].raw == 1);
        policy.source.query = "select n as id, service as webhook_name from calls";
        Observer lacking(policy, table);
        CHECK(has(lacking.failure(first_ask), "source.query has no column "));
        CHECK(has(lacking.refusal(), "source.query has no column user_id"));
        CHECK(observer.refusal().empty());
    }

    TEST_CASE("numbers that can never be asked for are said before a rollout starts") {
        if (!has_server()) return;
        PostgresTable table;
        Policy policy = postgres_policy();
        const auto refusal = [&](const std::string& query) {
            const std::string window = " where created_at >= $1 and created_at < $2";
            policy.metrics = {{"good", "select count(*) from webhook_metrics" + window},
                              {"mine", query + window}};
            return Observer(policy, table).refusal();
        };
        CHECK(refusal("select max(duration_ms) from webhook_metrics").empty());
        const std::string no_table = refusal("select count(*) from letters");
        CHECK(has(no_table, "metrics, mine: "));
        CHECK(has(no_table, "relation \"letters\" does not exist"));
        CHECK(has(refusal("select count(*), 2 from webhook_metrics"),
                  "metrics, mine: the query gives 2 columns"));
        // Where a criterion limits a share of it.
        policy.criteria.push_back({"mine", "mine",
                                   Signal{Signal::Kind::counted, Duration{0}, "mine", Per::cluster},
                                   0.01});
        CHECK(refusal("select count(*), 2 from webhook_metrics").empty());
        CHECK(has(refusal("select count(*) from webhook_metrics"),
                  "metrics, mine: the query gives 1 columns, not two numbers"));
        policy.criteria.pop_back();
        // Of no rows, which is a matter of the data.
        CHECK(refusal("select 1 / count(*) from webhook_metrics").empty());
    }

    TEST_CASE("clusters are a sum of shares and how many they are") {
        if (!has_server()) return;
        PostgresTable table;
        table.database().run("create table sessions (ended timestamptz, failed numeric);");
        Policy policy = postgres_policy();
        policy.metrics = {{"sessions",
                           "select sum(failed), count(*) from sessions"
                           " where ended >= $1 and ended < $2"}};
        policy.criteria.push_back(
            {"sessions", "sessions",
             Signal{Signal::Kind::counted, Duration{0}, "sessions", Per::cluster}, 0.01});
        Observer observer(policy, table);
        const auto seen = [&] {
            const Look look = observer.observe(first_ask);
            CHECK(look.remarks.empty());
            return *window(look, "metrics/sessions", Population::canary);
        };
        CHECK(seen().value == 0);
        CHECK(seen().requests == 0);
        table.sql().write("insert into sessions values (ms($1), 1), (ms($1), 0.25), (ms($1), 0)",
                          begin);
        CHECK(seen().value == 1.25);
        CHECK(seen().requests == 3);
        table.sql().write("alter table sessions drop column failed");
        const Look without = observer.observe(first_ask);
        CHECK_FALSE(window(without, "metrics/sessions", Population::canary)->value);
        CHECK(has(without.remarks.at(0), "metrics/sessions has no number: "));
    }

    TEST_CASE("every statement of a look goes by an index of the first user's or by the id") {
        if (!has_server()) return;
        PostgresTable table;
        table.sql().write(
            "insert into webhook_metrics (webhook_name, user_id, agent_type, status, duration_ms,"
            " error_message, request_id, created_at)"
            " select (array['new', 'old-a', 'old-b', 'other'])[1 + i % 4], md5(i::text)::uuid,"
            " 'jobs', case when i % 50 = 0 then 'error' else 'success' end, i % 3000, 'no',"
            " i::text, ms($1) + i * interval '100 ms' from generate_series(1, 60000) i",
            begin);
        table.sql().write("analyze webhook_metrics");
        const Policy policy = postgres_policy();
        const auto read = rows::pg::table_of(policy);
        const std::vector<std::string> names{"new", "old-a", "old-b"};
        const std::vector<std::int64_t> ids{55'000, 57'000};
        const TimePoint from = at(begin + 5'000 * second), to = at(begin + 5'300 * second);
        rows::WindowAsk failed, each;
        failed.signal = Signal{};
        each.signal = Signal{Signal::Kind::slower, std::chrono::seconds{2}};
        each.each_segment = true;
        using postgres::Params;
        const std::vector<std::pair<std::string, Params>> statements{
            {rows::pg::taken(read), Params(55'000, 58'000)},
            {rows::pg::taken_each(read), Params(ids, ids)},
            {rows::pg::read(read), Params(55'000, 58'000, names)},
            {rows::pg::read_each(read), Params(ids, ids, names)},
            {rows::pg::events(read, std::chrono::seconds{2}), Params(from, to, names)},
            {rows::pg::first_id(read), Params(from, names)},
            {rows::pg::last_id(read), Params()},
            {rows::pg::window(read, {}), Params(from, to, names, "new")},
            {rows::pg::window(read, failed), Params(from, to, names, "new", to)},
            {rows::pg::window(read, each), Params(from, to, names, "new", to)},
            {rows::pg::top_errors(read), Params(from, to, "new")},
            {rows::pg::request_ids(read), Params(from, to, "new", "no")}};
        for (const auto& [statement, params] : statements) {
            const auto plan = table.sql().read("explain " + statement, params);
            std::string text;
            for (int row = 0; row < plan.size(); ++row) text += plan.text(row, 0) + "\n";
            CAPTURE(statement);
            CHECK_MESSAGE(!has(text, "Seq Scan"), text);
            CHECK_MESSAGE(has(text, "Index"), text);
        }
    }

    TEST_CASE("which ids are taken is said in runs, whatever is missing where") {
        if (!has_server()) return;
        PostgresTable table;
        table.sql().write(
            "insert into webhook_metrics (id, webhook_name, status, created_at)"
            " select i, 'other', 'success', ms($1) from generate_series(-700, 12000) i"
            " where i % 700 <> 3 and i not between 255 and 257 and i not between 1000 and 1600"
            " and not (i > 4000 and i % 2 = 0)",
            begin);
        const Policy policy = postgres_policy();
        const rows::Rules rules(policy);
        const auto read = rows::pg::table_of(policy);
        postgres::Transaction snapshot(table.sql(), postgres::Transaction::Kind::snapshot);
        rows::PostgresReader reader(snapshot, read, rules);
        const auto check = [&](const std::vector<rows::IdRange>& ranges, std::size_t ids) {
            std::vector<std::int64_t> wanted, found;
            for (const rows::IdRange& range : ranges) {
                const auto rows = snapshot.run(
                    "select id from webhook_metrics where id between $1 and $2 order by id",
                    range.lo, range.hi);
                for (int row = 0; row < rows.size(); ++row) wanted.push_back(rows.integer(row, 0));
            }
            for (const rows::IdRange& run : reader.taken(ranges)) {
                for (std::int64_t id = run.lo; id <= run.hi; ++id) found.push_back(id);
            }
            CHECK(wanted.size() == ids);
            CHECK(found == wanted);
        };
        // Several together, of any size and touching, and one alone.
        check({{-600, -1, {}}, {1, 200, {}}, {201, 300, {}}, {900, 1100, {}}, {1536, 1700, {}}},
              1'096);
        check({{-700, 12'000, {}}}, 8'080);
        check({{250, 254, {}},
               {300, 4'500, {}},
               {4'501, 4'501, {}},
               {4'502, 11'999, {}},
               {12'000, 99'000, {}}},
              7'089);
        check({{20'000, 90'000, {}}}, 0);
    }

    TEST_CASE("a table without an index is read, and the mend is said at the first look") {
        if (!has_server()) return;
        PostgresTable table;
        table.log({.at = begin});
        table.sql().write("drop index webhook_metrics_webhook_name_created_at_idx");
        Observer observer(postgres_policy(), table);
        const Look look = observer.observe(first_ask);
        REQUIRE(look.remarks.size() == 1);
        table.sql().write(look.remarks[0].substr(look.remarks[0].find("CREATE INDEX")));
        observer.restart();
        CHECK(observer.observe(first_ask).remarks.empty());
    }

    TEST_CASE("a lost connection is no evidence, and the next look has a new one") {
        if (!has_server()) return;
        PostgresTable table;
        table.log({.at = begin});
        Observer observer(postgres_policy(), table);
        CHECK(seen(observer.observe(first_ask)) == 1);
        table.database().cut_connections();
        // It was cut while idle: noticed before anything is asked.
        CHECK(seen(observer.observe(first_ask)) == 1);
        table.database().admin().write("alter database " + table.database().name() +
                                       " allow_connections false");
        table.database().cut_connections();
        CHECK(has(observer.failure(first_ask), "connect: "));
        CHECK(has(observer.failure(first_ask), "not currently accepting connections"));
        table.database().admin().write("alter database " + table.database().name() +
                                       " allow_connections true");
        CHECK(seen(observer.observe(first_ask)) == 1);
    }

    TEST_CASE("a connection that is refused is said, without a password") {
        const Connection connection{"db", "postgres", "", "",
                                    "postgresql://alice:XyZsecret@127.0.0.1:1/shop"};
        postgres::Database database(connection);
        std::string what;
        try {
            database.read("select 1");
        } catch (const postgres::Broken& error) {
            what = error.what();
        }
        CHECK(has(what, "postgres alice@127.0.0.1:1/shop: connect: "));
        CHECK_FALSE(has(what, "XyZ"));
    }

    TEST_CASE("somebody's lock on the table is no evidence for as long as it lasts") {
        if (!has_server()) return;
        PostgresTable table;
        table.log({.at = begin});
        Observer observer(postgres_policy(), table);
        table.sql().write("begin");
        table.sql().write("lock table webhook_metrics");
        CHECK(has(observer.failure(first_ask), "lock timeout"));
        table.sql().write("rollback");
        CHECK(seen(observer.observe(first_ask)) == 1);
    }

    TEST_CASE("a right that is taken away and a column that is dropped are named, and heal") {
        if (!has_server()) return;
        PostgresTable table;
        table.log({.at = begin});
        const std::string login = table.database().name() + "_reader";
        table.sql().write("create role " + login + " login");
        table.sql().write("grant select on webhook_metrics to " + login);
        StillClock clock;
        asio::io_context io;
        const auto source = make_postgres_source(
            postgres_policy(), table.database().connection(login), io.get_executor(), clock);
        const auto failure = [&] {
            try {
                run(io, source->observe(first_ask));
            } catch (const std::exception& error) {
                return std::string(error.what());
            }
            return std::string();
        };
        CHECK(failure().empty());
        table.sql().write("revoke select on webhook_metrics from " + login);
        CHECK(has(failure(), "permission denied for table webhook_metrics; GRANT SELECT"));
        table.sql().write("grant select on webhook_metrics to " + login);
        CHECK(failure().empty());
        table.sql().write("alter table webhook_metrics rename duration_ms to took");
        CHECK(has(failure(), "duration_ms"));
        CHECK(has(failure(), "table webhook_metrics has no column duration_ms"));
        table.sql().write("alter table webhook_metrics rename took to duration_ms");
        CHECK(failure().empty());
        // Empty is not healthy: rows that this login may not see are said to be hidden.
        table.sql().write("alter table webhook_metrics enable row level security");
        table.sql().write("revoke select on webhook_metrics from " + login);
        table.sql().write("grant select on webhook_metrics to " + login);
        table.database().cut_connections();
        const std::string hidden = failure();
        REQUIRE(has(hidden, "row level security hides every row"));
        table.sql().write(hidden.substr(hidden.find("CREATE POLICY")));
        CHECK(seen(run(io, source->observe(first_ask))) == 1);
        table.sql().write("drop owned by " + login);
        table.sql().write("drop role " + login);
    }

    TEST_CASE("a write that is cut off is an unknown outcome, a read is not") {
        if (!has_server()) return;
        TestDatabase database;
        postgres::Database victim(database.connection());
        const auto cut_soon = [&] {
            return std::thread([&] {
                for (int i = 0; i < 200; ++i) {
                    const auto busy = database.admin().read(
                        "select count(*) from pg_stat_activity where datname = $1"
                        " and query like '%pg_sleep%' and state = 'active'",
                        database.name());
                    if (busy.integer(0, 0) > 0) break;
                    std::this_thread::sleep_for(std::chrono::milliseconds{20});
                }
                database.cut_connections();
            });
        };
        std::thread cutter = cut_soon();
        CHECK_THROWS_AS(victim.write("select pg_sleep(60)"), postgres::UnknownOutcome);
        cutter.join();
        cutter = cut_soon();
        CHECK_THROWS_AS(victim.read("select pg_sleep(60)"), postgres::Broken);
        cutter.join();
        CHECK(victim.read("select 1").integer(0, 0) == 1);
        std::thread([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds{200});
            victim.interrupt();
        }).swap(cutter);
        CHECK_THROWS_AS(victim.read("select pg_sleep(60)"), postgres::Broken);
        cutter.join();
        CHECK(victim.read("select 1").integer(0, 0) == 1);
    }

    TEST_CASE("limits are a transaction's, and an undone one leaves nothing behind") {
        if (!has_server()) return;
        TestDatabase database;
        postgres::Database& sql = database.sql();
        sql.write("create table t (x text)");
        {
            postgres::Transaction transaction(sql, postgres::Transaction::Kind::write,
                                              {std::chrono::milliseconds{50}});
            transaction.run("insert into t values ($1)", "a");
            CHECK_THROWS_AS(transaction.run("select pg_sleep(60)"), postgres::Timeout);
            CHECK_THROWS_AS(transaction.commit(), std::logic_error);
        }
        CHECK(sql.read("show statement_timeout").text(0, 0) == "0");
        CHECK(sql.read("select count(*) from t").integer(0, 0) == 0);
        const std::vector<std::string> odd{"", "it's", "a\"b\\c", "{x,y}", "NULL", "ü\n"};
        CHECK(sql.read("select $1::text[] = array[$2, $3, $4, $5, $6, $7]", odd, odd[0], odd[1],
                       odd[2], odd[3], odd[4], odd[5])
                  .boolean(0, 0));
        CHECK_THROWS_AS(sql.read("select $1", std::string_view("a\0b", 3)), std::invalid_argument);
        const TimePoint time(Duration(1'764'331'200'123));
        CHECK(sql.read("select (extract(epoch from $1::timestamptz) * 1000)::bigint", time)
                  .time(0, 0) == time);
    }
}

}  // namespace canaryd::testing
