// The durable record in PostgreSQL, where several daemons can share it and where the route and the
// user's own tables change in the same transaction as the decision.
//
// Each decision is one call of canaryd.commit(), which checks the lease first, and commits with
// that statement. A connection lost in it may have committed, and then this process decides nothing
// more.
#include <algorithm>
#include <limits>
#include <utility>

#include "canaryd/lease.hpp"
#include "daemon/codec.hpp"
#include "daemon/log.hpp"
#include "daemon/stores/blocking.hpp"
#include "daemon/stores/postgres.hpp"

namespace canaryd::store_postgres {

// --- Shared -------------------------------------------------------------------------------------

Fence Shared::fence() const {
    const std::lock_guard lock(mutex_);
    return fence_;
}

void Shared::set_fence(Fence fence) {
    const std::lock_guard lock(mutex_);
    fence_ = std::move(fence);
}

std::optional<Route> Shared::route(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = routes_.find(name);
    return found == routes_.end() ? std::nullopt : std::optional(found->second);
}

void Shared::set_route(const std::string& name, Route route) {
    const std::lock_guard lock(mutex_);
    Route& known = routes_[name];
    route.seen = known.seen;
    known = std::move(route);
}

void Shared::seen(const std::string& name, std::uint64_t revision) {
    const std::lock_guard lock(mutex_);
    const auto found = routes_.find(name);
    if (found != routes_.end()) found->second.seen = revision;
}

// --- Patience -----------------------------------------------------------------------------------

Patience::Patience(postgres::Database& database, Duration limit)
    : watch_([this, &database, limit] {
          std::unique_lock lock(mutex_);
          if (!ended_.wait_for(lock, limit, [this] { return over_; })) database.interrupt();
      }) {}

Patience::~Patience() {
    {
        const std::lock_guard lock(mutex_);
        over_ = true;
    }
    ended_.notify_all();
    watch_.join();
}

namespace {

// --- The store ----------------------------------------------------------------------------------

constexpr postgres::Limits of_a_commit{.statement = std::chrono::seconds{5},
                                       .lock = std::chrono::seconds{2}};
/// Loading proves the newest entries and every state.
constexpr postgres::Limits of_a_load{.statement = std::chrono::seconds{15},
                                     .lock = std::chrono::seconds{2}};

/// Longer than the server's limits, shorter than the controller waits.
constexpr Duration patience_with_a_commit = std::chrono::seconds{7};
constexpr Duration patience_with_a_load = std::chrono::seconds{18};

class PostgresStore : public BlockingStore {
public:
    PostgresStore(const Connection& connection, std::shared_ptr<Shared> shared)
        : database_(connection), shared_(std::move(shared)) {}

    std::vector<Loaded> load() override;
    void commit(const Event& event, const Transition& transition,
                const std::vector<Owed>& owed) override;
    std::vector<Owed> owed() override;
    void settle(const std::string& message_id, const std::string& why) override;
    std::vector<JournalEntry> journal(const std::string& rollout, std::uint64_t after,
                                      std::size_t limit) override;
    std::uint64_t count_of(const std::string& name) override;

private:
    std::string write(const std::string& decision);
    record::Head head();
    void complete_rollback(const Event& event, const Transition& transition, const Route& route);

    postgres::Database database_;
    std::shared_ptr<Shared> shared_;
    std::optional<record::Head> head_;      // of the journal, as long as nobody else can write it
    std::optional<std::int64_t> rollback_;  // the newest row of migration_rollbacks that is ours
    bool proven_ = false;
    std::string unknown_;  // of a commit whose outcome is not known: nothing is written after it
};

std::vector<Loaded> PostgresStore::load() {
    try {
        const Patience patience(database_, patience_with_a_load);
        postgres::Transaction snapshot(database_, postgres::Transaction::Kind::snapshot, of_a_load);
        check_schema(snapshot, database_.name());
        // Whoever stands by reads what another daemon is writing, and leaves the proof to it.
        if (!shared_->fence().nonce.empty() && !proven_) {
            check_journal(snapshot, database_.name());
            proven_ = true;
        }
        std::vector<Loaded> all;
        snapshot.each(
            "select id, state, policy_text, policy_file from canaryd.rollout r"
            " where status not in ('rolled_back', 'finished') or number ="
            " (select max(o.number) from canaryd.rollout o"
            "  where o.name = r.name and o.status in ('rolled_back', 'finished'))"
            " or id in (select rollout from canaryd.outbox where settled_at is null)"
            " order by name, number",
            {}, [&](const postgres::Result& rows, int row) {
                try {
                    all.push_back({codec::rollout_from_json(rows.view(row, 1)), rows.text(row, 2),
                                   rows.text(row, 3)});
                } catch (const postgres::Error&) {
                    throw;
                } catch (const std::exception& error) {
                    throw StoreUnusable("store " + database_.name() + ": " + rows.text(row, 0) +
                                        ": " + error.what());
                }
                return true;
            });
        return all;
    } catch (const postgres::Error&) {
        rethrow(true);
    }
}

record::Head PostgresStore::head() {
    if (!head_) {
        const auto newest =
            database_.read("select seq, hash from canaryd.journal order by seq desc limit 1");
        head_ =
            newest.empty() ? record::Head{} : record::Head{newest.integer(0, 0), newest.text(0, 1)};
    }
    return *head_;
}

/// What canaryd.commit() could not do beside the record; empty: all is well.
std::string PostgresStore::write(const std::string& decision) {
    // A network that swallows everything is found out by what may be asked again, else each of its
    // outcomes would be unknown and end the process.
    database_.read("select 1");
    const auto done = database_.write(
        of_a_commit, "select coalesce(trouble, ''), rollback_id from canaryd.commit($1::jsonb)",
        decision);
    rollback_ = done.is_null(0, 1) ? std::nullopt : std::optional(done.integer(0, 1));
    return done.text(0, 0);
}

void PostgresStore::commit(const Event& event, const Transition& transition,
                           const std::vector<Owed>& owed) {
    const std::string store = "store " + database_.name();
    if (!unknown_.empty())
        throw std::runtime_error(store + ": nothing more is written after: " + unknown_);
    record::check(store, event, transition);
    const std::string state = codec::to_json(transition.next);
    const Fence fence = shared_->fence();
    if (fence.nonce.empty()) throw LeaseLost(store + ": the lease is not held");
    std::optional<Route> route = shared_->route(transition.next.name);
    std::string trouble;
    try {
        const Patience patience(database_, patience_with_a_commit);
        const record::Row entry = record::row_after(head(), event, transition, state);
        trouble = write(decision_json(fence, event, transition, state, entry, owed, route));
        head_ = record::Head{entry.seq, entry.hash};
    } catch (const postgres::UnknownOutcome& error) {
        unknown_ = error.what();
        throw;
    } catch (const postgres::Error&) {
        head_.reset();
        rethrow(false);
    }
    if (!trouble.empty()) {
        log(Level::warning, "recorded, but not all that goes with it: " + trouble,
            {{"CANARYD_ROLLOUT", transition.next.id}});
    }
    // Not while the route waits for its order.
    if (route && rollback_ && trouble.empty()) complete_rollback(event, transition, *route);
}

/// The figures take as long as the metrics are many, so that they come after the decision and the
/// route. For people only: without them the row has those of the step.
void PostgresStore::complete_rollback(const Event& event, const Transition& transition,
                                      const Route& route) {
    try {
        // Other decisions wait for it.
        constexpr Duration limit = std::chrono::seconds{1};
        const Patience patience(database_, 3 * limit);
        user_tables::complete(database_, *rollback_, event, transition, route.migration, limit);
    } catch (const postgres::Error& error) {
        log(Level::info, std::string("no exact figures of the rollback: ") + error.what());
    }
    rollback_.reset();
}

std::vector<Owed> PostgresStore::owed() {
    try {
        const Patience patience(database_, patience_with_a_commit);
        const auto rows = database_.read(
            "select channel, id, rollout, revision, floor(extract(epoch from at) * 1000)::bigint,"
            " notice from canaryd.outbox where settled_at is null order by seq");
        std::vector<Owed> all;
        for (int row = 0; row < rows.size(); ++row) {
            Owed owed;
            owed.channel = rows.text(row, 0);
            owed.message.id = rows.text(row, 1);
            owed.message.rollout = rows.text(row, 2);
            owed.message.revision = static_cast<std::uint64_t>(rows.integer(row, 3));
            owed.message.at = rows.time(row, 4);
            try {
                owed.message.notice = codec::notice_from_json(rows.view(row, 5));
            } catch (const postgres::Error&) {
                throw;
            } catch (const std::exception& error) {
                throw StoreUnusable("store " + database_.name() + ": " + owed.message.id + ": " +
                                    error.what());
            }
            all.push_back(std::move(owed));
        }
        return all;
    } catch (const postgres::Error&) {
        rethrow(false);
    }
}

void PostgresStore::settle(const std::string& message_id, const std::string& why) {
    // Twice is as good as once, so that even a lost connection leaves no doubt to live with.
    for (int tries = 1;; ++tries) {
        try {
            const Patience patience(database_, patience_with_a_commit);
            database_.write("select canaryd.settle($1, $2)", message_id, codec::valid_utf8(why));
            return;
        } catch (const postgres::UnknownOutcome& error) {
            if (tries == 2) throw StoreReadOnly(error.what());
        } catch (const postgres::Error&) {
            rethrow(false);
        }
    }
}

std::vector<JournalEntry> PostgresStore::journal(const std::string& rollout, std::uint64_t after,
                                                 std::size_t limit) {
    constexpr std::uint64_t top = std::numeric_limits<std::int64_t>::max();
    const std::uint64_t from = std::min<std::uint64_t>(after, top);
    const std::uint64_t most = std::min<std::uint64_t>(limit, top);
    const std::string select = std::string("select ") + row_columns + " from canaryd.journal ";
    try {
        const Patience patience(database_, patience_with_a_load);
        const auto rows =
            rollout.empty()
                ? database_.read(select + "where seq > $1::bigint order by seq limit $2::bigint",
                                 from, most)
                : database_.read(select +
                                     "where rollout = $1 and revision > $2::bigint"
                                     " order by revision limit $3::bigint",
                                 rollout, from, most);
        std::vector<JournalEntry> entries;
        for (int row = 0; row < rows.size(); ++row)
            entries.push_back(record::entry_of(row_of(rows, row)));
        return entries;
    } catch (const postgres::Error&) {
        rethrow(false);
    }
}

std::uint64_t PostgresStore::count_of(const std::string& name) {
    try {
        const Patience patience(database_, patience_with_a_commit);
        const auto rows = database_.read(
            "select coalesce(max(number), 0) from canaryd.rollout where name = $1", name);
        return static_cast<std::uint64_t>(rows.integer(0, 0));
    } catch (const postgres::Error&) {
        rethrow(false);
    }
}

}  // namespace

std::shared_ptr<BlockingStore> make_record(const Connection& connection,
                                           std::shared_ptr<Shared> shared) {
    return std::make_shared<PostgresStore>(connection, std::move(shared));
}

}  // namespace canaryd::store_postgres

namespace canaryd {

OpenedStore make_postgres_store(const Settings& settings, const StorePools& pools) {
    const auto named = settings.connections.find(settings.store_connection);
    if (named == settings.connections.end() || named->second.kind != "postgres")
        throw StoreUnusable("store.connection: \"" + settings.store_connection +
                            "\" is no connection of kind postgres");
    const Connection connection = named->second;
    const auto shared = std::make_shared<store_postgres::Shared>();
    OpenedStore opened;
    opened.store = on_pool(store_postgres::make_record(connection, shared), pools.record);
    opened.lease = store_postgres::make_lease(connection, shared, pools.lease);
    opened.with_store = store_postgres::make_store_routers(connection, shared, pools.route);
    return opened;
}

}  // namespace canaryd
