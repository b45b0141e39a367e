// Metrics from a PostgreSQL table of somebody else: read only, one consistent snapshot a look.
#include "daemon/postgres.hpp"

#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "daemon/log.hpp"
#include "daemon/postgres_call.hpp"
#include "daemon/sources/postgres_reader.hpp"
#include "daemon/sources/postgres_sql.hpp"
#include "daemon/sources/rows.hpp"
#include "daemon/sources/sources.hpp"

namespace canaryd {

namespace {

namespace pg = rows::pg;

constexpr postgres::Limits look_limits{std::chrono::seconds{20}, std::chrono::seconds{2},
                                       std::chrono::seconds{30}};
constexpr postgres::Limits peek_limits{std::chrono::seconds{10}, std::chrono::seconds{2},
                                       std::chrono::seconds{30}};
// Before a start; others' looks wait behind it.
constexpr postgres::Limits check_limits{std::chrono::seconds{2}, std::chrono::seconds{1},
                                        std::chrono::seconds{5}};

/// What was counted, and how the table is read. Lives on the pool's one thread; calls own a share.
class Metrics {
public:
    Metrics(const Policy& policy, std::shared_ptr<postgres::Database> database)
        : policy_(policy), database_(std::move(database)), counter_(policy) {}

    Look look(const Ask& ask) {
        return with_database([&] {
            postgres::Transaction snapshot(*database_, postgres::Transaction::Kind::snapshot,
                                           ask.peek ? peek_limits : look_limits);
            if (!ask.peek || !table_) check_table(snapshot);
            rows::PostgresReader reader(snapshot, *table_, counter_.rules());
            Look look = counter_.look(ask, reader);
            if (!ask.peek && ask.cursor.empty() && !mend_.empty()) look.remarks.push_back(mend_);
            return look;
        });
    }

    void check() {
        with_database([&] {
            postgres::Transaction snapshot(*database_, postgres::Transaction::Kind::snapshot,
                                           check_limits);
            check_table(snapshot);
            snapshot.run(pg::read(*table_), 0, 0, counter_.rules().names);
            for (const NumberQuery& number : policy_.metrics) check_number(snapshot, number);
        });
    }

    TimePoint now() {
        return with_database([&] {
            return database_
                ->read("select floor(extract(epoch from clock_timestamp()) * 1000)::bigint")
                .time(0, 0);
        });
    }

    std::vector<TopError> top_errors(TimePoint from, TimePoint to) {
        return with_database([&] {
            postgres::Transaction snapshot(*database_, postgres::Transaction::Kind::snapshot,
                                           peek_limits);
            if (!table_) check_table(snapshot);
            std::vector<TopError> all;
            const auto errors = snapshot.run(pg::top_errors(*table_), from, to, policy_.canary);
            for (int row = 0; row < errors.size(); ++row) {
                TopError error;
                const std::string message = errors.text(row, 0);
                error.message = escaped(message);
                error.times = errors.integer(row, 1);
                const auto ids =
                    snapshot.run(pg::request_ids(*table_), from, to, policy_.canary, message);
                for (int id = 0; id < ids.size(); ++id)
                    error.request_ids.push_back(escaped(ids.view(id, 0)));
                all.push_back(std::move(error));
            }
            return all;
        });
    }

private:
    /// After any failure the table is looked at anew: it may have become another.
    template <class Work>
    auto with_database(Work work) -> decltype(work()) {
        try {
            return work();
        } catch (const postgres::Error& error) {
            table_.reset();
            throw std::runtime_error(explained(error));
        } catch (...) {
            table_.reset();
            throw;
        }
    }

    /// At each look: a table may lose a column, or become one whose rows are hidden, at any time.
    void check_table(postgres::Transaction& snapshot) {
        pg::Table table = pg::table_of(policy_);
        mend_.clear();
        try {
            table = pg::checked(table, policy_, snapshot.run(pg::columns(table)));
        } catch (const postgres::Error&) {
            throw;
        } catch (const std::runtime_error& error) {
            throw std::runtime_error(database_->name() + ": " + error.what());
        }
        if (policy_.source.query.empty()) check_facts(snapshot);
        table_ = std::move(table);
    }

    void check_facts(postgres::Transaction& snapshot) {
        const std::string& name = policy_.source.table;
        const auto facts = snapshot.run(pg::facts(), name);
        if (facts.empty()) return;
        if (facts.boolean(0, 2)) {
            throw std::runtime_error(database_->name() +
                                     ": row level security hides every row of " + name +
                                     " from this login; CREATE POLICY canaryd_reads ON " + name +
                                     " FOR SELECT TO \"" + facts.text(0, 3) + "\" USING (true)");
        }
        if (!facts.boolean(0, 0)) {
            mend_ =
                "each look reads the whole table, since it has no index on (webhook_name, "
                "created_at): CREATE INDEX CONCURRENTLY ON " +
                name + " (webhook_name, created_at DESC)";
        } else if (!facts.boolean(0, 1)) {
            mend_ =
                "each look reads the whole table, since it has no index on id: CREATE UNIQUE "
                "INDEX CONCURRENTLY ON " +
                name + " (id)";
        }
    }

    /// Of an interval without rows. What the data make of a query, such as a division by their
    /// number, is no reason not to start.
    void check_number(postgres::Transaction& snapshot, const NumberQuery& number) {
        const auto refuse = [&](const std::string& why) {
            throw std::runtime_error("metrics, " + number.name + ": " + why);
        };
        snapshot.run("savepoint canaryd_number");
        try {
            const auto rows = snapshot.run(number.query, TimePoint{}, TimePoint{});
            const int wanted = numbers_of(policy_, number.name);
            if (rows.columns() != wanted) {
                refuse("the query gives " + std::to_string(rows.columns()) + " columns, not " +
                       rows::numbers_in_words(wanted));
            }
        } catch (const postgres::Broken&) {
            throw;
        } catch (const postgres::Error& error) {
            const std::string& state = error.sqlstate();
            const bool by_data = state.starts_with("22") || state.starts_with("21") ||
                                 state == "P0001" || state == "57014";  // also how many they are
            const bool denied = state == "42501";
            if (!by_data) {
                refuse(error.what() +
                       std::string(denied ? "; GRANT SELECT on it TO the daemon's login" : ""));
            }
        }
        snapshot.run("rollback to savepoint canaryd_number");
    }

    std::string explained(const postgres::Error& error) const {
        const std::string& state = error.sqlstate();
        const std::string what = error.what();
        if (state == "57014" && !mend_.empty()) return what + "; " + mend_;
        if (state == "42501" && policy_.source.query.empty())
            return what + "; GRANT SELECT ON " + policy_.source.table + " TO the daemon's login";
        if (state == "42P01" && policy_.source.query.empty())
            return what + "; source.table in the policy names it";
        return what;
    }

    Policy policy_;
    std::shared_ptr<postgres::Database> database_;
    rows::Counter counter_;
    std::optional<pg::Table> table_;  // checked
    std::string mend_;                // for what makes looks slow
};

class PostgresSource : public MetricSource {
public:
    PostgresSource(const Policy& policy, const Connection& connection, Pool pool)
        : database_(postgres::shared(connection, pool)),
          metrics_(std::make_shared<Metrics>(policy, database_)),
          pool_(std::move(pool)) {}

    Async<Look> observe(Ask ask) override {
        auto work = [metrics = metrics_, ask = std::move(ask)](postgres::Database&) {
            return metrics->look(ask);
        };
        co_return co_await postgres::on_pool(pool_, database_, std::move(work));
    }

    /// The database's: its writers may be on other machines, with other clocks.
    Async<TimePoint> watermark() override {
        auto work = [metrics = metrics_](postgres::Database&) { return metrics->now(); };
        co_return co_await postgres::on_pool(pool_, database_, std::move(work));
    }

    Async<> check() override {
        auto work = [metrics = metrics_](postgres::Database&) { metrics->check(); };
        co_await postgres::on_pool(pool_, database_, std::move(work));
    }

    Async<std::vector<TopError>> top_errors(TimePoint from, TimePoint to) override {
        auto work = [metrics = metrics_, from, to](postgres::Database&) {
            return metrics->top_errors(from, to);
        };
        co_return co_await postgres::on_pool(pool_, database_, std::move(work));
    }

private:
    std::shared_ptr<postgres::Database> database_;
    std::shared_ptr<Metrics> metrics_;
    Pool pool_;
};

}  // namespace

std::shared_ptr<MetricSource> make_postgres_source(const Policy& policy,
                                                   const Connection& connection, Pool pool,
                                                   Clock&) {
    return std::make_shared<PostgresSource>(policy, connection, std::move(pool));
}

}  // namespace canaryd
