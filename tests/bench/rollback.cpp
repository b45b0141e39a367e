// From the moment in which a source may see failing requests to the committed route row: the
// production controller with SQLite as source, store and router. The clock moves by hand, so that
// no cadence is in it; what is measured is real time.
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdlib>

#include "canaryd/controller.hpp"
#include "daemon/async.hpp"
#include "daemon/clock.hpp"
#include "daemon/log.hpp"
#include "daemon/routers/routers.hpp"
#include "daemon/sources/sources.hpp"
#include "daemon/stores/stores.hpp"
#include "tests/bench/looks.hpp"
#include "tests/metrics_file.hpp"

using namespace canaryd;
using namespace canaryd::bench;

namespace {

class HandClock : public Clock {
public:
    TimePoint now() const override { return wall_; }
    SteadyPoint steady() const override { return steady_; }
    Key call_at(SteadyPoint at, std::function<void()> ring) override {
        return alarms_.add(at, std::move(ring));
    }
    void forget(const Key& key) override { alarms_.forget(key); }
    void advance(Duration by) {
        wall_ += by;
        steady_ += by;
        while (alarms_.ring_one(steady_)) continue;
    }

private:
    Alarms alarms_;
    TimePoint wall_{Duration(1'764'331'200'000)};
    SteadyPoint steady_{std::chrono::hours{1}};
};

/// Seconds since the rows were visible.
struct Parts {
    double observed = 0, ordered = 0, lowered = 0;
};

/// What the trial waits for.
struct Watch {
    std::function<void(TimePoint)> before_observing;  // the failing rows appear, just before this
    std::optional<Stopwatch> visible;
    Parts parts;
    std::int64_t observed = 0;  // how often
    bool lowered = false;
};

class WatchedSource : public MetricSource {
public:
    WatchedSource(std::shared_ptr<MetricSource> source, Watch& watch)
        : source_(std::move(source)), watch_(watch) {}
    Async<Look> observe(Ask ask) override {
        if (watch_.before_observing) {
            std::exchange(watch_.before_observing, {})(ask.to);
            watch_.visible.emplace();
        }
        Look look = co_await source_->observe(std::move(ask));
        ++watch_.observed;
        if (watch_.visible) watch_.parts.observed = watch_.visible->seconds();
        co_return look;
    }
    Async<TimePoint> watermark() override { return source_->watermark(); }
    Async<> check() override { return source_->check(); }
    Async<std::vector<TopError>> top_errors(TimePoint from, TimePoint to) override {
        return source_->top_errors(from, to);
    }

private:
    std::shared_ptr<MetricSource> source_;
    Watch& watch_;
};

class WatchedRouter : public Router {
public:
    WatchedRouter(std::shared_ptr<Router> router, Watch& watch)
        : router_(std::move(router)), watch_(watch) {}
    Async<> set(Order order) override {
        const bool lowers = order.weight == nobody && watch_.visible;
        if (lowers) watch_.parts.ordered = watch_.visible->seconds();
        co_await router_->set(std::move(order));
        if (!lowers) co_return;
        watch_.parts.lowered = watch_.visible->seconds();
        watch_.visible.reset();
        watch_.lowered = true;
    }
    Async<Served> read(std::string name) override { return router_->read(std::move(name)); }

private:
    std::shared_ptr<Router> router_;
    Watch& watch_;
};

class PromptNotifier : public Notifier {
public:
    Async<Sent> send(Message) override { co_return Sent{}; }
};

class Theatre {
public:
    explicit Theatre(const std::string& folder)
        : metrics_(folder + "/metrics.db"),
          bare_(folder + "/bare.db", sqlite::Mode::create),
          store_(make_sqlite_store(folder + "/store.db", store_pool_.get_executor())) {
        metrics_.database().execute("CREATE TABLE webhook_dlq (created_at INTEGER NOT NULL)");
        bare_.execute("PRAGMA journal_mode = WAL");
        bare_.execute("CREATE TABLE one (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT");
        bare_.execute("PRAGMA synchronous = FULL");
        const auto ports = [this, folder](const Policy& policy) {
            Ports all;
            all.source = std::make_shared<WatchedSource>(
                make_sqlite_source(policy, {"metrics", "sqlite", folder + "/metrics.db", "", ""},
                                   metrics_pool_.get_executor(), clock_),
                watch_);
            all.router = std::make_shared<WatchedRouter>(
                make_sqlite_router({"route", "sqlite", folder + "/route.db", "", ""},
                                   route_pool_.get_executor()),
                watch_);
            all.notifiers.assign(policy.notify.size(), std::make_shared<PromptNotifier>());
            return all;
        };
        controller_ = std::make_unique<Controller>(io_.get_executor(), clock_, *store_, ports);
        asio::co_spawn(io_, controller_->run(), or_die);
    }

    /// A healthy rollout at its first step, and then ten users whose requests fail.
    Parts trial(std::int64_t number) {
        const std::string name = "rollout-" + std::to_string(number);
        std::string text = replaced(unified_text(), "name: unified-webhook", "name: " + name);
        text = replaced(text, "canary: wa-webhook-unified", "canary: new-" + name);
        asio::co_spawn(io_,
                       controller_->start(std::move(text), "bench.yaml", {"bench", "operator"}),
                       [](const std::exception_ptr& error, const Transition& started) {
                           if (error) std::rethrow_exception(error);
                           if (started.refused) throw std::runtime_error(started.reason);
                       });
        until(name + " is on its first step", [&] {
            const auto view = controller_->view(name);
            return view && view->rollout.status == Status::progressing;
        });
        talk(name, "success", 400, clock_.now());
        watch_.observed = 0;
        until(name + " is peeked at", [this] {
            if (watch_.observed == 0) pass(std::chrono::seconds{1});
            return watch_.observed > 0;  // the source has opened the file and knows its tables
        });
        watch_.lowered = false;
        watch_.before_observing = [this, name](TimePoint to) { talk(name, "error", 60, to); };
        until(name + " is peeked at again", [this] {
            if (!watch_.visible) pass(std::chrono::seconds{1});
            return watch_.visible || watch_.lowered;
        });
        until(name + " is on legacy", [this] { return watch_.lowered; });
        const Parts parts = watch_.parts;
        until(name + " has nothing left to do", [&] {
            const auto view = controller_->view(name);
            return view->rollout.over() && view->rollout.applied == nobody;
        });
        return parts;
    }

    double bare_commit() {
        const Stopwatch watch;
        bare_.query("INSERT INTO one (text) VALUES (?)", "a small row").run();
        return watch.seconds();
    }

private:
    void talk(const std::string& name, const std::string& status, int requests, TimePoint before) {
        metrics_.database().execute("BEGIN");
        for (int i = 0; i < requests; ++i) {
            testing::Logged row;
            row.webhook = "new-" + name;
            row.user = "user-" + std::to_string(i % 10);
            row.agent = "rides";
            row.at = before.time_since_epoch().count() - 1;
            row.status = status;
            metrics_.log(row);
        }
        metrics_.database().execute("COMMIT");
    }

    /// On the loop's thread, where alarms ring in production.
    void pass(Duration by) {
        asio::post(io_, [this, by] { clock_.advance(by); });
    }

    template <class Done>
    void until(const std::string& what, Done done) {
        const Stopwatch watch;
        while (!done()) {
            io_.restart();
            io_.run_for(std::chrono::milliseconds{1});
            if (watch.seconds() > 20) throw std::runtime_error("not within 20 s: " + what);
        }
    }

    HandClock clock_;
    asio::io_context io_{1};
    asio::thread_pool store_pool_{1}, metrics_pool_{1}, route_pool_{1};
    testing::MetricsFile metrics_;
    sqlite::Database bare_;
    std::unique_ptr<Store> store_;
    Watch watch_;
    std::unique_ptr<Controller> controller_;
};

void measure(Report& report, std::int64_t trials) {
    const testing::Folder folder;
    // Never destroyed: frames are parked on the clock and on the pools.
    auto& theatre = *new Theatre(folder.path());
    std::vector<double> seconds, peek, record, route, bare;
    constexpr std::int64_t warm = 5;
    for (std::int64_t i = 0; i < trials + warm; ++i) {
        const Parts parts = theatre.trial(i);
        const double commit = theatre.bare_commit();
        if (i < warm) continue;
        seconds.push_back(parts.lowered);
        peek.push_back(parts.observed);
        record.push_back(parts.ordered - parts.observed);
        route.push_back(parts.lowered - parts.ordered);
        bare.push_back(commit);
    }
    const Spread all = spread_of(seconds);
    const Spread one = spread_of(bare);
    report.figure("failing rows visible -> route row at 0 %, p50", time_text(all.p50));
    report.figure("the same, p99", time_text(all.p99));
    report.figure("the same : one bare SQLite commit, p50", ratio_text(all.p50 / one.p50));
    report.figure("the same : one bare SQLite commit, p99", ratio_text(all.p99 / one.p99));
    report.figure("of it counting / deciding and recording / route, p50",
                  time_text(spread_of(peek).p50) + " / " + time_text(spread_of(record).p50) +
                      " / " + time_text(spread_of(route).p50));
    report.figure("bare commit, p50 / p99", time_text(one.p50) + " / " + time_text(one.p99));
    report.note(std::to_string(all.count) +
                " rollbacks by a trigger at a peek; two commits (record, then route) are in each");
    std::error_code ignored;
    std::filesystem::remove_all(folder.path(), ignored);
    std::fflush(stdout);
    std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"From failing rows to the route row"};
    std::int64_t trials = 200;
    app.add_option("--trials", trials, "how many rollbacks")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000'000));
    return run(app, argc, argv, [&] {
        Report report("Breach visible -> route row changed, without the cadence", argc, argv);
        set_log_level(Level::critical);
        measure(report, trials);
    });
}
