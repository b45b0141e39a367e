// PostgreSQL asked from a coroutine: the call runs on the pool, and is ended there when nobody
// waits for its answer any more.
#pragma once

#include <memory>
#include <mutex>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "daemon/async.hpp"
#include "daemon/postgres.hpp"

namespace canaryd::postgres {

/// One call and whoever waits for it. The connection is shared, so only what this call runs may be
/// ended.
class Call {
public:
    void begin(Database& database) {
        const std::lock_guard lock(mutex_);
        if (stopped_) throw std::runtime_error(database.name() + ": given up while waiting");
        running_ = &database;
    }
    void end() noexcept {
        const std::lock_guard lock(mutex_);
        running_ = nullptr;
    }
    void stop() noexcept {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        if (running_ != nullptr) running_->interrupt();
    }

private:
    std::mutex mutex_;
    Database* running_ = nullptr;
    bool stopped_ = false;
};

/// work(database) on the pool. A server that enforces its limits ends a statement by itself; what
/// it does not end, the end of the waiting coroutine does.
template <class Work>
auto on_pool(Pool pool, std::shared_ptr<Database> database, Work work)
    -> Async<std::invoke_result_t<Work&, Database&>> {
    struct StopAtEnd {
        explicit StopAtEnd(std::shared_ptr<Call> one) : call(std::move(one)) {}
        ~StopAtEnd() { call->stop(); }
        StopAtEnd(const StopAtEnd&) = delete;
        StopAtEnd& operator=(const StopAtEnd&) = delete;
        std::shared_ptr<Call> call;
    };
    struct Running {
        Running(Call& one, Database& used) : call(one) { call.begin(used); }
        ~Running() { call.end(); }
        Running(const Running&) = delete;
        Running& operator=(const Running&) = delete;
        Call& call;
    };
    const auto call = std::make_shared<Call>();
    const StopAtEnd at_end(call);
    auto blocking = [call, database = std::move(database), work = std::move(work)]() mutable {
        const Running running(*call, *database);
        return work(*database);
    };
    co_return co_await run_blocking(std::move(pool), std::move(blocking));
}

}  // namespace canaryd::postgres
