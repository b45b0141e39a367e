// Metrics from somebody else's SQLite file: read only, in one snapshot a look, never in its way.
#include "daemon/sqlite.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <utility>

#include "daemon/log.hpp"
#include "daemon/sources/rows.hpp"
#include "daemon/sources/sources.hpp"
#include "daemon/sources/sqlite_reader.hpp"
#include "daemon/sources/sqlite_sql.hpp"

namespace canaryd {

namespace {

namespace sql = rows::sql;

constexpr Duration busy_limit = std::chrono::seconds{2};
constexpr Duration answer_limit = std::chrono::seconds{20};

/// Bytes 18 and 19 of a database file are 2 in WAL mode.
bool is_wal(const std::string& path) {
    std::array<char, 20> header{};
    std::ifstream file(path, std::ios::binary);
    return file.read(header.data(), header.size()) && header[18] == 2;
}

using Stop = std::shared_ptr<std::atomic<bool>>;

/// The connection and what was counted. Lives on the pool's one thread; calls own a share of it.
class Metrics {
public:
    Metrics(const Policy& policy, std::string path)
        : policy_(policy),
          path_(std::move(path)),
          table_(sql::table_of(policy)),
          counter_(policy) {}

    Look look(const Ask& ask, const Stop& stop) {
        return with_file(stop, [&] {
            rows::SqliteReader reader(*database_, table_, counter_.rules());
            Look look = counter_.look(ask, reader);
            if (!has_index_ && !ask.peek && ask.cursor.empty()) {
                look.remarks.push_back(
                    "each look reads the whole table, since it has no index on "
                    "(webhook_name, created_at): CREATE INDEX "
                    "webhook_metrics_name_time ON " +
                    table_.name + " (webhook_name, created_at)");
            }
            return look;
        });
    }

    void check(const Stop& stop) {
        with_file(stop, [&] {
            rows::SqliteReader reader(*database_, table_, counter_.rules());
            for (const NumberQuery& number : policy_.metrics) {
                try {
                    reader.prepared(number.query, numbers_of(policy_, number.name));
                } catch (const std::exception& error) {
                    throw std::runtime_error("metrics, " + number.name + ": " + error.what());
                }
            }
            return true;
        });
    }

    std::vector<TopError> top_errors(TimePoint from, TimePoint to, const Stop& stop) {
        return with_file(stop, [&] {
            const sqlite::Transaction snapshot(*database_, sqlite::Transaction::Kind::deferred);
            std::vector<TopError> all;
            sqlite::Statement errors =
                database_->query(sql::top_errors(table_), from, to, policy_.canary);
            while (errors.step()) {
                TopError error;
                const std::string message = errors.text(0);
                error.message = escaped(message);
                error.times = errors.integer(1);
                sqlite::Statement ids =
                    database_->query(sql::request_ids(table_), from, to, policy_.canary, message);
                while (ids.step()) error.request_ids.push_back(escaped(ids.view(0)));
                all.push_back(std::move(error));
            }
            return all;
        });
    }

private:
    /// After any failure the file is opened anew: nothing of a broken connection is trusted.
    template <class Call>
    auto with_file(const Stop& stop, Call call) -> decltype(call()) {
        try {
            open_when_needed(stop);
            auto result = call();
            database_->stop_when({});
            return result;
        } catch (const sqlite::Error& error) {
            database_.reset();
            throw std::runtime_error(explained(error));
        } catch (...) {
            database_.reset();
            throw;
        }
    }

    void open_when_needed(const Stop& stop) {
        struct stat file {};
        if (::stat(path_.c_str(), &file) != 0) {
            throw std::runtime_error("sqlite " + path_ + ": " + std::strerror(errno) +
                                     "; the connection's path in canaryd.yaml names the file that "
                                     "the applications write");
        }
        const bool same = file.st_dev == device_ && file.st_ino == inode_;
        if (!same) database_.reset();
        const bool open = database_ != nullptr;
        if (!open) {
            database_ =
                std::make_unique<sqlite::Database>(path_, sqlite::Mode::read_only, busy_limit);
            device_ = file.st_dev;
            inode_ = file.st_ino;
        }
        database_->stop_when([stop] { return stop->load(); });
        if (open) return;
        database_->execute("PRAGMA query_only = 1");
        check_table();
    }

    void check_table() {
        const auto check = [this](bool good, const std::string& fault) {
            if (!good) {
                throw std::runtime_error("sqlite " + path_ + ": table " + table_.name + ": " +
                                         fault);
            }
        };
        sqlite::Statement columns = database_->query(
            "select lower(name), pk, upper(type) from pragma_table_info(?1)", policy_.source.table);
        std::vector<std::string> there;
        bool key = false;
        while (columns.step()) {
            there.push_back(columns.text(0));
            key = key ||
                  (there.back() == "id" && columns.integer(1) == 1 && columns.text(2) == "INTEGER");
        }
        check(!there.empty(), "there is none; source.table in the policy names it");
        std::vector<std::string> needed{
            "id",         "webhook_name", "user_id", "started_at",    "completed_at",
            "created_at", "duration_ms",  "status",  "error_message", "request_id"};
        for (const std::string& name : needed) {
            const bool found = std::find(there.begin(), there.end(), name) != there.end();
            check(found, "it has no column " + name);
        }
        if (!policy_.segment_column.empty()) {
            check(database_
                      ->query("select 1 from pragma_table_info(?1) where name = ?2 collate nocase",
                              policy_.source.table, policy_.segment_column)
                      .step(),
                  "it has no column " + policy_.segment_column + ", the policy's segment");
        }
        check(key, "id must be INTEGER PRIMARY KEY, so that rows have an order");
        check_times(check);
        has_index_ = database_
                         ->query(
                             "select 1 from pragma_index_list(?1) list"
                             " join pragma_index_info(list.name) a on a.seqno = 0"
                             " join pragma_index_info(list.name) b on b.seqno = 1"
                             " where not list.partial and a.name = 'webhook_name' collate nocase"
                             " and b.name = 'created_at' collate nocase",
                             policy_.source.table)
                         .step();
    }

    /// Text sorts after every number, so one look into the index finds it. A stray text is a row
    /// that is left out; a table of nothing else has another idea of time than milliseconds.
    template <class Check>
    void check_times(const Check& check) {
        const std::string rows = "select 1 from " + table_.name + " where webhook_name = ?1 and ";
        for (const std::string& name : counter_.rules().names) {
            if (!database_->query(rows + "created_at >= '' limit 1", name).step()) continue;
            check(database_->query(rows + "created_at < '' limit 1", name).step(),
                  "created_at of " + name +
                      " holds text; store milliseconds since 1970 (UTC) as integers");
        }
    }

    std::string explained(const sqlite::Error& error) const {
        const std::string what = error.what();
        if (error.interrupted()) {
            return "sqlite " + path_ + ": no answer within " +
                   std::to_string(answer_limit.count() / 1000) + " s" +
                   (has_index_ ? "" : "; an index on (webhook_name, created_at) mends it");
        }
        if ((error.cannot_open() || error.read_only()) && is_wal(path_)) {
            return what +
                   "; the file is in WAL mode and nobody holds it open: keep one writer connected, "
                   "or give it a rollback journal (PRAGMA journal_mode = DELETE)";
        }
        return what;
    }

    Policy policy_;
    std::string path_;
    sql::Table table_;
    rows::Counter counter_;
    std::unique_ptr<sqlite::Database> database_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
    bool has_index_ = true;
};

/// Ends the call that the coroutine waits for when the coroutine is gone.
class StopAtEnd {
public:
    explicit StopAtEnd(Stop stop) : stop_(std::move(stop)) {}
    ~StopAtEnd() { stop_->store(true); }
    StopAtEnd(const StopAtEnd&) = delete;
    StopAtEnd& operator=(const StopAtEnd&) = delete;

private:
    Stop stop_;
};

class SqliteSource : public MetricSource {
public:
    SqliteSource(const Policy& policy, const Connection& connection, Pool pool, Clock& clock)
        : metrics_(std::make_shared<Metrics>(policy, connection.path)),
          pool_(std::move(pool)),
          clock_(clock) {}

    Async<Look> observe(Ask ask) override {
        const auto stop = std::make_shared<std::atomic<bool>>(false);
        const StopAtEnd at_end(stop);
        const Alarm alarm(clock_, clock_.steady() + answer_limit, [stop] { stop->store(true); });
        auto call = [metrics = metrics_, stop, ask = std::move(ask)] {
            return metrics->look(ask, stop);
        };
        co_return co_await run_blocking(pool_, std::move(call));
    }

    /// The file's writers are on this machine, so its clock is theirs.
    Async<TimePoint> watermark() override { co_return clock_.now(); }

    Async<> check() override {
        const auto stop = std::make_shared<std::atomic<bool>>(false);
        const StopAtEnd at_end(stop);
        const Alarm alarm(clock_, clock_.steady() + answer_limit, [stop] { stop->store(true); });
        auto call = [metrics = metrics_, stop] { metrics->check(stop); };
        co_await run_blocking(pool_, std::move(call));
    }

    Async<std::vector<TopError>> top_errors(TimePoint from, TimePoint to) override {
        const auto stop = std::make_shared<std::atomic<bool>>(false);
        const StopAtEnd at_end(stop);
        const Alarm alarm(clock_, clock_.steady() + answer_limit, [stop] { stop->store(true); });
        auto call = [metrics = metrics_, stop, from, to] {
            return metrics->top_errors(from, to, stop);
        };
        co_return co_await run_blocking(pool_, std::move(call));
    }

private:
    std::shared_ptr<Metrics> metrics_;
    Pool pool_;
    Clock& clock_;
};

}  // namespace

std::shared_ptr<MetricSource> make_sqlite_source(const Policy& policy, const Connection& connection,
                                                 Pool pool, Clock& clock) {
    return std::make_shared<SqliteSource>(policy, connection, std::move(pool), clock);
}

}  // namespace canaryd
