#include "daemon/routers/routers.hpp"

#include <array>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "daemon/postgres_user_tables.hpp"

namespace canaryd {

namespace {

/// A policy names the way (sql), its connection the database.
struct Kind {
    std::string_view router;
    std::string_view connection;
    bool has_flags;  // a column that programs may read instead of asking
    std::shared_ptr<Router> (*make)(const Policy&, const Connection&, Pool, Pool);
    std::vector<std::string> (*by_hand)(const std::string& name);
};

std::shared_ptr<Router> on_sqlite(const Policy&, const Connection& connection, Pool pool, Pool) {
    return make_sqlite_router(connection, std::move(pool));
}

/// Needs no SQL of the file: canaryctl knows it.
std::vector<std::string> on_sqlite_by_hand(const std::string& name) {
    return {"canaryctl rollback --direct " + name};
}

std::vector<std::string> on_postgres_by_hand(const std::string& name) {
    const std::string route = name == user_tables::flagged_route ? "" : ", '" + name + "'";
    return {"select canaryd.rollback('why'" + route + ");",
            "canaryctl rollback --direct " + name + " --database URL"};
}

constexpr std::array kinds{
    Kind{"sql", "sqlite", false, on_sqlite, on_sqlite_by_hand},
    Kind{"sql", "postgres", true, make_postgres_router, on_postgres_by_hand},
};

}  // namespace

void check_order(const Order& order) {
    constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max() - 1;
    const bool good = order.weight >= nobody && order.weight <= everybody && !order.name.empty() &&
                      order.revision <= most;
    if (!good) throw std::invalid_argument("an order needs a name and a weight from 0 to 100 %");
}

std::vector<std::string> route_by_hand(const Policy& policy, const Settings& settings) {
    const auto connection = settings.connections.find(policy.router.connection);
    if (connection == settings.connections.end()) return {};
    for (const Kind& kind : kinds) {
        if (kind.router == policy.router.kind && kind.connection == connection->second.kind)
            return kind.by_hand(policy.name);
    }
    return {};
}

std::shared_ptr<Router> make_router(const Policy& policy, const Settings& settings, Pool pool,
                                    Pool history) {
    const auto connection = settings.connections.find(policy.router.connection);
    if (connection == settings.connections.end()) {
        throw std::invalid_argument("router.connection \"" + policy.router.connection +
                                    "\" is not among the connections of canaryd.yaml");
    }
    std::string known;
    for (const Kind& kind : kinds) {
        if (kind.router == policy.router.kind && kind.connection == connection->second.kind) {
            const Readers readers = policy.router.readers.value_or(Readers::function);
            if (!kind.has_flags && readers != Readers::function) {
                throw std::invalid_argument(
                    "router.readers: connection \"" + policy.router.connection + "\" of kind " +
                    connection->second.kind + " has no flag column; write function");
            }
            return kind.make(policy, connection->second, std::move(pool), std::move(history));
        }
        known += (known.empty() ? "" : ", ") + std::string(kind.router) + " on " +
                 std::string(kind.connection);
    }
    throw std::invalid_argument("router.kind \"" + policy.router.kind + "\" on connection \"" +
                                policy.router.connection + "\" of kind \"" +
                                connection->second.kind + "\" is unknown; known: " + known);
}

}  // namespace canaryd
