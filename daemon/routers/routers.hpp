// The table of router kinds. To add one: a file with a class and its factory, a line in the table.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "canaryd/ports.hpp"
#include "canaryd/settings.hpp"
#include "daemon/async.hpp"

namespace canaryd {

/// View::by_hand of the policy's route; empty where the connection is not known.
std::vector<std::string> route_by_hand(const Policy& policy, const Settings& settings);

/// For routers: throws std::invalid_argument when the order has no name, or a weight or a revision
/// that no row can hold.
void check_order(const Order& order);

/// Orders and reads run on `pool`. What is for people runs on `history`, so that it stands in no
/// order's way; without one no history is kept. Throws std::invalid_argument when the policy names
/// an unknown kind or connection.
std::shared_ptr<Router> make_router(const Policy& policy, const Settings& settings, Pool pool,
                                    Pool history = {});

std::shared_ptr<Router> make_sqlite_router(const Connection& connection, Pool pool);
std::shared_ptr<Router> make_postgres_router(const Policy& policy, const Connection& connection,
                                             Pool pool, Pool history = {});

}  // namespace canaryd
