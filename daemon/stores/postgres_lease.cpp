// The lease: one row, taken, renewed and let go by functions of the database, by its clock.
#include <unistd.h>

#include <array>
#include <random>
#include <utility>

#include "canaryd/lease.hpp"
#include "daemon/async.hpp"
#include "daemon/stores/blocking.hpp"
#include "daemon/stores/postgres.hpp"

namespace canaryd::store_postgres {

namespace {

std::string our_name() {
    std::array<char, 256> host{};
    const bool named = ::gethostname(host.data(), host.size() - 1) == 0;
    return std::string(named ? host.data() : "somewhere") + ", pid " + std::to_string(::getpid());
}

/// New at each acquisition: an epoch alone may come again when a database went backwards.
std::string new_nonce() {
    std::random_device device;
    std::string nonce;
    for (int i = 0; i < 4; ++i) {
        static constexpr char digits[] = "0123456789abcdef";
        for (unsigned bits = device(), n = 0; n < 8; ++n, bits >>= 4U) nonce += digits[bits & 0xFU];
    }
    return nonce;
}

const std::string length = std::to_string(lease_length.count()) + " ms";

/// On a thread and a connection of its own: a look or a load that takes long must not cost it.
class LeaseRow {
public:
    LeaseRow(const Connection& connection, std::shared_ptr<Shared> shared)
        : database_(connection), shared_(std::move(shared)) {}

    std::optional<std::string> take() {
        return guarded([&]() -> std::optional<std::string> {
            const std::string nonce = new_nonce();
            const auto row = database_.write(
                "select mine, epoch, coalesce(holder, 'nobody') from"
                " canaryd.take_lease($1, $2, $3::interval)",
                our_name(), nonce, length);
            if (!row.boolean(0, 0)) return row.text(0, 2);
            shared_->set_fence({row.integer(0, 1), nonce});
            return std::nullopt;
        });
    }

    bool renew() {
        return guarded([&] {
            const Fence fence = shared_->fence();
            const auto row =
                database_.write("select canaryd.renew_lease($1::bigint, $2, $3::interval)",
                                fence.epoch, fence.nonce, length);
            return row.boolean(0, 0);
        });
    }

    void release() {
        guarded([&] {
            const Fence fence = shared_->fence();
            shared_->set_fence({});
            database_.write("select canaryd.release_lease($1::bigint, $2)", fence.epoch,
                            fence.nonce);
            return true;
        });
    }

private:
    /// A write whose outcome is not known is asked for again: each of the three may come twice.
    template <class Call>
    auto guarded(Call call) -> std::invoke_result_t<Call&> {
        try {
            return call();
        } catch (const postgres::UnknownOutcome& error) {
            throw StoreReadOnly(error.what());
        } catch (const postgres::Error&) {
            rethrow(true);
        }
    }

    postgres::Database database_;
    std::shared_ptr<Shared> shared_;
};

class PostgresLease : public Lease {
public:
    PostgresLease(const Connection& connection, std::shared_ptr<Shared> shared, Pool pool)
        : row_(std::make_shared<LeaseRow>(connection, std::move(shared))), pool_(std::move(pool)) {}

    Async<std::optional<std::string>> take() override {
        auto call = [row = row_] { return row->take(); };
        co_return co_await run_blocking(pool_, std::move(call));
    }
    Async<bool> renew() override {
        auto call = [row = row_] { return row->renew(); };
        co_return co_await run_blocking(pool_, std::move(call));
    }
    Async<> release() override {
        auto call = [row = row_] { row->release(); };
        co_await run_blocking(pool_, std::move(call));
    }

private:
    std::shared_ptr<LeaseRow> row_;
    Pool pool_;
};

}  // namespace

std::unique_ptr<Lease> make_lease(const Connection& connection, std::shared_ptr<Shared> shared,
                                  Pool pool) {
    return std::make_unique<PostgresLease>(connection, std::move(shared), std::move(pool));
}

}  // namespace canaryd::store_postgres
