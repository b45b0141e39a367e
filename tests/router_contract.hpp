// What every router promises that keeps the route in a row which people may change by hand. A new
// kind calls route_contract() in a test case of its own, with a function that makes a new, empty
// place each time it is called.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "daemon/routers/routers.hpp"
#include "tests/metrics_file.hpp"

namespace canaryd::testing {

/// Where a route is kept.
class RouteRow {
public:
    virtual ~RouteRow() = default;
    /// The row's name.
    [[nodiscard]] virtual std::string name() const { return "rides"; }
    virtual std::shared_ptr<Router> router(Pool pool) = 0;
    /// Somebody writes the row, which is there.
    virtual void by_hand(int weight, int revision, const std::string& by) = 0;
};

inline Order order(int basis_points, std::uint64_t revision, std::string by = "canaryd") {
    Order order;
    order.name = "rides";
    order.weight = Weight{basis_points};
    order.revision = revision;
    order.by = std::move(by);
    order.reason = "because";
    return order;
}

/// A router whose blocking calls run on the loop itself.
class Route {
public:
    /// `row` outlives it.
    explicit Route(RouteRow& row) : row_(row) { restart(); }
    void restart() { router_ = row_.router(io_.get_executor()); }
    void stop() { router_.reset(); }
    void set(Order order) {
        order.name = row_.name();
        run(io_, set_one(std::move(order)));
    }
    Served read() { return run(io_, router_->read(row_.name())); }
    [[nodiscard]] std::string progress() const { return router_->progress(); }
    /// What read() throws.
    std::string failure() {
        try {
            read();
        } catch (const std::exception& error) {
            return error.what();
        }
        return {};
    }

private:
    Async<bool> set_one(Order order) {
        co_await router_->set(std::move(order));
        co_return true;
    }
    RouteRow& row_;
    asio::io_context io_;
    std::shared_ptr<Router> router_;
};

using NewRow = std::function<std::unique_ptr<RouteRow>()>;

inline void route_contract(const NewRow& make) {
    SUBCASE("without a row nobody is on the canary") {
        const std::unique_ptr<RouteRow> row = make();
        Route route(*row);
        const Served served = route.read();
        CHECK(served.weight == nobody);
        CHECK(served.revision == 0);
        CHECK(served.by.empty());
        CHECK(served.reason.empty());
    }

    SUBCASE("an order is served, the same one again changes nothing, an older one is ignored") {
        const std::unique_ptr<RouteRow> row = make();
        Route route(*row);
        route.set(order(1000, 5));
        route.set(order(1000, 5));
        CHECK(route.read().weight == Weight{1000});
        CHECK(route.read().revision == 5);
        CHECK(route.read().by == "canaryd");
        CHECK(route.read().reason == "because");
        route.set(order(5000, 4));
        CHECK(route.read().weight == Weight{1000});
        route.set(order(5000, 6));
        CHECK(route.read().weight == Weight{5000});
        route.restart();
        CHECK(route.read().weight == Weight{5000});
    }

    SUBCASE("lowering is a right: an old order lowers too, and the revision never goes back") {
        const std::unique_ptr<RouteRow> row = make();
        Route route(*row);
        route.set(order(5000, 6));
        route.set(order(0, 1));
        CHECK(route.read().weight == nobody);
        CHECK(route.read().revision == 7);
        route.set(order(5000, 7));  // made before the lowering, and overtaken by it
        route.set(order(5000, 6));
        route.set(order(1000, 2));
        CHECK(route.read().revision == 7);
        row->by_hand(9000, 7, "bob");
        route.set(order(1000, 3));
        CHECK(route.read().weight == Weight{1000});
    }

    SUBCASE("somebody else's row yields to a newer order only, or to a lower weight") {
        const std::unique_ptr<RouteRow> row = make();
        Route route(*row);
        route.set(order(5000, 6));
        row->by_hand(0, 7, "bob");
        CHECK(route.read().by == "bob");
        route.set(order(5000, 6));
        route.set(order(5000, 7));
        CHECK(route.read().weight == nobody);
        CHECK(route.read().by == "bob");
        route.set(order(1000, 8));
        CHECK(route.read().weight == Weight{1000});
        CHECK(route.read().by == "canaryd");
    }

    SUBCASE("a row past its valid_until serves nobody") {
        const std::unique_ptr<RouteRow> row = make();
        Route route(*row);
        Order lease = order(5000, 6);
        lease.valid_until = TimePoint(std::chrono::hours{24 * 365 * 200});
        route.set(lease);
        CHECK(route.read().weight == Weight{5000});
        lease.revision = 7;
        lease.valid_until = TimePoint(Duration(1));
        route.set(lease);
        CHECK(route.read().weight == nobody);
        CHECK(route.read().revision == 7);
    }
}

}  // namespace canaryd::testing
