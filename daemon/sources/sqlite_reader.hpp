// The rows of a SQLite metrics table, in one snapshot: private to sqlite.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/sources/rows.hpp"
#include "daemon/sources/sqlite_sql.hpp"
#include "daemon/sqlite.hpp"

namespace canaryd::rows {

/// Everything it reads is of the moment of its first statement. Database, table and rules outlive
/// it.
class SqliteReader : public RowReader {
public:
    SqliteReader(sqlite::Database& database, const sql::Table& table, const Rules& rules);

    std::optional<std::int64_t> first_id(TimePoint from) override;
    std::int64_t end_id() override;
    std::vector<IdRange> taken(const std::vector<IdRange>& ranges) override;
    void read(const std::vector<IdRange>& ranges, const Take& take) override;
    void read_events(TimePoint from, TimePoint to, const Take& take) override;
    std::vector<Counted> count(const WindowAsk& ask, TimePoint hung_before) override;
    std::vector<std::optional<double>> numbers(const WindowAsk& ask, std::string& remark) override;
    /// A query of the policy's `metrics`. Throws when the file cannot answer it, whatever its rows.
    sqlite::Statement prepared(const std::string& query, int numbers);

private:
    /// Throws std::invalid_argument when there are no numbers.
    std::vector<std::optional<double>> asked(const WindowAsk& ask);
    void bind_names(sqlite::Statement& statement, int first) const;

    sqlite::Database& database_;
    const sql::Table& table_;
    const Rules& rules_;
    sqlite::Transaction snapshot_;
};

}  // namespace canaryd::rows
