#include "daemon/stores/blocking.hpp"

#include <utility>

namespace canaryd {

namespace {

class PooledStore : public Store {
public:
    PooledStore(std::shared_ptr<BlockingStore> store, Pool pool)
        : pool_(std::move(pool)), store_(std::move(store)) {}

    Async<std::vector<Loaded>> load() override {
        auto call = [store = store_] { return store->load(); };
        co_return co_await run_blocking(pool_, std::move(call));
    }
    Async<> commit(Event event, Transition transition, std::vector<Owed> owed) override {
        auto call = [store = store_, event = std::move(event), transition = std::move(transition),
                     owed = std::move(owed)] { store->commit(event, transition, owed); };
        co_await run_blocking(pool_, std::move(call));
    }
    Async<std::vector<Owed>> owed() override {
        auto call = [store = store_] { return store->owed(); };
        co_return co_await run_blocking(pool_, std::move(call));
    }
    Async<> settle(std::string message_id, std::string why) override {
        auto call = [store = store_, id = std::move(message_id), why = std::move(why)] {
            store->settle(id, why);
        };
        co_await run_blocking(pool_, std::move(call));
    }
    Async<std::vector<JournalEntry>> journal(std::string rollout, std::uint64_t after,
                                             std::size_t limit) override {
        auto call = [store = store_, rollout = std::move(rollout), after, limit] {
            return store->journal(rollout, after, limit);
        };
        co_return co_await run_blocking(pool_, std::move(call));
    }
    Async<std::uint64_t> count_of(std::string name) override {
        auto call = [store = store_, name = std::move(name)] { return store->count_of(name); };
        co_return co_await run_blocking(pool_, std::move(call));
    }

private:
    Pool pool_;
    std::shared_ptr<BlockingStore> store_;
};

}  // namespace

std::unique_ptr<Store> on_pool(std::shared_ptr<BlockingStore> store, Pool pool) {
    return std::make_unique<PooledStore>(std::move(store), std::move(pool));
}

}  // namespace canaryd
