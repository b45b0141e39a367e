#include "daemon/sources/sources.hpp"

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace canaryd {

namespace {

struct Kind {
    std::string_view name;
    std::shared_ptr<MetricSource> (*make)(const Policy&, const Connection&, Pool, Clock&);
};

constexpr std::array kinds{
    Kind{"sqlite", make_sqlite_source},
    Kind{"postgres", make_postgres_source},
};

}  // namespace

std::shared_ptr<MetricSource> make_source(const Policy& policy, const Settings& settings, Pool pool,
                                          Clock& clock) {
    const auto connection = settings.connections.find(policy.source.connection);
    if (connection == settings.connections.end()) {
        throw std::invalid_argument("source.connection \"" + policy.source.connection +
                                    "\" is not among the connections of canaryd.yaml");
    }
    for (const Kind& kind : kinds) {
        if (kind.name != policy.source.kind) continue;
        if (connection->second.kind != kind.name) {
            throw std::invalid_argument("source.connection \"" + policy.source.connection +
                                        "\" is of kind " + connection->second.kind +
                                        " in canaryd.yaml, the policy's source of kind " +
                                        policy.source.kind);
        }
        return kind.make(policy, connection->second, std::move(pool), clock);
    }
    std::string known;
    for (const Kind& kind : kinds) known += (known.empty() ? "" : ", ") + std::string(kind.name);
    throw std::invalid_argument("source.kind \"" + policy.source.kind +
                                "\" is unknown; known: " + known);
}

}  // namespace canaryd
