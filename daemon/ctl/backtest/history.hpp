// What is played again: requests or counts of the legacy, read from a table or a file.
//
// Every file is hostile until it is a History: a line that cannot be read ends in BadFile with
// file:line, what was written and the mend. Memory is bounded; what is larger is refused.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "canaryd/policy.hpp"
#include "daemon/postgres.hpp"
#include "daemon/sources/rows.hpp"

namespace canaryd::backtest {

/// "metrics.csv:17: created_at: "yesterday" is no time; write 2026-01-11T09:00:00Z".
struct BadFile : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The signals that a replay needs: the criteria's in the order of signals_of(), then those of the
/// share triggers that no criterion has.
std::vector<Signal> replayed_signals(const Policy& policy);

inline constexpr std::uint32_t not_known = 0xFFFF'FFFF;

/// One request. 16 bytes, since there are millions.
struct Recorded {
    std::uint32_t second = 0;        // since History::begin
    std::uint32_t took = not_known;  // milliseconds
    std::uint32_t user = not_known;  // index into History::users; not_known: a user of its own
    std::uint16_t segment = 0;       // index of the policy's segments, plus 1; 0: none
    bool failed = false;
    bool timed_out = false;
};

struct User {
    std::uint64_t hash = 0;    // hash_of_user(): whose failure it is
    std::uint16_t bucket = 0;  // bucket_of(): which arm, at which weight
};

/// Counts without users, by look and scope (0: requests without a segment; then the segments).
struct CountTable {
    std::size_t scopes = 1;
    std::size_t signals = 0;             // of replayed_signals()
    std::vector<bool> known;             // by signal: the file has its column
    std::vector<std::int64_t> requests;  // [look * scopes + scope]
    std::vector<std::int64_t> events;    // [(look * scopes + scope) * signals + signal]
    /// Where a histogram has no bucket at a limit `events` are those that may be slow, and these,
    /// in the same order, those that are (analysis 4). Empty: there is no difference.
    std::vector<std::int64_t> sure;
    std::vector<Duration> sure_above;  // by signal: what took longer is among them
};

struct History {
    std::string what;        // "metrics.csv, rows of the metrics table"
    TimePoint begin;         // a whole number of looks since 1970
    Duration look{0};        // evaluate_every, or longer where counts are coarser
    std::int64_t looks = 0;  // in the records
    bool has_users = false;  // rows, split by user; else counts, thinned
    std::int64_t requests = 0;
    std::vector<Recorded> recorded;  // by time; with users
    std::vector<User> users;
    CountTable counts;               // without
    std::vector<std::string> notes;  // what was left out or taken differently: for people
};

/// How a web server's log becomes requests.
struct LogRules {
    std::string only;  // requests whose path begins so; empty: all
    std::vector<std::pair<std::string, std::string>> segments;  // path prefix, segment
};

struct Reading {
    std::string from;                          // a file, if there is no database
    std::optional<postgres::Target> database;  // PostgreSQL
    std::string table;                         // of a database; empty: the policy's
    LogRules log;
    Duration patience{0};  // a database's rows are given up after so long; 0: never
};
/// How much of a PostgreSQL table is read: more would say little and ask much of the server.
inline constexpr Duration newest_of_postgres = std::chrono::hours{24 * 14};

/// Reads a PostgreSQL table, a SQLite file, a CSV of the metrics table, a CSV of counts or a log in
/// combined format; which file it is, its first bytes say. Throws BadFile.
History read_history(const Policy& policy, const Reading& reading);

// --- what the readers share -------------------------------------------------------------------

inline constexpr std::int64_t most_requests = 10'000'000;  // half a gigabyte
inline constexpr std::size_t most_users = 5'000'000;
inline constexpr std::int64_t most_looks = 1'000'000;
inline constexpr Duration longest_history = std::chrono::hours{24 * 400};

/// Takes rows of any format and keeps the legacy's requests, by the rules of a running source.
class Recorder {
public:
    explicit Recorder(const Policy& policy);
    /// `where` is where the row stands: "metrics.csv:17". Strings of the row need not live on.
    void add(const rows::Row& row, const std::string& where);
    /// Throws BadFile when there is nothing to play.
    History finish(const std::string& what) &&;
    [[nodiscard]] const rows::Rules& rules() const { return rules_; }

private:
    struct Kept {
        std::int64_t at = 0;  // milliseconds
        Recorded request;
        bool running = false;
    };
    std::uint32_t user_of(const rows::Request& request, const rows::Row& row);
    void tell_counts(History& history) const;

    const Policy& policy_;
    rows::Rules rules_;
    std::vector<Kept> kept_;
    std::vector<User> users_;
    std::unordered_map<std::uint64_t, std::uint32_t> index_;  // by hash
    std::int64_t canary_rows_ = 0, other_rows_ = 0, garbage_ = 0, hung_ = 0, unknown_segment_ = 0;
    std::string garbage_example_, other_example_, segment_example_;
};

/// Looks that cover [first, last] (milliseconds): sets begin, look and looks. Throws BadFile.
void lay_out(History& history, std::int64_t first, std::int64_t last, Duration look,
             const std::string& what);

// Each reads one format.
History read_postgres(const Policy& policy, const Reading& reading);
History read_sqlite(const Policy& policy, const Reading& reading);
History read_metrics_csv(const Policy& policy, const Reading& reading);
History read_counts_csv(const Policy& policy, const Reading& reading);
History read_access_log(const Policy& policy, const Reading& reading);

/// "2026-01-11T09:00:00Z", PostgreSQL's "2026-01-11 09:00:00.123+00", seconds or milliseconds
/// since 1970. Without a zone: UTC. Milliseconds; nullopt: no time.
std::optional<std::int64_t> read_time(std::string_view text);

}  // namespace canaryd::backtest
