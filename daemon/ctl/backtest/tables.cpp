// Rows of the metrics table: from PostgreSQL, from a SQLite file, or exported as CSV.
#include <charconv>
#include <limits>

#include "canaryd/text.hpp"
#include "daemon/ctl/backtest/csv.hpp"
#include "daemon/ctl/backtest/history.hpp"
#include "daemon/log.hpp"
#include "daemon/sources/postgres_reader.hpp"
#include "daemon/sources/postgres_sql.hpp"
#include "daemon/sources/sqlite_reader.hpp"
#include "daemon/sources/sqlite_sql.hpp"
#include "daemon/sqlite.hpp"
#include "daemon/units.hpp"

namespace canaryd::backtest {
namespace {

/// Every row of the rollout that a reader has, in the order of ids; with `since` those written from
/// then on. Any database that has a RowReader can be played from.
History read_rows(rows::RowReader& reader, Recorder& recorder, const std::string& what,
                  Duration patience, std::optional<TimePoint> since = std::nullopt) {
    using Steady = std::chrono::steady_clock;
    const Steady::time_point begun = Steady::now();
    std::int64_t rows = 0;
    const auto give_up_when_late = [&] {
        constexpr std::int64_t some = 4096;  // a clock is read no more often than this
        if (patience <= Duration{0} || ++rows % some != 0) return;
        if (Steady::now() - begun < patience) return;
        throw BadFile(what + ": not read within " + text::duration(patience) +
                      "; canaryctl plan takes its time");
    };
    const std::optional<std::int64_t> first =
        since ? reader.first_id(*since) : std::numeric_limits<std::int64_t>::min();
    if (!first) return std::move(recorder).finish(what);
    const auto is_older = [&](const rows::Cell& written) {
        return since && written.kind == rows::Cell::Kind::integer &&
               written.integer < since->time_since_epoch().count();
    };
    const rows::IdRange all{*first, std::numeric_limits<std::int64_t>::max(), {}};
    reader.read({all}, [&](const rows::Row& row) {
        give_up_when_late();
        if (!is_older(row.created_at)) {
            recorder.add(row, what + ", row " + std::to_string(row.id));
        }
        return true;
    });
    return std::move(recorder).finish(what);
}

/// The policy with the table that was asked for.
Policy with_table(const Policy& policy, const Reading& reading) {
    Policy asked = policy;
    if (!reading.table.empty()) {
        asked.source.table = reading.table;
        asked.source.query.clear();
    }
    return asked;
}

rows::Cell text_cell(std::string_view text) {
    rows::Cell cell;
    cell.kind = rows::Cell::Kind::text;
    cell.text = text;
    return cell;
}

/// Columns of the metrics table, where the file has them.
struct Columns {
    std::size_t webhook, user, segment, status, started, completed, duration, created;
};

Columns columns_of(Csv& csv, const Header& header, const Policy& policy) {
    Columns at{};
    const std::string mend = "export the metrics table with its column names";
    at.webhook = header.need(csv, "webhook_name", mend);
    at.status = header.need(csv, "status", mend);
    at.created = header.need(csv, "created_at", mend);
    at.user = header.find("user_id");
    at.started = header.find("started_at");
    at.completed = header.find("completed_at");
    at.duration = header.find("duration_ms");
    if (at.duration == Header::none &&
        (at.completed == Header::none || at.started == Header::none)) {
        header.need(csv, "duration_ms", "export it, or both started_at and completed_at");
    }
    at.segment = policy.segments.empty()
                     ? Header::none
                     : header.need(csv, policy.segment_column, "the policy's segments are in it");
    return at;
}

class CsvRows {
public:
    CsvRows(Csv& csv, const Header& header, const Columns& columns)
        : csv_(csv), header_(header), at_(columns) {}

    /// False after the last row.
    bool next(rows::Row& row) {
        if (!csv_.next()) return false;
        header_.check(csv_);
        ++id_;
        row.id = id_;
        row.webhook = text_at(at_.webhook);
        row.user = text_at(at_.user);
        row.segment = text_at(at_.segment);
        row.status = text_at(at_.status);
        row.started_at = time_at(at_.started);
        row.completed_at = time_at(at_.completed);
        row.created_at = time_at(at_.created);
        row.duration_ms = number_at(at_.duration);
        return true;
    }

private:
    /// Nothing, and PostgreSQL's \N, are no value.
    [[nodiscard]] rows::Cell text_at(std::size_t column) const {
        if (column == Header::none) return {};
        const std::string_view text = csv_.field(column);
        if (!csv_.quoted(column) && (text.empty() || text == "\\N" || text == "NULL")) return {};
        return text_cell(text);
    }
    [[nodiscard]] rows::Cell time_at(std::size_t column) const {
        const rows::Cell cell = text_at(column);
        if (cell.kind == rows::Cell::Kind::null) return cell;
        const auto time = read_time(cell.text);
        if (!time) {
            csv_.bad(header_.names()[column] + ": " + as_written(cell.text) +
                     " is no time; write 2026-01-11T09:00:00Z, or milliseconds since 1970");
        }
        rows::Cell read;
        read.kind = rows::Cell::Kind::integer;
        read.integer = *time;
        return read;
    }
    [[nodiscard]] rows::Cell number_at(std::size_t column) const {
        rows::Cell cell = text_at(column);
        if (cell.kind == rows::Cell::Kind::null) return cell;
        const char* begin = cell.text.data();
        const char* end = begin + cell.text.size();
        rows::Cell read;
        if (std::from_chars(begin, end, read.integer).ptr == end) {
            read.kind = rows::Cell::Kind::integer;
            return read;
        }
        if (std::from_chars(begin, end, read.real).ptr == end) {
            read.kind = rows::Cell::Kind::real;
            return read;
        }
        return cell;  // the rules of a row say what is wrong with it
    }

    Csv& csv_;
    const Header& header_;
    Columns at_;
    std::int64_t id_ = 0;
};

}  // namespace

History read_postgres(const Policy& policy, const Reading& reading) {
    const Policy of_table = with_table(policy, reading);
    Recorder recorder(policy);
    postgres::Database database([&] { return *reading.database; });
    const Duration statement =
        reading.patience > Duration{0} ? reading.patience : Duration{std::chrono::minutes{1}};
    try {
        postgres::Transaction snapshot(
            database, postgres::Transaction::Kind::snapshot,
            {statement, std::chrono::seconds{1}, std::chrono::minutes{5}});
        rows::pg::Table table = rows::pg::table_of(of_table);
        table = rows::pg::checked(table, of_table, snapshot.run(rows::pg::columns(table)));
        rows::PostgresReader reader(snapshot, table, recorder.rules());
        const TimePoint now =
            snapshot.run("SELECT floor(extract(epoch FROM now()) * 1000)::bigint").time(0, 0);
        const std::string what =
            database.name() + ", " +
            (of_table.source.query.empty() ? "table " + of_table.source.table : "the query") +
            ", its newest " + text::duration(newest_of_postgres);
        return read_rows(reader, recorder, what, reading.patience, now - newest_of_postgres);
    } catch (const BadFile&) {
        throw;
    } catch (const postgres::Error& error) {
        throw BadFile(error.what());
    } catch (const std::runtime_error& error) {
        throw BadFile(database.name() + ": " + error.what());
    }
}

History read_sqlite(const Policy& policy, const Reading& reading) {
    const Policy of_table = with_table(policy, reading);
    Recorder recorder(policy);
    try {
        const rows::sql::Table table = rows::sql::table_of(of_table);
        sqlite::Database database(reading.from, sqlite::Mode::read_only);
        rows::SqliteReader reader(database, table, recorder.rules());
        return read_rows(reader, recorder, reading.from + ", table " + of_table.source.table,
                         reading.patience);
    } catch (const sqlite::Error& error) {
        std::string mend = "; the table's columns are in daemon/sources/README.md";
        if (error.cannot_open() || error.no_shared_memory()) {
            mend = "; a copy made with sqlite3's .backup can always be read";
        }
        throw BadFile(error.what() + mend);
    } catch (const std::invalid_argument& error) {
        throw BadFile(error.what());
    }
}

History read_metrics_csv(const Policy& policy, const Reading& reading) {
    Csv csv(reading.from);
    const Header header(csv);
    const Columns columns = columns_of(csv, header, policy);
    CsvRows all(csv, header, columns);
    Recorder recorder(policy);
    for (rows::Row row; all.next(row);) recorder.add(row, csv.where());
    return std::move(recorder).finish(reading.from + ", rows of the metrics table");
}

}  // namespace canaryd::backtest
