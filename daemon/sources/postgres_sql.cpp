#include "daemon/sources/postgres_sql.hpp"

#include <map>
#include <stdexcept>

#include "daemon/sources/sqlite_sql.hpp"

namespace canaryd::rows::pg {

namespace {

using postgres::Type;

const std::string longest = std::to_string(longest_ms);

/// Infinity is a time that nobody believes, not a missing one: `infinite` leaves no duration that
/// anybody would believe either, between whatever two times.
std::string milliseconds(const std::string& column, const char* infinite) {
    return "case when " + column + " is null then null when isfinite(" + column +
           ") then floor(extract(epoch from " + column + ") * 1000)::bigint" + " else " + infinite +
           " end";
}

std::string in_window(const Table& table) {
    return " from " + table.from +
           " where created_at >= $1::timestamptz and created_at < $2::timestamptz"
           " and webhook_name = any($3::text[])";
}

std::string row_columns(const Table& table) {
    return "id::bigint, webhook_name::text, user_id::text, " + table.segment +
           "::text, status::text, " + milliseconds("started_at", "9223372036854775807") + ", " +
           milliseconds("completed_at", "-9223372036854775808") + ", " +
           milliseconds("created_at", "-9223372036854775808") + ", " + table.duration;
}

/// What is an event of the signal, in the words of the subquery in window().
std::string is_event(const Signal& signal) {
    switch (signal.kind) {
        case Signal::Kind::failed:
            return "status <> 'success' or running";
        case Signal::Kind::slower:
            return "status = 'timeout' or running or coalesce(took > " +
                   std::to_string(signal.than.count()) + " and took <= " + longest + ", false)";
        case Signal::Kind::counted:
            break;  // by a query of its own
    }
    return "false";
}

const char* message = "left(coalesce(nullif(error_message::text, ''), status::text), 200)";

bool is_text(Type type) {
    return type == Type::text;
}
bool is_time(Type type) {
    return type == Type::time || type == Type::time_without_zone;
}
bool is_whole(Type type) {
    return type == Type::integer;
}
bool is_number(Type type) {
    return type == Type::integer || type == Type::real || type == Type::numeric;
}
bool is_any(Type) {
    return true;
}

struct Column {
    const char* name;
    bool (*fits)(Type);
    const char* due;
};
constexpr Column needed[] = {
    {"id", is_whole, "a whole number that grows (bigint)"},
    {"webhook_name", is_text, "text"},
    {"user_id", is_any, ""},
    {"status", is_any, ""},
    {"started_at", is_time, "timestamptz"},
    {"completed_at", is_time, "timestamptz"},
    {"created_at", is_time, "timestamptz"},
    {"duration_ms", is_number, "a number of milliseconds"},
    {"error_message", is_any, ""},
    {"request_id", is_any, ""},
};

}  // namespace

Table table_of(const Policy& policy) {
    Table table;
    table.from = policy.source.query.empty() ? sql::identifier(policy.source.table)
                                             : "(" + policy.source.query + "\n) as metrics";
    table.segment = policy.segment_column.empty() ? "null" : sql::identifier(policy.segment_column);
    table.duration = "duration_ms";
    return table;
}

std::string columns(const Table& table) {
    return "select * from " + table.from + " limit 0";
}

Table checked(Table table, const Policy& policy, const postgres::Result& columns) {
    std::map<std::string, Type> types;
    for (int i = 0; i < columns.columns(); ++i)
        types.emplace(columns.column_name(i), columns.type(i));
    const bool query = !policy.source.query.empty();
    const std::string what = query ? "source.query" : "table " + policy.source.table;
    const auto missing = [&](const std::string& name, const std::string& mend) {
        throw std::runtime_error(what + " has no column " + name + mend);
    };
    for (const Column& column : needed) {
        const auto found = types.find(column.name);
        if (found == types.end()) {
            missing(column.name, query ? "; name it with `as " + std::string(column.name) +
                                             "`, or write a null of its type where there is none"
                                       : "");
        }
        if (!column.fits(found->second)) {
            throw std::runtime_error(what + ": column " + column.name + " must be " + column.due +
                                     (query ? "; cast it" : "; write a source.query that casts"));
        }
    }
    if (!policy.segment_column.empty() && types.count(policy.segment_column) == 0)
        missing(policy.segment_column, ", the policy's segment");
    // A number beyond what a double holds is an error to PostgreSQL, and one row must not blind.
    table.duration = is_whole(types["duration_ms"])
                         ? "duration_ms::bigint"
                         : "case when duration_ms is null then null when abs(duration_ms) <= 1e15 "
                           "then duration_ms::double precision else -1 end";
    return table;
}

// Most blocks of ids have no gap, and to count is cheap. In the others a run is from where no row
// has the id before to where none has the id behind. The ends of the range are constants, which the
// planner needs: by its guess for unknown ones, a part of the whole table, it would make room
// first.
std::string taken(const Table& table) {
    return "with blocks as (select min(id) as first, max(id) as last, count(*) as ids"
           " from (select id::bigint from " +
           table.from + " where id >= $1::bigint and id <= $2::bigint order by id limit " +
           std::to_string(most_rows) +
           ") as rows group by id >> 8)"
           " select first, last from blocks where ids = last - first + 1"
           " union all select id, last from (select id, starts,"
           " case when ends then id else lead(id) over (partition by first order by id) end as last"
           " from (select first, id, coalesce(id - lag(id) over block > 1, true) as starts,"
           " coalesce(lead(id) over block - id > 1, true) as ends from blocks cross join lateral"
           " (select id::bigint from " +
           table.from +
           " where id >= first and id <= last offset 0) as rows where ids <> last - first + 1"
           " window block as (partition by first order by id)) as marked where starts or ends)"
           " as edges where starts order by 1";
}

std::string taken_each(const Table& table) {
    return "select id from unnest($1::bigint[], $2::bigint[]) as range (lo, hi) cross join lateral"
           " (select id::bigint from " +
           table.from + " where id >= lo and id <= hi order by id limit " +
           std::to_string(most_rows) + ") as rows order by id";
}

std::string read(const Table& table) {
    return "select " + row_columns(table) + " from " + table.from +
           " where id >= $1::bigint and id <= $2::bigint and webhook_name = any($3::text[])"
           " order by id";
}

// Offset 0, so that the ranges are looked up by their ids, whoever has them.
std::string read_each(const Table& table) {
    return "select " + row_columns(table) +
           " from unnest($1::bigint[], $2::bigint[]) as range (lo, hi) cross join lateral"
           " (select * from " +
           table.from +
           " where id >= lo and id <= hi offset 0) as rows"
           " where webhook_name = any($3::text[]) order by id";
}

std::string events(const Table& table, Duration quick) {
    return "select " + row_columns(table) + in_window(table) +
           " and (status = 'success' and duration_ms <= " + std::to_string(quick.count()) +
           ") is not true";
}

// Plus 0, so that the planner does not walk the primary key from the first row ever written.
std::string first_id(const Table& table) {
    return "select min(id + 0)::bigint from " + table.from +
           " where created_at >= $1::timestamptz and webhook_name = any($2::text[])";
}

std::string last_id(const Table& table) {
    return "select max(id)::bigint from " + table.from;
}

std::string window(const Table& table, const WindowAsk& ask) {
    const std::string who = "select webhook_name = $4::text, ";
    const std::string group = ask.each_segment ? " group by 1, 2" : " group by 1";
    if (!ask.signal) {
        // Every row is traffic, whatever became of it: the index alone answers for the total.
        const std::string users =
            ask.users ? "count(distinct nullif(user_id::text, '') collate \"C\")" : "0";
        return who + (ask.each_segment ? table.segment + "::text" : "null") + ", count(*), 0, " +
               users + in_window(table) + group;
    }
    return who + (ask.each_segment ? "segment" : "null") +
           ", count(*), count(*) filter (where event), count(distinct case when event then"
           " coalesce('user ' || nullif(user_id, ''), 'row ' || id) end collate \"C\")"
           " from (select webhook_name, id, user_id, segment, " +
           is_event(*ask.signal) +
           " as event from (select webhook_name, id, user_id::text as user_id, " + table.segment +
           "::text as segment, status::text as status, created_at,"
           " status = 'success' and completed_at is null and duration_ms is null as running,"
           " case when duration_ms is not null then " +
           table.duration +
           " when isfinite(completed_at) and isfinite(started_at)"
           " then floor(extract(epoch from completed_at) * 1000)"
           " - floor(extract(epoch from started_at) * 1000) end as took" +
           in_window(table) +
           " and status in ('success', 'error', 'timeout')"
           " and (duration_ms is null or duration_ms between 0 and " +
           longest +
           ")) as one where (not running or created_at < $5::timestamptz)"
           " and (status <> 'success' or running or took between 0 and " +
           longest + ")) as each_one" + group;
}

std::string top_errors(const Table& table) {
    return "select " + std::string(message) + ", count(*) from " + table.from +
           " where webhook_name = $3 and created_at >= $1::timestamptz"
           " and created_at < $2::timestamptz and status in ('error', 'timeout')"
           " group by 1 order by 2 desc, 1 limit 3";
}

std::string request_ids(const Table& table) {
    return "select left(request_id::text, 200) from " + table.from +
           " where webhook_name = $3 and created_at >= $1::timestamptz"
           " and created_at < $2::timestamptz and status in ('error', 'timeout')"
           " and request_id is not null and " +
           message + " = $4 group by 1 order by max(created_at) desc, max(id) desc limit 2";
}

std::string facts() {
    return "select exists (select from pg_index i"
           " join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
           " join pg_attribute b on b.attrelid = i.indrelid and b.attnum = i.indkey[1]"
           " where i.indrelid = t.relation and i.indisvalid and i.indpred is null"
           " and a.attname = 'webhook_name' and b.attname = 'created_at'),"
           " exists (select from pg_index i"
           " join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
           " where i.indrelid = t.relation and i.indisvalid and i.indpred is null"
           " and a.attname = 'id'),"
           " row_security_active(t.relation) and not exists (select from pg_policy p"
           " where p.polrelid = t.relation and p.polcmd in ('*', 'r') and (p.polroles = '{0}'"
           " or exists (select from unnest(p.polroles) as role"
           " where pg_has_role(current_user, role, 'member')))),"
           " current_user::text"
           " from (select to_regclass($1) as relation) as t where t.relation is not null";
}

}  // namespace canaryd::rows::pg
