#include "daemon/routers/routers.hpp"

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace canaryd {

namespace {

/// A policy names the way (sql), its connection the database.
struct Kind {
    std::string_view router;
    std::string_view connection;
    std::shared_ptr<Router> (*make)(const Connection&, Pool);
};

constexpr std::array kinds{
    Kind{"sql", "sqlite", make_sqlite_router},
};

}  // namespace

std::shared_ptr<Router> make_router(const Policy& policy, const Settings& settings, Pool pool) {
    const auto connection = settings.connections.find(policy.router.connection);
    if (connection == settings.connections.end()) {
        throw std::invalid_argument("router.connection \"" + policy.router.connection +
                                    "\" is not among the connections of canaryd.yaml");
    }
    std::string known;
    for (const Kind& kind : kinds) {
        if (kind.router == policy.router.kind && kind.connection == connection->second.kind)
            return kind.make(connection->second, std::move(pool));
        known += (known.empty() ? "" : ", ") + std::string(kind.router) + " on " +
                 std::string(kind.connection);
    }
    throw std::invalid_argument("router.kind \"" + policy.router.kind + "\" on connection \"" +
                                policy.router.connection + "\" of kind \"" +
                                connection->second.kind + "\" is unknown; known: " + known);
}

}  // namespace canaryd
