// The rows of a PostgreSQL metrics table, in one snapshot: private to postgres.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/postgres.hpp"
#include "daemon/sources/postgres_sql.hpp"
#include "daemon/sources/rows.hpp"

namespace canaryd::rows {

/// Everything it reads is of the moment of the transaction's first query. What it is given outlives
/// it.
class PostgresReader : public RowReader {
public:
    PostgresReader(postgres::Transaction& snapshot, const pg::Table& table, const Rules& rules)
        : snapshot_(snapshot), table_(table), rules_(rules) {}

    std::optional<std::int64_t> first_id(TimePoint from) override;
    [[nodiscard]] std::int64_t in_flight() const override { return 10'000; }
    std::int64_t end_id() override;
    std::vector<IdRange> taken(const std::vector<IdRange>& ranges) override;
    void read(const std::vector<IdRange>& ranges, const Take& take) override;
    void read_events(TimePoint from, TimePoint to, const Take& take) override;
    std::vector<Counted> count(const WindowAsk& ask, TimePoint hung_before) override;
    std::vector<std::optional<double>> numbers(const WindowAsk& ask, std::string& remark) override;

private:
    postgres::Transaction& snapshot_;
    const pg::Table& table_;
    const Rules& rules_;
};

}  // namespace canaryd::rows
