#include "daemon/sources/postgres_reader.hpp"

#include <limits>

namespace canaryd::rows {

namespace {

using postgres::Result;

Cell text_cell(const Result& rows, int row, int column) {
    Cell cell;
    if (rows.is_null(row, column)) return cell;
    cell.kind = Cell::Kind::text;
    cell.text = rows.view(row, column);
    return cell;
}

Cell number_cell(const Result& rows, int row, int column) {
    Cell cell;
    if (rows.is_null(row, column)) return cell;
    if (rows.type(column) == postgres::Type::integer) {
        cell.kind = Cell::Kind::integer;
        cell.integer = rows.integer(row, column);
    } else {
        cell.kind = Cell::Kind::real;
        cell.real = rows.real(row, column);
    }
    return cell;
}

bool give(const Result& rows, int i, const RowReader::Take& take) {
    Row row;
    row.id = rows.integer(i, 0);
    row.webhook = text_cell(rows, i, 1);
    row.user = text_cell(rows, i, 2);
    row.segment = text_cell(rows, i, 3);
    row.status = text_cell(rows, i, 4);
    row.started_at = number_cell(rows, i, 5);
    row.completed_at = number_cell(rows, i, 6);
    row.created_at = number_cell(rows, i, 7);
    row.duration_ms = number_cell(rows, i, 8);
    return take(row);
}

/// The first and the last ids of ranges, for one statement.
struct Ends {
    std::vector<std::int64_t> first, last;

    explicit Ends(const std::vector<IdRange>& ranges) {
        for (const IdRange& range : ranges) {
            first.push_back(range.lo);
            last.push_back(range.hi);
        }
    }
};

}  // namespace

std::optional<std::int64_t> PostgresReader::first_id(TimePoint from) {
    const Result rows = snapshot_.run(pg::first_id(table_), from, rules_.names);
    if (rows.is_null(0, 0)) return std::nullopt;
    return rows.integer(0, 0);
}

std::int64_t PostgresReader::end_id() {
    const Result rows = snapshot_.run(pg::last_id(table_));
    if (rows.is_null(0, 0)) return 1;
    const std::int64_t last = rows.integer(0, 0);
    return last == std::numeric_limits<std::int64_t>::max() ? last : last + 1;
}

// One range, such as the end of the table, goes by constants, which the planner can judge. Several
// are open ones, mostly a running row or a gap, and go in one statement, however many they are.
std::vector<IdRange> PostgresReader::taken(const std::vector<IdRange>& ranges) {
    std::vector<IdRange> runs;
    if (ranges.size() == 1) {
        snapshot_.each(pg::taken(table_), postgres::Params(ranges[0].lo, ranges[0].hi),
                       [&](const Result& rows, int row) {
                           append(runs, {rows.integer(row, 0), rows.integer(row, 1), {}});
                           return true;
                       });
        return runs;
    }
    const Ends ends(ranges);
    snapshot_.each(pg::taken_each(table_), postgres::Params(ends.first, ends.last),
                   [&](const Result& rows, int row) {
                       append(runs, {rows.integer(row, 0), rows.integer(row, 0), {}});
                       return true;
                   });
    return runs;
}

void PostgresReader::read(const std::vector<IdRange>& ranges, const Take& take) {
    const auto give_each = [&](const Result& rows, int row) { return give(rows, row, take); };
    if (ranges.size() == 1) {
        snapshot_.each(pg::read(table_), postgres::Params(ranges[0].lo, ranges[0].hi, rules_.names),
                       give_each);
        return;
    }
    const Ends ends(ranges);
    snapshot_.each(pg::read_each(table_), postgres::Params(ends.first, ends.last, rules_.names),
                   give_each);
}

void PostgresReader::read_events(TimePoint from, TimePoint to, const Take& take) {
    snapshot_.each(pg::events(table_, rules_.quick), postgres::Params(from, to, rules_.names),
                   [&](const Result& rows, int row) { return give(rows, row, take); });
}

std::vector<RowReader::Counted> PostgresReader::count(const WindowAsk& ask, TimePoint hung_before) {
    postgres::Params params(ask.from, ask.to, rules_.names, rules_.names.front());
    if (ask.signal) params.add(hung_before);
    const Result rows = snapshot_.run(pg::window(table_, ask), params);
    std::vector<Counted> all;
    for (int row = 0; row < rows.size(); ++row) {
        Counted counted;
        counted.who = rows.boolean(row, 0) ? Population::canary : Population::baseline;
        if (!rows.is_null(row, 1)) counted.segment = rows.text(row, 1);
        // Rows without a segment are no segment's.
        if (ask.each_segment && counted.segment.empty()) continue;
        counted.requests = rows.integer(row, 2);
        counted.failures = rows.integer(row, 3);
        counted.users = rows.integer(row, 4);
        all.push_back(std::move(counted));
    }
    return all;
}

/// Behind a savepoint: what the query does wrong ends neither the snapshot nor its limits.
std::vector<std::optional<double>> PostgresReader::numbers(const WindowAsk& ask,
                                                           std::string& remark) {
    std::vector<std::optional<double>> numbers;
    snapshot_.run("savepoint canaryd_number");
    try {
        snapshot_.run("set local statement_timeout = 5000");
        const Result rows = snapshot_.run(ask.query, ask.from, ask.to);
        if (rows.columns() != ask.numbers || rows.size() != 1) {
            remark = "the query gave " + std::to_string(rows.size()) + " rows of " +
                     std::to_string(rows.columns()) + " columns, not " +
                     numbers_in_words(ask.numbers);
        } else {
            for (int i = 0; i < ask.numbers; ++i) {
                numbers.push_back(rows.is_null(0, i) ? std::nullopt
                                                     : std::optional(rows.real(0, i)));
            }
        }
    } catch (const postgres::Broken&) {
        throw;  // the connection's own troubles are the whole look's
    } catch (const postgres::Error& error) {
        numbers.clear();
        remark = error.what();
    }
    snapshot_.run("rollback to savepoint canaryd_number");
    return numbers;
}

}  // namespace canaryd::rows
