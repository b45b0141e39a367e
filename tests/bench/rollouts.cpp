// Many rollouts in one process on one core: the production controller, clock and SQLite store, with
// a source and a router that answer at once. Looks come more often than in real life, peeks and
// reads of the route at least as often as there.
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdlib>
#include <map>

#include "canaryd/controller.hpp"
#include "daemon/async.hpp"
#include "daemon/clock.hpp"
#include "daemon/stores/stores.hpp"
#include "tests/bench/looks.hpp"
#include "tests/metrics_file.hpp"

using namespace canaryd;
using namespace canaryd::bench;

namespace {

struct Plan {
    std::int64_t rollouts = 1000;
    std::int64_t every = 15;
    std::int64_t seconds = 60;
    bool two_cores = false;
    bool log = false;
};

/// What happened while it was measured.
struct Seen {
    bool measuring = false;
    std::vector<double> lateness;  // seconds from when a look was due until it was taken
    std::int64_t peeks = 0, reads = 0;
};

class PromptSource : public MetricSource {
public:
    PromptSource(const Policy& policy, Clock& clock, Seen& seen, std::uint64_t seed)
        : policy_(policy), looks_(policy, 40, seed), clock_(clock), seen_(seen) {}
    Async<TimePoint> watermark() override { co_return clock_.now(); }
    Async<> check() override { co_return; }
    Async<Look> observe(Ask ask) override {
        if (seen_.measuring && ask.peek) ++seen_.peeks;
        if (seen_.measuring && !ask.peek) {
            // Of the first of the intervals that a late look catches up.
            const TimePoint due = ask.from + policy_.evaluate_every + policy_.settle;
            seen_.lateness.push_back(std::chrono::duration<double>(clock_.now() - due).count());
        }
        co_return looks_.next(policy_, ask);
    }
    Async<std::vector<TopError>> top_errors(TimePoint, TimePoint) override {
        co_return std::vector<TopError>{};
    }

private:
    const Policy policy_;
    Looks looks_;
    Clock& clock_;
    Seen& seen_;
};

class PromptRouter : public Router {
public:
    explicit PromptRouter(Seen& seen) : seen_(seen) {}
    Async<> set(Order order) override {
        served_ = {order.weight, order.revision, order.by, order.reason};
        co_return;
    }
    Async<Served> read(std::string) override {
        if (seen_.measuring) ++seen_.reads;
        co_return served_;
    }

private:
    Served served_;
    Seen& seen_;
};

class PromptNotifier : public Notifier {
public:
    Async<Sent> send(Message) override { co_return Sent{}; }
};

/// User and system time of all threads.
double cpu_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// "VmRSS" or "VmHWM", in MB.
double memory(const std::string& what) {
    std::istringstream status(text_of("/proc/self/status"));
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(what + ":")) return std::stod(line.substr(what.size() + 1)) / 1024;
    }
    throw std::runtime_error("/proc/self/status has no " + what);
}

std::string mega(double value) {
    return fixed(value, 1) + " MB";
}

void stay_on_one_core() {
    cpu_set_t there, one;
    CPU_ZERO(&there);
    CPU_ZERO(&one);
    ::sched_getaffinity(0, sizeof there, &there);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &there)) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
    }
    if (::sched_setaffinity(0, sizeof one, &one) != 0)
        throw std::runtime_error("this process could not be kept on one core");
}

struct Measured {
    double empty_mb = 0, share = 0, wall = 0;
    Health health;
};

Async<> drive(const Plan& plan, Clock& clock, Controller& controller, Seen& seen,
              Measured& measured, std::function<void()> done) {
    // A look puts the next peek off: at 10 s there is one between two looks.
    const std::string peeks = plan.every < 60 ? "\npeek_every: 10s" : "";
    const std::string text =
        replaced(unified_text(), "evaluate_every: 5m",
                 "evaluate_every: " + std::to_string(plan.every) + "s" + peeks);
    measured.empty_mb = memory("VmRSS");
    // Over whole intervals, so that looks are due evenly, as those of rollouts of different days.
    const SteadyPoint begin = clock.steady();
    const Duration spread = std::chrono::seconds{plan.every < 60 ? 2 * plan.every : plan.every};
    for (std::int64_t i = 0; i < plan.rollouts; ++i) {
        const Actor by{"bench", "operator"};
        std::string own =
            replaced(text, "name: unified-webhook", "name: rollout-" + std::to_string(i));
        const Transition started = co_await controller.start(std::move(own), "bench.yaml", by);
        if (started.refused) throw std::runtime_error(started.reason);
        co_await sleep_until(clock, begin + spread * (i + 1) / plan.rollouts);
    }
    co_await sleep_until(
        clock, clock.steady() + std::chrono::seconds{plan.every} + std::chrono::seconds{30});
    seen.measuring = true;
    const Stopwatch wall;
    const double cpu = cpu_seconds();
    co_await sleep_until(clock, clock.steady() + std::chrono::seconds{plan.seconds});
    measured.wall = wall.seconds();
    measured.share = (cpu_seconds() - cpu) / measured.wall;
    seen.measuring = false;
    measured.health = controller.health();
    done();
}

/// The clock counts whole milliseconds.
std::string late_text(double seconds) {
    return seconds < 0.001 ? "< 1 ms" : time_text(seconds);
}

void tell(Report& report, const Plan& plan, const Seen& seen, const Measured& measured) {
    const Spread late = spread_of(seen.lateness);
    const double looks = static_cast<double>(late.count) / measured.wall;
    const double real = static_cast<double>(plan.rollouts) / 300;
    report.figure("share of one core", fixed(100 * measured.share, 1) + " %");
    report.figure("lateness of a look, p99", late_text(late.p99), "<= 1 s");
    report.figure("lateness of a look, p50 / most",
                  late_text(late.p50) + " / " + late_text(late.most));
    report.figure("memory (VmRSS) / at most (VmHWM)",
                  mega(memory("VmRSS")) + " / " + mega(memory("VmHWM")), "<= 64 MB");
    report.figure("of it a rollout", fixed((memory("VmRSS") - measured.empty_mb) * 1024 /
                                               static_cast<double>(plan.rollouts),
                                           1) +
                                         " kB");
    const auto rate = [&](std::int64_t times) {
        return fixed(static_cast<double>(times) / measured.wall, 1) + "/s";
    };
    report.figure("looks / peeks / reads of the route",
                  fixed(looks, 1) + "/s, " + rate(seen.peeks) + ", " + rate(seen.reads));
    report.note(std::to_string(measured.health.rollouts) + " rollouts running, " +
                std::to_string(measured.health.held) + " held; " + ratio_text(looks / real) +
                " the looks that as many rollouts at 5 minutes have" +
                (plan.two_cores ? "; on all cores" : "; all threads on one core"));
    if (looks < 0.9 * static_cast<double>(plan.rollouts) / static_cast<double>(plan.every))
        report.note("more looks were due than were taken: this load is above what it can carry");
}

void measure(const Plan& plan, Report& report) {
    if (!plan.two_cores) stay_on_one_core();
    if (!plan.log) {
        // Lines are still made, as in production.
        const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (nowhere >= 0) ::dup2(nowhere, STDERR_FILENO);
    }
    Seen seen;
    Measured measured;
    {
        const testing::Folder folder;
        asio::io_context io{1};
        asio::thread_pool pool(1);
        const auto clock = make_system_clock(io.get_executor());
        const auto store = make_sqlite_store(folder.file("store.db"), pool.get_executor());
        std::uint64_t made = 0;
        const auto ports = [&](const Policy& policy) {
            Ports all;
            all.source = std::make_shared<PromptSource>(policy, *clock, seen, ++made);
            all.router = std::make_shared<PromptRouter>(seen);
            all.notifiers.assign(policy.notify.size(), std::make_shared<PromptNotifier>());
            return all;
        };
        Controller controller(io.get_executor(), *clock, *store, ports);
        asio::co_spawn(io, controller.run(), or_die);
        asio::co_spawn(io, drive(plan, *clock, controller, seen, measured, [&io] { io.stop(); }),
                       or_die);
        io.run();
        tell(report, plan, seen, measured);
        std::error_code ignored;
        std::filesystem::remove_all(folder.path(), ignored);
        // As the daemon ends: parked frames are nobody's to destroy.
        std::fflush(stdout);
        std::_Exit(0);
    }
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Many rollouts on one core"};
    Plan plan;
    app.add_option("--rollouts", plan.rollouts, "how many")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000));
    app.add_option("--every", plan.every, "evaluate_every in seconds; 300 is the real one")
        ->capture_default_str()
        ->check(CLI::Range(15, 3600));
    app.add_option("--seconds", plan.seconds, "how long it is measured")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000'000));
    app.add_flag("--all-cores", plan.two_cores, "not only on one");
    app.add_flag("--log", plan.log, "log lines to stderr, else they are made and thrown away");
    return run(app, argc, argv, [&] {
        Report report(std::to_string(plan.rollouts) + " rollouts x 8 agents, a look every " +
                          std::to_string(plan.every) + " s",
                      argc, argv);
        measure(plan, report);
    });
}
