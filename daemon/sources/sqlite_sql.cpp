#include "daemon/sources/sqlite_sql.hpp"

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace canaryd::rows::sql {

namespace {

bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

/// "?FIRST, …": so many parameters in a row.
std::string parameters(std::size_t first, std::size_t count) {
    std::string list;
    for (std::size_t i = 0; i < count; ++i) {
        list += (i == 0 ? "?" : ", ?") + std::to_string(first + i);
    }
    return list;
}

std::string columns(const Table& table) {
    return "id, webhook_name, user_id, " + table.segment +
           ", status, started_at, completed_at, created_at, duration_ms";
}

/// What is an event of the signal, in the words of the subquery in window().
std::string is_event(const Signal& signal) {
    switch (signal.kind) {
        case Signal::Kind::failed:
            return "status <> 'success' or running";
        case Signal::Kind::slower:
            return "status = 'timeout' or running or coalesce(took > " +
                   std::to_string(signal.than.count()) +
                   " and took <= " + std::to_string(longest_ms) + ", 0)";
        case Signal::Kind::counted:
            break;  // by a query of its own
    }
    return "0";
}

/// The end of the comment or quoted text that begins at `at`; `at` itself when none does.
std::size_t skipped(std::string_view text, std::size_t at) {
    const auto past = [&](std::string_view end, std::size_t from) {
        const std::size_t found = text.find(end, from);
        return found == std::string_view::npos ? text.size() : found + end.size();
    };
    const std::string_view rest = text.substr(at);
    if (rest.starts_with("--")) return past("\n", at);
    if (rest.starts_with("/*")) return past("*/", at + 2);
    const char c = text[at];
    // A doubled quote inside is the end of one text and the beginning of the next.
    if (c == '\'' || c == '"' || c == '`') return past(std::string_view(&text[at], 1), at + 1);
    if (c == '[') return past("]", at + 1);
    return at;
}

}  // namespace

std::string identifier(std::string_view name) {
    const bool plain = !name.empty() && name.size() <= 63 &&
                       std::all_of(name.begin(), name.end(), is_word) &&
                       std::isdigit(static_cast<unsigned char>(name.front())) == 0;
    if (!plain) {
        throw std::invalid_argument("\"" + std::string(name.substr(0, 63)) +
                                    "\" is no name of a table or column: letters, digits and _ "
                                    "only, at most 63, no digit first");
    }
    return "\"" + std::string(name) + "\"";
}

Table table_of(const Policy& policy) {
    Table table;
    table.name = identifier(policy.source.table);
    table.segment = policy.segment_column.empty() ? "null" : identifier(policy.segment_column);
    table.names = 1 + policy.baseline.size();
    return table;
}

// A run is where the ids grow with the rows' numbers.
std::string taken(const Table& table) {
    return "select min(id), max(id) from (select id, id - row_number() over (order by id) as run"
           " from (select id from " +
           table.name + " where id >= ?1 and id <= ?2 order by id limit " +
           std::to_string(most_rows) + ")) group by run order by 1";
}

// The unary plus keeps SQLite to the ids.
std::string read(const Table& table) {
    return "select " + columns(table) + " from " + table.name +
           " where id >= ?1 and id <= ?2 and +webhook_name in (" + parameters(3, table.names) +
           ") order by id";
}

// The unary plus keeps SQLite from taking an index on status, which would read every time.
std::string events(const Table& table, Duration quick) {
    return "select " + columns(table) + " from " + table.name +
           " where created_at >= ?1 and created_at < ?2 and webhook_name in (" +
           parameters(3, table.names) +
           ") and (+status = 'success' and duration_ms <= " + std::to_string(quick.count()) +
           ") is not 1";
}

std::string first_id(const Table& table) {
    return "select min(+id) from " + table.name +
           " where created_at >= ?1 and ?2 is null and typeof(created_at) = 'integer'"
           " and webhook_name in (" +
           parameters(3, table.names) + ")";
}

std::string window(const Table& table, const WindowAsk& ask) {
    const std::string longest = std::to_string(longest_ms);
    const std::string where = " from " + table.name +
                              " where created_at >= ?1 and created_at < ?2 and webhook_name in (" +
                              parameters(4, table.names) + ")";
    // The first name is the canary's.
    const std::string who = "select webhook_name = ?4 as who, ";
    const std::string group = " group by who" + std::string(ask.each_segment ? ", scope" : "");
    // Every row is traffic, whatever became of it: the index alone answers for the total, and what
    // compares as a time of the window is one.
    if (!ask.signal) {
        const std::string scope = ask.each_segment ? table.segment : "null";
        const std::string users = ask.users ? "count(distinct nullif(user_id, ''))" : "0";
        return who + scope + " as scope, count(*), 0, " + users + where + " and ?3 is not null" +
               group;
    }
    return who + (ask.each_segment ? "segment" : "null") +
           " as scope, count(*) as requests, coalesce(sum(event), 0) as events,"
           " count(distinct case when event then"
           " coalesce('user ' || nullif(user_id, ''), 'row ' || id) end) as users"
           " from (select webhook_name, id, user_id, segment, " +
           is_event(*ask.signal) + " as event from (select webhook_name, id, user_id, " +
           table.segment +
           " as segment, status, created_at,"
           " status = 'success' and completed_at is null and duration_ms is null as running,"
           " case when duration_ms is not null then duration_ms"
           " when typeof(completed_at) = 'integer' and typeof(started_at) = 'integer'"
           " then completed_at - started_at end as took" +
           where +
           " and typeof(created_at) = 'integer' and +status in ('success', 'error', 'timeout')"
           " and (duration_ms is null or typeof(duration_ms) in ('integer', 'real')"
           " and duration_ms between 0 and " +
           longest +
           "))"
           " where (not running or created_at < ?3)"
           " and (status <> 'success' or running or took between 0 and " +
           longest + "))" + group;
}

std::string top_errors(const Table& table) {
    return "select substr(coalesce(nullif(cast(error_message as text), ''), status), 1, 200)"
           " as message, count(*) as times from " +
           table.name +
           " where webhook_name = ?3 and created_at >= ?1 and created_at < ?2"
           " and +status in ('error', 'timeout') group by message order by times desc, message"
           " limit 3";
}

std::string request_ids(const Table& table) {
    return "select distinct substr(cast(request_id as text), 1, 200) from " + table.name +
           " where webhook_name = ?3 and created_at >= ?1 and created_at < ?2"
           " and +status in ('error', 'timeout') and request_id is not null"
           " and substr(coalesce(nullif(cast(error_message as text), ''), status), 1, 200) = ?4"
           " order by created_at desc, id desc limit 2";
}

std::string numbered(std::string_view query) {
    std::string text;
    std::string first_word;
    for (std::size_t at = 0; at < query.size();) {
        const std::size_t end = skipped(query, at);
        if (end > at) {
            text += query.substr(at, end - at);
            at = end;
            continue;
        }
        const bool dollar = query[at] == '$' && at + 1 < query.size() &&
                            (query[at + 1] == '1' || query[at + 1] == '2') &&
                            (at + 2 == query.size() || !is_word(query[at + 2]));
        text += dollar ? '?' : query[at];
        if (first_word.empty() && is_word(query[at])) {
            std::size_t stop = at;
            while (stop < query.size() && is_word(query[stop])) {
                first_word += static_cast<char>(std::tolower(query[stop++]));
            }
        }
        ++at;
    }
    if (first_word != "select" && first_word != "with")
        throw std::invalid_argument("the query must begin with SELECT or WITH");
    return text;
}

}  // namespace canaryd::rows::sql
