// A metrics table in a folder of its own, written as applications write it, and a source on it.
#pragma once

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "daemon/sources/sources.hpp"
#include "daemon/sqlite.hpp"

namespace canaryd::testing {

/// Removed with everything in it.
class Folder {
public:
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "canaryd-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder: " + name);
        path_ = name;
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    [[nodiscard]] std::string file(const std::string& name) const {
        return (path_ / name).string();
    }
    [[nodiscard]] std::string path() const { return path_.string(); }

private:
    std::filesystem::path path_;
};

/// Stands still: no call here may depend on time passing.
class StillClock : public Clock {
public:
    [[nodiscard]] TimePoint now() const override { return now_; }
    [[nodiscard]] SteadyPoint steady() const override { return {}; }
    Key call_at(SteadyPoint at, std::function<void()>) override { return {at, ++made_}; }
    void forget(const Key&) override {}
    TimePoint now_{Duration(1'764'331'200'000)};

private:
    std::uint64_t made_ = 0;
};

/// Runs a coroutine to its end, blocking calls included.
template <class T>
T run(asio::io_context& io, Async<T> work) {
    auto result = asio::co_spawn(io, std::move(work), asio::use_future);
    io.restart();
    io.run();
    return result.get();
}

inline constexpr const char* metrics_schema =
    "create table webhook_metrics (id integer primary key, webhook_name text not null, user_id "
    "text,"
    " agent_type text, started_at integer, completed_at integer, duration_ms integer,"
    " status text, error_message text, request_id text, created_at integer)";
inline constexpr const char* metrics_index =
    "create index by_name on webhook_metrics (webhook_name, created_at desc)";

/// A request as an application logs it; times in milliseconds.
struct Logged {
    std::string webhook = "new";
    std::optional<std::string> user = std::nullopt;
    std::optional<std::string> agent = std::nullopt;
    std::int64_t at = 0;
    std::optional<std::int64_t> took = 100;
    std::string status = "success";
    std::optional<std::string> error = std::nullopt;
    std::optional<std::string> request = std::nullopt;
};

/// A metrics table of any kind, from the applications' side, and how to make a source on it.
class MetricsTable {
public:
    virtual ~MetricsTable() = default;
    /// Without `took` the row is running: neither duration nor completion.
    virtual void log(const Logged& row) = 0;
    /// The largest id.
    virtual std::int64_t newest() = 0;
    virtual void complete(std::int64_t id, std::int64_t completed_at,
                          const std::string& status) = 0;
    /// Everything that `writes` does, in one transaction.
    virtual void together(const std::function<void()>& writes) = 0;
    virtual std::shared_ptr<MetricSource> source(const Policy& policy, Pool pool, Clock& clock) = 0;
};

inline Connection metrics_connection(const std::string& path) {
    return {"metrics", "sqlite", path, "", ""};
}

/// The applications' side: the one writer.
class MetricsFile : public MetricsTable {
public:
    explicit MetricsFile(const std::string& path, bool with_index = true)
        : database_(path, sqlite::Mode::create) {
        database_.execute("pragma synchronous = off");
        database_.execute(metrics_schema);
        if (with_index) database_.execute(metrics_index);
    }
    void log(const Logged& row) override {
        database_
            .query(
                "insert into webhook_metrics (webhook_name, user_id, agent_type, started_at,"
                " duration_ms, status, error_message, request_id, created_at)"
                " values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?4)",
                row.webhook, row.user, row.agent, row.at, row.took, row.status, row.error,
                row.request)
            .run();
    }
    std::int64_t newest() override {
        sqlite::Statement statement = database_.prepare("select max(id) from webhook_metrics");
        return statement.step() ? statement.integer(0) : 0;
    }
    void complete(std::int64_t id, std::int64_t completed_at, const std::string& status) override {
        database_
            .query("update webhook_metrics set completed_at = ?2, status = ?3 where id = ?1", id,
                   completed_at, status)
            .run();
    }
    void together(const std::function<void()>& writes) override {
        sqlite::Transaction transaction(database_, sqlite::Transaction::Kind::immediate);
        writes();
        transaction.commit();
    }
    std::shared_ptr<MetricSource> source(const Policy& policy, Pool pool, Clock& clock) override {
        return make_sqlite_source(policy, metrics_connection(database_.path()), std::move(pool),
                                  clock);
    }
    sqlite::Database& database() { return database_; }

private:
    sqlite::Database database_;
};

/// Two signals (failed, slower than 2 s), two expected agents.
inline Policy metrics_policy() {
    Policy policy;
    policy.name = "rides";
    policy.canary = "new";
    policy.baseline = {"old-a", "old-b"};
    policy.source = {"sqlite", "metrics", "webhook_metrics", ""};
    policy.router = {"sql", "route", {}, {}};
    policy.segment = "agent";
    policy.segment_column = "agent_type";
    policy.segments = {"jobs", "rides"};
    const Signal slow{Signal::Kind::slower, std::chrono::seconds{2}};
    policy.criteria = {{"errors", "error_rate", {}, 0.01}, {"latency", "latency_p95", slow, 0.05}};
    return policy;
}

/// A source whose blocking calls run on the loop itself.
class Observer {
public:
    Observer(Policy policy, std::string path)
        : Observer(std::move(policy), [path = std::move(path)](const Policy& of, Pool pool,
                                                               Clock& clock) {
              return make_sqlite_source(of, metrics_connection(path), std::move(pool), clock);
          }) {}
    /// `table` outlives it.
    Observer(Policy policy, MetricsTable& table)
        : Observer(std::move(policy), [&table](const Policy& of, Pool pool, Clock& clock) {
              return table.source(of, std::move(pool), clock);
          }) {}
    void restart() { source_ = make_(policy_, io_.get_executor(), clock_); }
    Look observe(const Ask& ask) { return run(io_, source_->observe(ask)); }
    std::vector<TopError> top_errors(TimePoint from, TimePoint to) {
        return run(io_, source_->top_errors(from, to));
    }
    /// What observe() throws.
    std::string failure(const Ask& ask) {
        return thrown([&] { observe(ask); });
    }
    /// What check() throws.
    std::string refusal() {
        return thrown([&] { run(io_, source_->check()); });
    }

    TimePoint watermark() { return run(io_, source_->watermark()); }

private:
    using Make = std::function<std::shared_ptr<MetricSource>(const Policy&, Pool, Clock&)>;
    Observer(Policy policy, Make make) : policy_(std::move(policy)), make_(std::move(make)) {
        restart();
    }
    template <class Call>
    static std::string thrown(Call call) {
        try {
            call();
        } catch (const std::exception& error) {
            return error.what();
        }
        return {};
    }
    StillClock clock_;
    asio::io_context io_;
    Policy policy_;
    Make make_;
    std::shared_ptr<MetricSource> source_;
};

}  // namespace canaryd::testing
