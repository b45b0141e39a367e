// The route as one row of canaryd.route (deploy/sql), which get_webhook_route() asks: a promotion
// or a rollback is one small transaction, whatever the number of users.
#include "daemon/postgres.hpp"
#include "canaryd/text.hpp"

#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "daemon/postgres_call.hpp"
#include "daemon/postgres_user_tables.hpp"
#include "daemon/routers/postgres_flags.hpp"
#include "daemon/routers/routers.hpp"

namespace canaryd {

namespace {

constexpr postgres::Limits order_limits{.statement = std::chrono::seconds{4},
                                        .lock = std::chrono::seconds{2}};

/// What is missing, for errors that an operator can mend.
std::string mend(const std::string& sqlstate) {
    if (sqlstate == "3F000" || sqlstate == "42883" || sqlstate == "42P01")
        return "; canaryctl migrate --database URL makes it";
    if (sqlstate == "42501") return "; canaryctl doctor names the GRANT that the login lacks";
    // A transaction that writes cannot even begin there: feature_not_supported.
    if (sqlstate == "25006" || sqlstate == "0A000")
        return "; this server only reads: it is a standby";
    return "";
}

template <class Work>
auto explained(Work work) -> decltype(work()) {
    try {
        return work();
    } catch (const postgres::Error& error) {
        throw std::runtime_error(error.what() + mend(error.sqlstate()));
    }
}

void set(postgres::Database& database, const Order& order, const std::optional<Readers>& readers) {
    explained([&] {
        postgres::Params params(order.name, order.weight.basis_points, order.revision,
                                order.valid_until, order.by, order.reason);
        if (readers) {
            params.add(std::string(text::name(*readers)));
        } else {
            params.add(nullptr);
        }
        database.write(order_limits, "select canaryd.order_route($1, $2, $3, $4, $5, $6, $7)",
                       params);
    });
}

Served read(postgres::Database& database, const std::string& name) {
    return explained([&] {
        const auto row =
            database.read("select weight, revision, by, reason from canaryd.served($1)", name);
        Served served;
        if (row.empty()) return served;
        const std::int64_t weight = row.integer(0, 0), revision = row.integer(0, 1);
        if (weight < 0 || weight > everybody.basis_points || revision < 0) {
            throw std::runtime_error(database.name() + ": canaryd.route, row " + name +
                                     ": no weight from 0 to 10000, or no revision");
        }
        served.weight.basis_points = static_cast<int>(weight);
        served.revision = static_cast<std::uint64_t>(revision);
        served.by = row.is_null(0, 2) ? "" : row.text(0, 2);
        served.reason = row.is_null(0, 3) ? "" : row.text(0, 3);
        return served;
    });
}

class PostgresRouter : public Router {
public:
    PostgresRouter(const Policy& policy, const Connection& connection, Pool pool, Pool history)
        : database_(postgres::shared(connection, pool)),
          pool_(std::move(pool)),
          readers_(policy.router.readers) {
        // The one route that the users' flag column follows (deploy/sql/0006_flags.sql), and that
        // the users' own tables are about.
        const bool of_users = policy.name == user_tables::flagged_route;
        if (of_users && history) {
            history_ = std::make_shared<postgres::Database>(connection);
            history_pool_ = std::move(history);
            migration_ = user_tables::migration_of(policy);
        }
        const Readers by_default = of_users ? Readers::both : Readers::function;
        if (policy.router.readers.value_or(by_default) != Readers::function)
            flags_ = std::make_unique<FlagFollower>(policy.name, connection);
    }

    Async<> set(Order order) override {
        check_order(order);
        auto work = [order = std::move(order), readers = readers_](postgres::Database& database) {
            canaryd::set(database, order, readers);
        };
        co_await postgres::on_pool(pool_, database_, std::move(work));
        if (flags_) flags_->ring();
    }

    Async<Served> read(std::string name) override {
        auto work = [name = std::move(name)](postgres::Database& database) {
            return canaryd::read(database, name);
        };
        Served served = co_await postgres::on_pool(pool_, database_, std::move(work));
        // Also what somebody changed by hand is followed, and what a crash left undone.
        if (flags_ && followed_ != served.revision) {
            followed_ = served.revision;
            flags_->ring();
        }
        co_return served;
    }

    [[nodiscard]] std::string progress() const override {
        return flags_ ? flags_->progress() : std::string();
    }

    [[nodiscard]] bool keeps_history() const override { return history_ != nullptr; }

    Async<> record(Event event, Transition transition) override {
        if (!history_ || !user_tables::concerned(event, transition)) co_return;
        auto work = [event = std::move(event), transition = std::move(transition),
                     migration = migration_](postgres::Database& database) {
            explained([&] { user_tables::record(database, event, transition, migration); });
            database.close();  // the next milestone is days away
        };
        co_await postgres::on_pool(history_pool_, history_, std::move(work));
    }

private:
    std::shared_ptr<postgres::Database> database_;
    Pool pool_;
    std::optional<Readers> readers_;
    std::unique_ptr<FlagFollower> flags_;
    std::optional<std::uint64_t> followed_;  // the revision that was read when it was rung
    std::shared_ptr<postgres::Database> history_;
    Pool history_pool_;
    user_tables::Migration migration_;
};

}  // namespace

std::shared_ptr<Router> make_postgres_router(const Policy& policy, const Connection& connection,
                                             Pool pool, Pool history) {
    return std::make_shared<PostgresRouter>(policy, connection, std::move(pool),
                                            std::move(history));
}

}  // namespace canaryd
