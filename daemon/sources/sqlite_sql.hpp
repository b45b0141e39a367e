// The statements with which a SQLite metrics table is read, as text: what a person can run by hand.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "canaryd/policy.hpp"
#include "daemon/sources/rows.hpp"

namespace canaryd::rows::sql {

/// In double quotes. Throws std::invalid_argument when it is no plain name.
std::string identifier(std::string_view name);

struct Table {
    std::string name;     // quoted
    std::string segment;  // quoted column, or the word null
    std::size_t names;    // webhooks: the canary's and the baseline's
};
Table table_of(const Policy& policy);

/// Columns of read() and events(), in this order.
inline constexpr int row_columns = 9;
/// ?1 and ?2: the first and the last id. Columns: the first and the last of each run of ids that
/// rows have, in order.
std::string taken(const Table& table);
/// ?1 and ?2: the first and the last id; then the names.
std::string read(const Table& table);
/// ?1 and ?2: begin and end; then the names.
std::string events(const Table& table, Duration quick);
/// ?1: from; ?2: unused, so that names begin at ?3 everywhere.
std::string first_id(const Table& table);
/// ?1 and ?2: begin and end, ?3: running rows older than this have hung; then the names. Columns:
/// whether it is the canary, segment (null without each_segment), requests, failures, users.
/// Without a signal every row counts as a request.
std::string window(const Table& table, const WindowAsk& ask);
/// ?1 and ?2: begin and end, ?3: the canary. Columns: message, times.
std::string top_errors(const Table& table);
/// And ?4: the message. Column: request id.
std::string request_ids(const Table& table);

/// A policy's query with ?1 and ?2 for $1 and $2, which SQLite would number as they appear.
/// Throws std::invalid_argument when it is not one SELECT.
std::string numbered(std::string_view query);

}  // namespace canaryd::rows::sql
