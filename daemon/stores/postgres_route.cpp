// A route in the store's own database: its row changes with the decision, and every order by itself
// is checked against the lease by the database.
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "daemon/async.hpp"
#include "daemon/stores/blocking.hpp"
#include "daemon/stores/postgres.hpp"

namespace canaryd::store_postgres {

namespace {

/// What migration_status calls this step: its own name where that is one, else by its place.
std::string phase_of(const std::vector<Step>& steps, std::size_t index) {
    constexpr std::array<std::string_view, 4> phases{"week4", "week5", "week6", "week7+"};
    const auto named = std::find(phases.begin(), phases.end(), steps[index].name);
    if (named != phases.end()) return std::string(*named);
    return std::string(phases[std::min(index, phases.size() - 1)]);
}

Route route_of(const Policy& policy) {
    Route route;
    for (std::size_t i = 0; i < policy.steps.size(); ++i) {
        route.phases.push_back(phase_of(policy.steps, i));
        route.weights.push_back(policy.steps[i].weight);
    }
    route.canary = policy.canary;
    return route;
}

class FencedOrders {
public:
    FencedOrders(const Connection& connection, std::shared_ptr<Shared> shared)
        : database_(connection), shared_(std::move(shared)) {}

    void set(const Order& order) {
        const Fence fence = shared_->fence();
        try {
            postgres::Transaction transaction(database_, postgres::Transaction::Kind::write);
            transaction.run(
                "select canaryd.order_route_fenced($1::bigint, $2, $3, $4::integer, $5::bigint,"
                " $6::timestamptz, $7, $8)",
                fence.epoch, fence.nonce, order.name, order.weight.basis_points, order.revision,
                order.valid_until, order.by, order.reason);
            transaction.commit();
        } catch (const postgres::Error&) {
            rethrow(false);
        }
    }

private:
    postgres::Database database_;
    std::shared_ptr<Shared> shared_;
};

class StoreRouter : public Router {
public:
    StoreRouter(std::shared_ptr<Router> plain, const Connection& connection,
                std::shared_ptr<Shared> shared, Pool pool)
        : plain_(std::move(plain)),
          orders_(std::make_shared<FencedOrders>(connection, shared)),
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

private:
    std::shared_ptr<Router> plain_;
    std::shared_ptr<FencedOrders> orders_;
    std::shared_ptr<Shared> shared_;
    Pool pool_;
};

}  // namespace

std::shared_ptr<Router> make_store_router(const Policy& policy, std::shared_ptr<Router> plain,
                                          const Connection& connection,
                                          std::shared_ptr<Shared> shared, Pool pool) {
    shared->set_route(policy.name, route_of(policy));
    return std::make_shared<StoreRouter>(std::move(plain), connection, std::move(shared),
                                         std::move(pool));
}

}  // namespace canaryd::store_postgres
