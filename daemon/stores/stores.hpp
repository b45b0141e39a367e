// The table of store kinds.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include "canaryd/lease.hpp"
#include "canaryd/ports.hpp"
#include "canaryd/settings.hpp"
#include "daemon/async.hpp"

namespace canaryd {

/// Another daemon holds the store: says who. Exit code 75.
struct StoreInUse : std::runtime_error {
    using std::runtime_error::runtime_error;
};
/// The store is damaged, newer than this program, or not ours: exit code 78, nothing touched.
struct StoreUnusable : std::runtime_error {
    using std::runtime_error::runtime_error;
};
/// The store cannot be written now (full disk, read-only, no connection): nothing was committed.
struct StoreReadOnly : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Threads for the connections that a store has; each is one thread.
struct StorePools {
    Pool record;
    Pool lease;
    Pool route;
};

/// A store, and what comes with its kind.
struct OpenedStore {
    std::unique_ptr<Store> store;
    std::unique_ptr<Lease> lease;  // null: one daemon, which has a lock on the file
    /// Where a policy's route is in the store's own database: its router, made of the usual one.
    using RouteMaker =
        std::function<std::shared_ptr<Router>(const Policy&, std::shared_ptr<Router>)>;
    RouteMaker with_store;  // null: never
};

/// Opens (and at first creates) the store. Blocking; throws the errors above. One on a server is
/// connected to when it is first used.
OpenedStore make_store(const Settings& settings, const StorePools& pools);

std::unique_ptr<Store> make_sqlite_store(const std::string& path, Pool pool);
OpenedStore make_postgres_store(const Settings& settings, const StorePools& pools);

}  // namespace canaryd
