// The parts of the PostgreSQL store, shared by its files: postgres.cpp keeps the record,
// postgres_check.cpp proves it, postgres_commit.cpp writes a decision down, postgres_lease.cpp says
// who may act, postgres_route.cpp orders a route that is in the same database.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "canaryd/lease.hpp"
#include "daemon/postgres.hpp"
#include "daemon/postgres_user_tables.hpp"
#include "daemon/stores/blocking.hpp"
#include "daemon/stores/record.hpp"
#include "daemon/stores/stores.hpp"

namespace canaryd::store_postgres {

/// Which schema this program works with: canaryd.store_version().
inline constexpr std::int64_t version = 1;

/// The holder's proof, checked by the database in the transaction of each change.
struct Fence {
    std::int64_t epoch = 0;
    std::string nonce;  // empty: the lease is not ours
};

/// A rollout whose route is in the store's database.
struct Route {
    user_tables::Migration migration;
    std::optional<std::string> readers;
    std::optional<Duration> exposure_lease;
    std::uint64_t seen = 0;  // revision of the row as it was read last
};

/// What store, lease and routers of one database have in common, on several threads.
class Shared {
public:
    [[nodiscard]] Fence fence() const;
    void set_fence(Fence fence);
    [[nodiscard]] std::optional<Route> route(const std::string& name) const;
    void set_route(const std::string& name, Route route);
    void seen(const std::string& name, std::uint64_t revision);

private:
    mutable std::mutex mutex_;
    Fence fence_;
    std::map<std::string, Route> routes_;
};

/// A server that does not even keep its own limits is given up, as if the network had failed: what
/// was not at its COMMIT by then has certainly not been committed.
class Patience {
public:
    Patience(postgres::Database& database, Duration limit);
    ~Patience();
    Patience(const Patience&) = delete;
    Patience& operator=(const Patience&) = delete;

private:
    std::mutex mutex_;
    std::condition_variable ended_;
    bool over_ = false;
    std::thread watch_;
};

/// Says in the store's words what a failure in flight means: StoreReadOnly when certainly nothing
/// was committed, LeaseLost, StoreUnusable for a schema that is not there, else as it is.
[[noreturn]] void rethrow(bool starting);

/// Throws StoreUnusable unless the schema is there and of this program's version.
void check_schema(postgres::Transaction& snapshot, const std::string& store);
/// The journal is gap-free, its newest entries are chained and every rollout is in the state that
/// its newest entry recorded; else StoreUnusable naming the first bad entry.
void check_journal(postgres::Transaction& snapshot, const std::string& store);
/// A row of `select seq, rollout, revision, <at in ms>, by, role, event, reason,
/// encode(reason_bytes, 'hex'), refused, state_hash, previous, hash`.
record::Row row_of(const postgres::Result& rows, int row);
inline constexpr const char* row_columns =
    "seq, rollout, revision, floor(extract(epoch from at) * 1000)::bigint, by, role, event, reason,"
    " coalesce(encode(reason_bytes, 'hex'), ''), refused, state_hash, previous, hash";

std::shared_ptr<BlockingStore> make_record(const Connection& connection,
                                           std::shared_ptr<Shared> shared);
std::unique_ptr<Lease> make_lease(const Connection& connection, std::shared_ptr<Shared> shared,
                                  Pool pool);
/// `plain` reads the row; orders go through the lease.
OpenedStore::RouteMaker make_store_routers(const Connection& connection,
                                           std::shared_ptr<Shared> shared, Pool pool);

/// What canaryd.commit() takes.
std::string decision_json(const Fence& fence, const Event& event, const Transition& transition,
                          const std::string& state, const record::Row& entry,
                          const std::vector<Owed>& owed, const std::optional<Route>& route);

}  // namespace canaryd::store_postgres
