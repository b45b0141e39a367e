// The wiring diagram: settings, clock, store, makers of ports, controller, HTTP; then run.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>
#include <csignal>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <thread>

#include "canaryd/controller.hpp"
#include "canaryd/settings.hpp"
#include "canaryd/text.hpp"
#include "daemon/async.hpp"
#include "daemon/clock.hpp"
#include "daemon/http/server.hpp"
#include "daemon/log.hpp"
#include "daemon/marks.hpp"
#include "daemon/notifiers/notifiers.hpp"
#include "daemon/routers/routers.hpp"
#include "daemon/sources/sources.hpp"
#include "daemon/stores/stores.hpp"
#include "daemon/systemd.hpp"

namespace canaryd {
namespace {

enum Exit { ok = 0, usage = 64, internal = 70, io_failed = 74, in_use = 75, config = 78 };

struct Arguments {
    std::string config = "/etc/canaryd/canaryd.yaml";
    std::string state_dir;
    bool check = false;
};

/// Settings or every problem on stderr. A missing default file is all defaults.
std::optional<Settings> read_settings(const Arguments& arguments) {
    std::ifstream file(arguments.config);
    std::ostringstream text;
    if (file) {
        text << file.rdbuf();
    } else if (arguments.config != Arguments{}.config) {
        std::cerr << arguments.config << ": cannot be read\n";
        return std::nullopt;
    }
    ParsedSettings parsed = parse_settings(text.str(), arguments.config, arguments.state_dir);
    for (const Problem& problem : parsed.problems) std::cerr << to_string(problem) << '\n';
    return parsed.settings;
}

/// One thread per connection, which has one user; a slow one delays no other.
class Pools {
public:
    Pool of(const std::string& path) {
        auto& pool = pools_[path];
        if (!pool) pool = std::make_unique<asio::thread_pool>(1);
        return pool->get_executor();
    }

private:
    std::map<std::string, std::unique_ptr<asio::thread_pool>> pools_;
};

/// A SQLite file has one thread; a server has one for each port, so that a look that takes long
/// never stands before a rollback.
std::string pool_of(const Settings& settings, const std::string& port,
                    const std::string& connection) {
    const auto found = settings.connections.find(connection);
    const bool file = found != settings.connections.end() && found->second.kind == "sqlite";
    return file ? found->second.path : port + " " + connection;
}

PortsMaker ports_maker(const Settings& settings, Pools& pools, Clock& clock,
                       asio::any_io_executor notifiers, OpenedStore::RouteMaker with_store) {
    return [&settings, &pools, &clock, notifiers, with_store](const Policy& policy) {
        Ports ports;
        ports.source =
            make_source(policy, settings,
                        pools.of(pool_of(settings, "source", policy.source.connection)), clock);
        const std::string& route = policy.router.connection;
        ports.router = make_router(policy, settings, pools.of(pool_of(settings, "router", route)),
                                   pools.of(pool_of(settings, "history", route)));
        if (with_store) ports.router = with_store(policy, std::move(ports.router));
        ports.by_hand = route_by_hand(policy, settings);
        for (const NotifySpec& spec : policy.notify) {
            ports.notifiers.push_back(make_notifier(spec, settings, notifiers));
        }
        return ports;
    };
}

std::string status_line(const Health& health, TimePoint now) {
    if (!health.standby.empty()) return health.standby;
    std::string line =
        std::to_string(health.rollouts) + " running, " + std::to_string(health.paused) +
        " paused, " + std::to_string(health.held) + " held; last look " +
        (health.last_look ? text::ago(now, *health.last_look) : "none") + "; store " +
        (health.store_trouble.empty() ? "ok" : "NOT WRITABLE") + "; outbox " +
        std::to_string(health.owed) + "; blind " + std::to_string(health.blind);
    return line;
}

/// READY once every route was read, STATUS each minute and on change; the watchdog is fed only
/// while both loops answer and no look is late. A dead source or Slack does not stop it.
Async<> supervise(Clock& clock, Controller& controller, asio::io_context& notifier_io) {
    const Duration interval = systemd::watchdog_interval();
    const Duration every = interval > Duration{0}
                               ? std::min<Duration>(interval, std::chrono::seconds{1})
                               : Duration{std::chrono::seconds{1}};
    // Set by the notifiers' loop, which outlives this coroutine or not: it has a share of its own.
    const auto notifiers_answered = std::make_shared<std::atomic<bool>>(true);
    SteadyPoint notifiers_asked = clock.steady();
    bool ready = false;
    std::string told;
    for (;;) {
        const Health health = controller.health();
        const std::string status = status_line(health, clock.now());
        // One that stands by, or waits for its database, has started as well.
        const bool up = health.ready || !health.standby.empty() || !health.store_trouble.empty();
        if (up && !ready) {
            ready = true;
            systemd::ready(status);
            log(Level::notice, "ready: " + status);
        } else if (status != told) {
            systemd::status(status);
        }
        told = status;
        if (notifiers_answered->exchange(false)) {
            notifiers_asked = clock.steady();
            asio::post(notifier_io, [notifiers_answered] { *notifiers_answered = true; });
        }
        if (systemd::may_feed(health, clock.steady() - notifiers_asked)) systemd::watchdog_ping();
        co_await sleep_until(clock, clock.steady() + every);
    }
}

/// SIGHUP: what can be changed is read anew, as a whole or not at all.
void reload(const Arguments& arguments) {
    systemd::reloading();
    const auto settings = read_settings(arguments);
    if (settings && set_log_level(settings->log_level)) {
        log(Level::notice, "configuration read again; connections and addresses change at restart");
    } else {
        log(Level::error, "configuration kept as it was: " + arguments.config +
                              " has mistakes, see canaryd --check");
    }
    systemd::ready("reloaded");
}

Async<> obey_signals(asio::io_context& io, Controller& controller, const Arguments& arguments) {
    asio::signal_set signals(io, SIGTERM, SIGINT, SIGHUP);
    for (;;) {
        const int signal = co_await signals.async_wait(asio::use_awaitable);
        if (signal != SIGHUP) break;
        reload(arguments);
    }
    systemd::stopping();
    log(Level::notice, "stopping; what is stored carries on at the next start");
    try {
        co_await controller.stop();
    } catch (const std::exception& error) {
        log(Level::warning, error.what());
    }
    io.stop();
}

int serve(const Arguments& arguments, const Settings& settings) {
    asio::io_context io{1};
    const auto clock = make_system_clock(io.get_executor());
    Pools pools;
    const StorePools store_pools{pools.of(settings.store_path), pools.of("the lease"),
                                 pools.of("routes of the store")};
    const OpenedStore opened = make_store(settings, store_pools);
    const auto marks = make_marks(settings.store_path + ".marks");
    // The notifiers' loop may hang in a name look-up: nobody waits for it, so it is never
    // destroyed.
    asio::io_context& notifier_io = *new asio::io_context{1};
    std::thread([&notifier_io] {
        const auto work = asio::make_work_guard(notifier_io);
        notifier_io.run();
    }).detach();
    Controller controller(
        io.get_executor(), *clock, *opened.store,
        ports_maker(settings, pools, *clock, notifier_io.get_executor(), opened.with_store),
        Guards{opened.lease.get(), marks.get()});
    // A command that waited in a passed socket must find its rollout: nobody is served before.
    std::optional<http::Server> server;
    const auto listen = [&] { server.emplace(io.get_executor(), *clock, controller, settings); };
    int code = ok;
    asio::co_spawn(io, controller.run(listen), or_die);
    asio::co_spawn(io, supervise(*clock, controller, notifier_io), or_die);
    asio::co_spawn(io, obey_signals(io, controller, arguments), or_die);
    try {
        io.run();
    } catch (const StoreUnusable& error) {
        log(Level::critical, error.what());
        code = config;
    } catch (const LeaseLost& error) {
        log(Level::critical, error.what());
        code = in_use;
    } catch (const std::exception& error) {
        log(Level::critical, std::string("stopping at once: ") + error.what());
        code = io_failed;
    }
    // Nothing is owed to a destructor: every acknowledged change is on disk, and a pool thread may
    // be in a call that cannot be cancelled.
    std::cerr.flush();
    ::_exit(code);
}

int run(int argc, char** argv) {
    Arguments arguments;
    CLI::App app{
        "canaryd moves users from an old service to a new one in steps, on proof, and rolls back "
        "by itself. Everything an operator types is under canaryctl."};
    app.add_option("--config", arguments.config, "the daemon's own settings")
        ->capture_default_str();
    app.add_option("--state-dir", arguments.state_dir,
                   "store and socket go here (for trying out; else as the settings say)");
    app.add_flag("--check", arguments.check, "read the settings, say what is wrong, and exit");
    app.set_version_flag("--version", std::string("canaryd ") + CANARYD_VERSION);
    app.footer(
        "Exit codes: 0 stopped, 64 usage, 70 internal, 74 I/O (unknown outcome; start "
        "again), 75 the store is in use, or another daemon took its lease, 78 configuration.");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? ok : usage;
    }
    const auto settings = read_settings(arguments);
    if (!settings) return config;
    if (arguments.check) {
        std::cout << arguments.config << ": good\n";
        return ok;
    }
    set_log_level(settings->log_level);
    std::signal(SIGPIPE, SIG_IGN);
    try {
        return serve(arguments, *settings);
    } catch (const StoreInUse& error) {
        log(Level::critical, error.what());
        return in_use;
    } catch (const StoreUnusable& error) {
        log(Level::critical, error.what());
        return config;
    } catch (const std::exception& error) {
        log(Level::critical, error.what());
        return internal;
    }
}

}  // namespace
}  // namespace canaryd

int main(int argc, char** argv) {
    return canaryd::run(argc, argv);
}
