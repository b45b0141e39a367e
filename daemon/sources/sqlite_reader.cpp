#include "daemon/sources/sqlite_reader.hpp"

#include <limits>
#include <stdexcept>
#include <utility>

#include "daemon/log.hpp"

namespace canaryd::rows {

namespace {

Cell cell(const sqlite::Statement& statement, int column) {
    Cell cell;
    switch (statement.type(column)) {
        case sqlite::Type::null:
            break;
        case sqlite::Type::integer:
            cell.kind = Cell::Kind::integer;
            cell.integer = statement.integer(column);
            break;
        case sqlite::Type::real:
            cell.kind = Cell::Kind::real;
            cell.real = statement.real(column);
            break;
        case sqlite::Type::text:
        case sqlite::Type::blob:
            cell.kind = Cell::Kind::text;
            cell.text = statement.view(column);
            break;
    }
    return cell;
}

void give(sqlite::Statement& statement, const RowReader::Take& take) {
    while (statement.step()) {
        Row row;
        row.id = statement.integer(0);
        row.webhook = cell(statement, 1);
        row.user = cell(statement, 2);
        row.segment = cell(statement, 3);
        row.status = cell(statement, 4);
        row.started_at = cell(statement, 5);
        row.completed_at = cell(statement, 6);
        row.created_at = cell(statement, 7);
        row.duration_ms = cell(statement, 8);
        if (!take(row)) return;
    }
}

}  // namespace

SqliteReader::SqliteReader(sqlite::Database& database, const sql::Table& table, const Rules& rules)
    : database_(database),
      table_(table),
      rules_(rules),
      snapshot_(database, sqlite::Transaction::Kind::deferred) {}

std::optional<std::int64_t> SqliteReader::first_id(TimePoint from) {
    sqlite::Statement statement = database_.query(sql::first_id(table_), from, nullptr);
    bind_names(statement, 3);
    if (!statement.step() || statement.is_null(0)) return std::nullopt;
    return statement.integer(0);
}

std::int64_t SqliteReader::end_id() {
    sqlite::Statement statement = database_.prepare("select max(id) from " + table_.name);
    if (!statement.step() || statement.is_null(0)) return 1;
    const std::int64_t last = statement.integer(0);
    return last == std::numeric_limits<std::int64_t>::max() ? last : last + 1;
}

std::vector<IdRange> SqliteReader::taken(const std::vector<IdRange>& ranges) {
    std::vector<IdRange> runs;
    for (const IdRange& range : ranges) {
        sqlite::Statement statement = database_.query(sql::taken(table_), range.lo, range.hi);
        while (statement.step()) runs.push_back({statement.integer(0), statement.integer(1), {}});
    }
    return runs;
}

void SqliteReader::read(const std::vector<IdRange>& ranges, const Take& take) {
    bool more = true;
    for (const IdRange& range : ranges) {
        sqlite::Statement statement = database_.query(sql::read(table_), range.lo, range.hi);
        bind_names(statement, 3);
        give(statement, [&](const Row& row) { return more = take(row); });
        if (!more) return;
    }
}

void SqliteReader::read_events(TimePoint from, TimePoint to, const Take& take) {
    sqlite::Statement statement = database_.query(sql::events(table_, rules_.quick), from, to);
    bind_names(statement, 3);
    give(statement, take);
}

std::vector<RowReader::Counted> SqliteReader::count(const WindowAsk& ask, TimePoint hung_before) {
    sqlite::Statement statement =
        database_.query(sql::window(table_, ask), ask.from, ask.to, hung_before);
    bind_names(statement, 4);
    std::vector<Counted> all;
    while (statement.step()) {
        Counted counted;
        counted.who = statement.integer(0) == 1 ? Population::canary : Population::baseline;
        const Cell scope = cell(statement, 1);
        if (scope.kind == Cell::Kind::text) counted.segment = scope.text;
        if (scope.kind == Cell::Kind::integer) counted.segment = std::to_string(scope.integer);
        // Rows without a segment are no segment's.
        if (ask.each_segment && counted.segment.empty()) continue;
        counted.requests = statement.integer(2);
        counted.failures = statement.integer(3);
        counted.users = statement.integer(4);
        all.push_back(std::move(counted));
    }
    return all;
}

std::vector<std::optional<double>> SqliteReader::numbers(const WindowAsk& ask,
                                                         std::string& remark) {
    try {
        return asked(ask);
    } catch (const std::invalid_argument& error) {
        remark = error.what();
    } catch (const sqlite::Error& error) {
        // The file's own troubles are the whole look's.
        if (error.interrupted() || error.busy() || error.damaged()) throw;
        remark = error.what();
    }
    return {};
}

sqlite::Statement SqliteReader::prepared(const std::string& query, int numbers) {
    sqlite::Statement statement = database_.prepare(sql::numbered(query));
    if (!statement.only_reads() || statement.column_count() != numbers ||
        statement.parameter_count() > 2) {
        throw std::invalid_argument("the query must give " + numbers_in_words(numbers) +
                                    ", from $1 and $2, and write nothing");
    }
    return statement;
}

std::vector<std::optional<double>> SqliteReader::asked(const WindowAsk& ask) {
    sqlite::Statement statement = prepared(ask.query, ask.numbers);
    if (statement.parameter_count() > 0) statement.bind(1, ask.from);
    if (statement.parameter_count() > 1) statement.bind(2, ask.to);
    if (!statement.step()) throw std::invalid_argument("the query gave no row");
    std::vector<std::optional<double>> numbers;
    for (int i = 0; i < ask.numbers; ++i) {
        const Cell value = cell(statement, i);
        switch (value.kind) {
            case Cell::Kind::null:
                numbers.emplace_back();
                break;
            case Cell::Kind::text:
                throw std::invalid_argument("the query gave the text \"" +
                                            escaped(value.text.substr(0, 40)) + "\"");
            case Cell::Kind::integer:
                numbers.emplace_back(static_cast<double>(value.integer));
                break;
            case Cell::Kind::real:
                numbers.emplace_back(value.real);
                break;
        }
    }
    if (statement.step()) throw std::invalid_argument("the query gave more than one row");
    return numbers;
}

void SqliteReader::bind_names(sqlite::Statement& statement, int first) const {
    for (const std::string& name : rules_.names) {
        statement.bind(first++, std::string_view(name));
    }
}

}  // namespace canaryd::rows
