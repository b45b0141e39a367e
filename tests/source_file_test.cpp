// The metrics file belongs to somebody else: whatever becomes of it is said clearly, is no
// evidence, and heals by itself.
#include <doctest/doctest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <fstream>
#include <random>

#include "daemon/sources/cursor.hpp"
#include "daemon/sources/rows.hpp"
#include "tests/has.hpp"
#include "tests/metrics_file.hpp"

namespace canaryd::testing {
using canaryd::testing::has;

namespace {

constexpr std::int64_t second = 1000;
constexpr std::int64_t begin = 1'764'331'200'000;

TimePoint at(std::int64_t ms) {
    return TimePoint(Duration(ms));
}

Ask ask(std::int64_t from, std::int64_t to, std::string cursor = {}) {
    Ask ask;
    ask.from = at(from);
    ask.to = at(to);
    ask.gate_from = ask.windows_from = at(begin);
    ask.cursor = std::move(cursor);
    return ask;
}

const Ask first_ask = ask(begin, begin + 10 * second);

std::int64_t requests(const Look& look) {
    std::int64_t requests = 0;
    for (const auto* tallies : {&look.on_time, &look.late}) {
        for (const Tally& tally : *tallies) requests += tally.segment.empty() ? tally.requests : 0;
    }
    return requests;
}

/// Somebody without rights while it lives, when the tests run as root.
class Nobody {
public:
    Nobody() {
        if (::geteuid() == 0) changed_ = ::seteuid(65534) == 0;
    }
    ~Nobody() {
        if (changed_) changed_ = ::seteuid(0) == 0;
    }
    Nobody(const Nobody&) = delete;
    Nobody& operator=(const Nobody&) = delete;

private:
    bool changed_ = false;
};

/// A table with more rows than one look may read, all of one second.
class Crowd : public rows::RowReader {
public:
    explicit Crowd(std::int64_t rows) : rows_(rows) {}
    std::int64_t read_in_all = 0;

    std::optional<std::int64_t> first_id(TimePoint) override { return 1; }
    std::int64_t end_id() override { return rows_ + 1; }
    std::vector<rows::IdRange> taken(const std::vector<rows::IdRange>& ranges) override {
        return {{ranges[0].lo, rows_, {}}};
    }
    void read(const std::vector<rows::IdRange>& ranges, const Take& take) override {
        rows::Row row;
        row.webhook = {rows::Cell::Kind::text, 0, 0, "new"};
        row.status = {rows::Cell::Kind::text, 0, 0, "success"};
        row.created_at = row.started_at =
            row.completed_at = {rows::Cell::Kind::integer, begin, 0, {}};
        row.duration_ms = {rows::Cell::Kind::integer, 100, 0, {}};
        for (row.id = ranges[0].lo; row.id <= ranges[0].hi; ++row.id) {
            ++read_in_all;
            if (!take(row)) return;
        }
    }
    void read_events(TimePoint, TimePoint, const Take&) override {}
    std::vector<Counted> count(const rows::WindowAsk&, TimePoint) override { return {{}}; }
    std::vector<std::optional<double>> numbers(const rows::WindowAsk&, std::string&) override {
        return {};
    }

private:
    std::int64_t rows_;
};

/// A policy's query that says in the same look that an id is nobody's and that it is a running
/// row's.
class Fickle : public Crowd {
public:
    Fickle() : Crowd(20) {}
    std::vector<rows::IdRange> taken(const std::vector<rows::IdRange>& ranges) override {
        if (ranges[0].lo > 1) return {};
        return {{1, 4, {}}, {11, 20, {}}};
    }
    void read(const std::vector<rows::IdRange>& ranges, const Take& take) override {
        Crowd::read(ranges, [&](rows::Row row) {
            if (row.id == 7) row.completed_at = row.duration_ms = {};
            return take(row);
        });
    }
};

/// Three rows among more of other rollouts than one look may read.
class Neighbours : public Crowd {
public:
    Neighbours() : Crowd(3) {}
    std::int64_t end_id() override { return 2'000'501; }
    std::vector<rows::IdRange> taken(const std::vector<rows::IdRange>& ranges) override {
        const std::int64_t lo = ranges[0].lo;
        const std::int64_t last = lo == 1 ? 2'000'000 : 2'000'500;
        return {{lo, last, {}}};
    }
    void read(const std::vector<rows::IdRange>& ranges, const Take& take) override {
        if (ranges[0].lo == 1) Crowd::read({{1, 3, {}}}, take);
    }
};

}  // namespace

TEST_SUITE("source") {
    TEST_CASE(
        "two million rows of others are as many as a look may ask about, and proves nothing") {
        Neighbours neighbours;
        rows::Counter counter(metrics_policy());
        Look look = counter.look(first_ask, neighbours);
        CHECK(requests(look) == 3);
        CHECK_FALSE(look.canary_complete);
        CHECK_FALSE(look.baseline_complete);
        REQUIRE(look.remarks.size() == 1);
        CHECK(has(look.remarks[0], "2000000 rows were read, as many as one look may"));
        look = counter.look(ask(begin + 10 * second, begin + 20 * second, look.cursor), neighbours);
        CHECK(look.canary_complete);
        CHECK(look.remarks.empty());
    }

    TEST_CASE("a query that answers twice differently leaves a cursor that can be read") {
        Fickle fickle;
        rows::Counter counter(metrics_policy());
        const Look look = counter.look(first_ask, fickle);
        CHECK(requests(look) == 19);
        const rows::Cursor cursor = rows::parse_cursor(look.cursor);
        CHECK(cursor.next == 21);
        CHECK(rows::contains(cursor.open, 7));
    }

    TEST_CASE("a look reads two million rows at most: it proves nothing, the next has the rest") {
        constexpr std::int64_t most = 2'000'000;
        Crowd crowd(most + 1000);
        rows::Counter counter(metrics_policy());
        Look look = counter.look(first_ask, crowd);
        CHECK(crowd.read_in_all == most);
        CHECK_FALSE(look.canary_complete);
        CHECK_FALSE(look.baseline_complete);
        REQUIRE(look.remarks.size() == 1);
        CHECK(has(look.remarks[0], "2000000 rows were read, as many as one look may"));
        const std::int64_t counted = requests(look);
        look = counter.look(ask(begin + 10 * second, begin + 20 * second, look.cursor), crowd);
        CHECK(look.canary_complete);
        CHECK(crowd.read_in_all == most + 1000);
        CHECK(counted + requests(look) == most + 1000);
    }

    TEST_CASE("a missing file, one that is no database and a missing table are said, and heal") {
        const Folder folder;
        const std::string path = folder.file("m.db");
        Observer observer(metrics_policy(), path);
        CHECK(has(observer.failure(first_ask), path + ": No such file or directory"));
        std::ofstream(path) << std::string(5000, 'x');
        CHECK(has(observer.failure(first_ask), "file is not a database"));
        std::filesystem::remove(path);
        { const sqlite::Database other(path, sqlite::Mode::create); }
        std::ofstream(path) << "";
        CHECK(has(observer.failure(first_ask), "table \"webhook_metrics\": there is none"));
        MetricsFile file(path);
        file.log({.at = begin});
        CHECK(requests(observer.observe(first_ask)) == 1);
    }

    TEST_CASE("what looks would lack is said before a rollout starts") {
        const Folder folder;
        const std::string path = folder.file("m.db");
        CHECK(has(Observer(metrics_policy(), path).refusal(), "No such file or directory"));
        const MetricsFile file(path);
        CHECK(Observer(metrics_policy(), path).refusal().empty());
        Policy policy = metrics_policy();
        policy.metrics = {{"average", "select sum(duration_ms) / 0 from webhook_metrics"}};
        CHECK(Observer(policy, path).refusal().empty());
        policy.metrics.push_back({"letters", "select count(*) from letters where at >= $1"});
        CHECK(has(Observer(policy, path).refusal(), "metrics, letters: "));
        CHECK(has(Observer(policy, path).refusal(), "no such table: letters"));
        policy.metrics = {{"pair", "select 1, 2"}};
        CHECK(has(Observer(policy, path).refusal(), "metrics, pair: the query must give one"));
    }

    TEST_CASE("a table of another shape names the column and the mend") {
        const auto failure = [](const std::string& schema, Policy policy = metrics_policy()) {
            const Folder folder;
            const std::string path = folder.file("m.db");
            sqlite::Database file(path, sqlite::Mode::create);
            file.execute(schema);
            Observer observer(std::move(policy), path);
            return observer.failure(first_ask);
        };
        CHECK(has(failure("create table webhook_metrics (id integer primary key, x)"),
                  "it has no column webhook_name"));
        const std::string columns =
            "webhook_name, user_id, started_at, completed_at, duration_ms, status, error_message,"
            " request_id, created_at";
        CHECK(has(failure("create table webhook_metrics (id integer primary key, " + columns + ")"),
                  "it has no column agent_type"));
        CHECK(has(failure("create table webhook_metrics (id text primary key, agent_type, " +
                          columns + ")"),
                  "id must be INTEGER PRIMARY KEY"));
        CHECK(has(failure("create table t (id integer primary key, agent_type, " + columns +
                          "); create view webhook_metrics as select * from t"),
                  "id must be INTEGER PRIMARY KEY"));
        CHECK(has(
            failure("create table webhook_metrics (id integer primary key, agent_type, " + columns +
                    "); insert into webhook_metrics (webhook_name, created_at)"
                    " values ('new', '2026-01-01 00:00:00')"),
            "created_at of new holds text; store milliseconds"));
        Policy policy = metrics_policy();
        policy.source.table = "x\"; drop table y; --";
        CHECK_THROWS_AS(Observer(policy, "unused"), std::invalid_argument);
    }

    TEST_CASE("a stray time as text does not blind the source") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        file.log({.at = begin});
        file.database().execute(
            "insert into webhook_metrics (webhook_name, status, created_at)"
            " values ('new', 'error', 'now')");
        Observer observer(metrics_policy(), folder.file("m.db"));
        CHECK(requests(observer.observe(first_ask)) == 1);
    }

    TEST_CASE("a locked file is no evidence, and is read when it is free again") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        file.log({.at = begin});
        Observer observer(metrics_policy(), folder.file("m.db"));
        file.database().execute("begin exclusive");
        CHECK(has(observer.failure(first_ask), "database is locked"));
        file.database().execute("commit");
        CHECK(requests(observer.observe(first_ask)) == 1);
        file.database().execute("begin exclusive");
        CHECK(has(observer.failure(first_ask), "database is locked"));
        file.database().execute("rollback");
        CHECK(requests(observer.observe(first_ask)) == 1);
    }

    TEST_CASE("rows that a writer left in its WAL are seen, and looking leaves the file alone") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        CHECK(file.database().first_text("pragma journal_mode = wal") == "wal");
        file.database().execute("pragma wal_autocheckpoint = 0");
        file.log({.at = begin});
        Observer observer(metrics_policy(), folder.file("m.db"));
        const Look look = observer.observe(first_ask);
        CHECK(requests(look) == 1);
        file.log({.at = begin + 1});
        CHECK(requests(observer.observe(
                  ask(begin + 10 * second, begin + 20 * second, look.cursor))) == 1);
        CHECK(std::filesystem::file_size(folder.file("m.db-wal")) > 0);
    }

    TEST_CASE("a WAL file that nobody holds open is blind with the sentence that mends it") {
        const Folder folder;
        const std::string path = folder.file("m.db");
        auto file = std::make_unique<MetricsFile>(path);
        file->database().first_text("pragma journal_mode = wal");
        file->log({.at = begin});
        file.reset();
        REQUIRE_FALSE(std::filesystem::exists(path + "-shm"));
        std::filesystem::permissions(folder.path(), std::filesystem::perms(0555));
        {
            const Nobody nobody;
            Observer observer(metrics_policy(), path);
            const std::string failure = observer.failure(first_ask);
            CHECK_MESSAGE(has(failure, "keep one writer connected"), failure);
        }
        std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
        sqlite::Database writer(path, sqlite::Mode::read_write);
        writer.execute("select count(*) from webhook_metrics");
        Observer observer(metrics_policy(), path);
        CHECK(requests(observer.observe(first_ask)) == 1);
    }

    TEST_CASE("a file that was replaced is opened anew, and its rows are new") {
        const Folder folder;
        const std::string path = folder.file("m.db");
        auto file = std::make_unique<MetricsFile>(path);
        for (int i = 0; i < 10; ++i) file->log({.at = begin + i});
        Observer observer(metrics_policy(), path);
        const Look look = observer.observe(first_ask);
        CHECK(requests(look) == 10);
        std::filesystem::rename(path, folder.file("old.db"));
        file = std::make_unique<MetricsFile>(path);
        for (int i = 0; i < 3; ++i) file->log({.at = begin + 11 * second + i});
        const Look next =
            observer.observe(ask(begin + 10 * second, begin + 20 * second, look.cursor));
        CHECK(requests(next) == 3);
        REQUIRE(next.remarks.size() == 1);
        CHECK(has(next.remarks[0], "largest id went back from 10 to 3"));
        file->log({.at = begin + 12 * second});
        CHECK(requests(observer.observe(
                  ask(begin + 20 * second, begin + 30 * second, next.cursor))) == 1);
    }

    TEST_CASE("ids that come out of order are waited for, an hour long") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        const auto insert = [&](std::int64_t id, std::int64_t time) {
            file.database()
                .query(
                    "insert into webhook_metrics (id, webhook_name, status, duration_ms,"
                    " created_at) values (?1, 'new', 'success', 1, ?2)",
                    id, time)
                .run();
        };
        insert(1, begin);
        insert(100, begin);
        Observer observer(metrics_policy(), folder.file("m.db"));
        Look look = observer.observe(first_ask);
        CHECK(requests(look) == 2);
        insert(50, begin + 1);
        look = observer.observe(ask(begin + 10 * second, begin + 3600 * second, look.cursor));
        CHECK(requests(look) == 1);
        insert(51, begin + 1);
        look = observer.observe(ask(begin + 3600 * second, begin + 3601 * second, look.cursor));
        CHECK(requests(look) == 1);
        look = observer.observe(ask(begin + 3601 * second, begin + 3620 * second, look.cursor));
        insert(52, begin + 1);  // nobody waits any more
        look = observer.observe(ask(begin + 3620 * second, begin + 3640 * second, look.cursor));
        CHECK(requests(look) == 0);
        CHECK(rows::parse_cursor(look.cursor).open.empty());
    }

    TEST_CASE("the cursor stays small: the ranges met first are given up, with a remark") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        file.database().execute("begin");
        for (int i = 0; i < 4200; ++i) {
            file.log({.at = begin + i, .took = std::nullopt});
            file.log({.at = begin + i});
        }
        file.database().execute("commit");
        Observer observer(metrics_policy(), folder.file("m.db"));
        const Look look = observer.observe(first_ask);
        CHECK(requests(look) == 4200);
        REQUIRE(look.remarks.size() == 1);
        CHECK(has(look.remarks[0], "104 ranges of rows that never became final were given up"));
        CHECK(rows::parse_cursor(look.cursor).open.size() == rows::most_ranges);
    }

    TEST_CASE("a run of taken ids over several ranges leaves a gap in none of them") {
        const TimePoint early = at(begin), late = at(begin + second);
        rows::Gaps gaps({{1, 5, early}, {6, 9, late}, {20, 30, late}}, {{2, 24, {}}, {26, 26, {}}});
        std::vector<rows::IdRange> given;
        gaps.give_rest([&](const rows::IdRange& gap) { given.push_back(gap); });
        CHECK(given == std::vector<rows::IdRange>{{1, 1, early}, {25, 25, late}, {27, 30, late}});
    }

    TEST_CASE("catching up in small looks counts each row once, and later rows need no range") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        file.database().execute("begin");
        for (int i = 0; i < 30'000; ++i) file.log({.at = begin + i * 10});
        file.database().execute("commit");
        Observer observer(metrics_policy(), folder.file("m.db"));
        std::string cursor;
        std::int64_t counted = 0;
        for (int i = 0; i < 30; ++i) {
            const Look look = observer.observe(
                ask(begin + i * 10 * second, begin + (i + 1) * 10 * second, cursor));
            CHECK(requests(look) == 1000);
            counted += requests(look);
            cursor = look.cursor;
            CHECK(rows::parse_cursor(cursor).open.empty());
        }
        CHECK(counted == 30'000);
    }

    TEST_CASE("the largest possible id is a sentence, not an overflow") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        file.database().execute(
            "insert into webhook_metrics (id, webhook_name, status, created_at)"
            " values (9223372036854775807, 'new', 'error', " +
            std::to_string(begin) + ")");
        Observer observer(metrics_policy(), folder.file("m.db"));
        CHECK(has(observer.failure(first_ask), "largest possible id"));
    }

    TEST_CASE("a table without an index is read, and the mend is said at the first look") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"), false);
        file.log({.at = begin});
        Observer observer(metrics_policy(), folder.file("m.db"));
        const Look look = observer.observe(first_ask);
        CHECK(requests(look) == 1);
        REQUIRE(look.remarks.size() == 1);
        CHECK(has(look.remarks[0], "CREATE INDEX"));
        file.database().execute(look.remarks[0].substr(look.remarks[0].find("CREATE INDEX")));
        observer.restart();
        CHECK(observer.observe(first_ask).remarks.empty());
    }

    TEST_CASE("a damaged cursor is a sentence, never a crash or a silent restart") {
        rows::Cursor cursor{at(begin),
                            at(begin + 5),
                            900,
                            {{3, 5, at(1)}, {7, 7, at(2)}},
                            {{1, 1, at(3)}},
                            {0xfedcba9876543210ULL, 1}};
        const std::string text = rows::to_text(cursor);
        CHECK(rows::parse_cursor(text) == cursor);
        cursor = {at(-1), at(-1), -5, {{-9, -7, at(-3)}}, {}, {}};
        CHECK(rows::parse_cursor(rows::to_text(cursor)) == cursor);
        // From there on a shorter text is another cursor.
        for (std::size_t i = 0; i < text.find("told=") + 5; ++i) {
            CHECK_THROWS_AS(rows::parse_cursor(text.substr(0, i)), std::runtime_error);
        }
        for (const char* bad : {"", "2 since=1", "1 since=1 to=2 next=3 open=2:1:5 hung= told=",
                                "1 since=1 to=2 next=3 open=1:3:5 hung= told=",
                                "1 since=1 to=2 next=9 open=4:4:5,3:3:5 hung= told=",
                                "1 since=1 to=2 next=9 open=4:4:5, hung= told=",
                                "1 since=99999999999999999999 to=2 next=9 open= hung= told=",
                                "1 since=1 to=2 next=9 open= hung= told=xyz",
                                "1 since=1 to=2 next=9 open= hung= told=1 "}) {
            CAPTURE(bad);
            CHECK_THROWS_AS(rows::parse_cursor(bad), std::runtime_error);
        }
        std::mt19937 random(3);
        for (int i = 0; i < 20'000; ++i) {
            std::string hurt = text;
            hurt[random() % hurt.size()] = static_cast<char>(random() % 256);
            rows::Cursor read;
            try {
                read = rows::parse_cursor(hurt);
            } catch (const std::runtime_error&) {
                continue;
            }
            // What is accepted is a cursor that would be written again.
            if (rows::parse_cursor(rows::to_text(read)) != read) FAIL_CHECK(hurt);
        }
    }

    TEST_CASE("an unknown kind or connection is named") {
        StillClock clock;
        asio::io_context io;
        Settings settings;
        Policy policy = metrics_policy();
        const auto failure = [&] {
            try {
                make_source(policy, settings, io.get_executor(), clock);
            } catch (const std::invalid_argument& error) {
                return std::string(error.what());
            }
            return std::string();
        };
        CHECK(has(failure(), "source.connection \"metrics\" is not among"));
        settings.connections["metrics"] = {"metrics", "slack", "", "", ""};
        CHECK(has(failure(), "of kind slack"));
        policy.source.kind = "oracle";
        CHECK(has(failure(), "known: sqlite"));
        policy.source.kind = "sqlite";
        settings.connections["metrics"] = metrics_connection("/nowhere/m.db");
        CHECK(failure().empty());  // nothing is opened yet
    }
}

}  // namespace canaryd::testing
