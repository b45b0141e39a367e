// The table of store kinds.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

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
/// The store can be read and not written (full disk, read-only): nothing was committed.
struct StoreReadOnly : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Opens (and at first creates) the store. Blocking; throws the errors above.
/// `pool` runs its calls: one thread, since one connection writes.
std::unique_ptr<Store> make_store(const Settings& settings, Pool pool);

std::unique_ptr<Store> make_sqlite_store(const std::string& path, Pool pool);

}  // namespace canaryd
