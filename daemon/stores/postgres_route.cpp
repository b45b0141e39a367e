// A route in the store's own database: its row changes with the decision, and every order by itself
// is checked against the lease by the database.
#include <utility>

#include "canaryd/text.hpp"
#include "daemon/async.hpp"
#include "daemon/stores/blocking.hpp"
#include "daemon/stores/postgres.hpp"

namespace canaryd::store_postgres {

namespace {

Route route_of(const Policy& policy) {
    Route route;
    route.migration = user_tables::migration_of(policy);
    if (policy.router.readers) route.readers = text::name(*policy.router.readers);
    route.exposure_lease = policy.router.exposure_lease;
    return route;
}

class FencedOrders {
public:
    FencedOrders(const Connection& connection, std::shared_ptr<Shared> shared)
        : database_(connection), shared_(std::move(shared)) {}

    void set(const Order& order) {
        const Fence fence = shared_->fence();
        const std::optional<Route> route = shared_->route(order.name);
        try {
            database_.write(
                postgres::Limits{},
                "select canaryd.order_route_fenced($1::bigint, $2, $3, $4::integer, $5::bigint,"
                " $6::timestamptz, $7, $8, $9)",
                fence.epoch, fence.nonce, order.name, order.weight.basis_points, order.revision,
                order.valid_until, order.by, order.reason, route ? route->readers : std::nullopt);
        } catch (const postgres::Error&) {
            rethrow(false);
        }
    }

private:
    postgres::Database database_;
    std::shared_ptr<Shared> shared_;
};

/// `plain` reads the row and lets the flags follow; orders go through the lease.
class StoreRouter : public Router {
public:
    StoreRouter(std::shared_ptr<Router> plain, std::shared_ptr<FencedOrders> orders,
                std::shared_ptr<Shared> shared, Pool pool)
        : plain_(std::move(plain)),
          orders_(std::move(orders)),
          shared_(std::move(shared)),
          pool_(std::move(pool)) {}

    Async<> set(Order order) override {
        auto call = [orders = orders_, order = std::move(order)] { orders->set(order); };
        co_await run_blocking(pool_, std::move(call));
    }

    Async<Served> read(std::string name) override {
        Served served = co_await plain_->read(name);
        shared_->seen(name, served.revision);
        co_return served;
    }

    [[nodiscard]] std::string progress() const override { return plain_->progress(); }

private:
    std::shared_ptr<Router> plain_;
    std::shared_ptr<FencedOrders> orders_;
    std::shared_ptr<Shared> shared_;
    Pool pool_;
};

}  // namespace

OpenedStore::RouteMaker make_store_routers(const Connection& connection,
                                           std::shared_ptr<Shared> shared, Pool pool) {
    const auto orders = std::make_shared<FencedOrders>(connection, shared);
    return [name = connection.name, orders, shared, pool](
               const Policy& policy, std::shared_ptr<Router> plain) -> std::shared_ptr<Router> {
        if (policy.router.kind != "sql" || policy.router.connection != name) return plain;
        shared->set_route(policy.name, route_of(policy));
        return std::make_shared<StoreRouter>(std::move(plain), orders, shared, pool);
    };
}

}  // namespace canaryd::store_postgres
