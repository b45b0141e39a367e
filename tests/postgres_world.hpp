// A database of its own for each test, on the server that CANARYD_POSTGRES names (a superuser's
// URL; tests/postgres/server.py --run starts one), and a metrics table in it as the first user has
// it.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "daemon/postgres.hpp"
#include "tests/metrics_file.hpp"

namespace canaryd::testing {

/// Whether there is a server; says so when there is none.
inline bool has_server() {
    const char* url = std::getenv("CANARYD_POSTGRES");
    if (url != nullptr && *url != '\0') return true;
    MESSAGE("skipped: CANARYD_POSTGRES names no server; tests/run postgres starts one");
    return false;
}

/// Dropped with everybody who is still connected.
class TestDatabase {
public:
    TestDatabase() : server_(std::getenv("CANARYD_POSTGRES")), admin_(connection_to(server_)) {
        static int made = 0;
        name_ = "canaryd_" + std::to_string(::getpid()) + "_" + std::to_string(++made);
        admin_.write("create database " + name_);
        own_ = std::make_unique<postgres::Database>(connection());
    }
    ~TestDatabase() {
        own_.reset();
        try {
            admin_.write("drop database " + name_ + " with (force)");
        } catch (const postgres::Error& error) {
            MESSAGE(error.what());
        }
    }
    TestDatabase(const TestDatabase&) = delete;
    TestDatabase& operator=(const TestDatabase&) = delete;

    /// As the superuser, or as another login.
    [[nodiscard]] Connection connection(const std::string& user = {}) const {
        std::string url = server_.substr(0, server_.rfind('/') + 1) + name_;
        if (!user.empty()) {
            const std::size_t front = url.find("//") + 2;
            url = url.substr(0, front) + user + url.substr(url.find('@'));
        }
        return connection_to(url);
    }
    /// The superuser's connection to it.
    postgres::Database& sql() { return *own_; }
    /// And to the server.
    postgres::Database& admin() { return admin_; }
    [[nodiscard]] const std::string& name() const { return name_; }
    void run(const std::string& statements) { own_->execute(statements); }
    /// As if the server had been killed: whoever is connected to this database is cut off.
    void cut_connections() {
        admin_.read(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = $1",
            name_);
    }

private:
    static Connection connection_to(const std::string& url) {
        return {"db", "postgres", "", "", url};
    }
    std::string server_;
    postgres::Database admin_;
    std::string name_;
    std::unique_ptr<postgres::Database> own_;
};

/// The first user's table and indexes, without the reference to users.
class PostgresTable : public MetricsTable {
public:
    PostgresTable() {
        database_.run(
            "create table webhook_metrics (id bigserial primary key, webhook_name text not null,"
            " user_id uuid, agent_type text, started_at timestamptz not null default now(),"
            " completed_at timestamptz, duration_ms integer, status text not null,"
            " error_message text, request_id text,"
            " created_at timestamptz not null default now());"
            "create index on webhook_metrics (webhook_name, created_at desc);"
            "create index on webhook_metrics (user_id, created_at desc);"
            "create index on webhook_metrics (status, created_at desc);"
            "create function ms(at bigint) returns timestamptz language sql as"
            " 'select to_timestamp(at / 1000.0)';");
    }
    void log(const Logged& row) override {
        sql().write(
            "insert into webhook_metrics (webhook_name, user_id, agent_type, started_at,"
            " duration_ms, status, error_message, request_id, created_at)"
            " values ($1, md5(nullif($2::text, ''))::uuid, $3, ms($4), $5, $6, $7, $8, ms($4))",
            row.webhook, row.user, row.agent, row.at, row.took, row.status, row.error, row.request);
    }
    std::int64_t newest() override {
        const auto newest = sql().read("select max(id) from webhook_metrics");
        return newest.is_null(0, 0) ? 0 : newest.integer(0, 0);
    }
    void complete(std::int64_t id, std::int64_t completed_at, const std::string& status) override {
        sql().write("update webhook_metrics set completed_at = ms($2), status = $3 where id = $1",
                    id, completed_at, status);
    }
    void together(const std::function<void()>& writes) override {
        sql().write("begin");
        writes();
        sql().write("commit");
    }
    std::shared_ptr<MetricSource> source(const Policy& policy, Pool pool, Clock& clock) override {
        return make_postgres_source(policy, database_.connection(), std::move(pool), clock);
    }
    TestDatabase& database() { return database_; }
    postgres::Database& sql() { return database_.sql(); }

private:
    TestDatabase database_;
};

inline Policy postgres_policy() {
    Policy policy = metrics_policy();
    policy.source.kind = "postgres";
    return policy;
}

}  // namespace canaryd::testing
