// The statements with which a PostgreSQL metrics table is read, as text: what a person can run by
// hand. Times are asked for as whole milliseconds since 1970, rounded down, so that a row is in
// [from, to) for canaryd exactly when it is for the database.
#pragma once

#include <string>
#include <vector>

#include "canaryd/policy.hpp"
#include "daemon/postgres.hpp"
#include "daemon/sources/rows.hpp"

namespace canaryd::rows::pg {

/// What stands behind FROM, and how its columns are read.
struct Table {
    std::string from;      // "webhook_metrics", or (the policy's query) as metrics
    std::string segment;   // quoted column, or null
    std::string duration;  // in milliseconds, as bigint or double precision
};

/// The table of a policy, before its columns are known: duration_ms is taken as it is.
Table table_of(const Policy& policy);
/// No rows, all columns: for its types.
std::string columns(const Table& table);
/// The table with its duration_ms read by its type. Throws std::runtime_error that names the
/// column that is missing or of a type that cannot be used, and the mend.
Table checked(Table table, const Policy& policy, const postgres::Result& columns);

/// $1 and $2: the first and the last id. Columns: the first and the last of each run of ids that
/// rows have, in order. Runs may touch.
std::string taken(const Table& table);
/// $1 and $2: the first and the last ids of many ranges. Column: each id that a row has, in order.
std::string taken_each(const Table& table);
/// $1 and $2: the first and the last id, $3: the names. Columns as in rows::Row.
std::string read(const Table& table);
/// The same of many ranges, their first and last ids.
std::string read_each(const Table& table);
/// $1 and $2: begin and end, $3: the names. Quick successes are left out.
std::string events(const Table& table, Duration quick);
/// $1: from, $2: the names.
std::string first_id(const Table& table);
std::string last_id(const Table& table);
/// $1 and $2: begin and end, $3: the names, $4: the canary, and with a signal $5: running rows
/// older than this have hung. Columns: whether it is the canary, segment (null without
/// each_segment), requests, failures, users.
std::string window(const Table& table, const WindowAsk& ask);
/// $1 and $2: begin and end, $3: the canary. Columns: message, times.
std::string top_errors(const Table& table);
/// And $4: the message. Column: request id.
std::string request_ids(const Table& table);

/// $1: the table's name. Columns: whether an index on (webhook_name, created_at) and one on id is
/// there, whether row level security hides every row from this login, the login.
std::string facts();

}  // namespace canaryd::rows::pg
