// From exec to READY: the built daemon on a store of nothing, and on one with a long journal, asked
// on its socket until /readyz says 200.
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <boost/asio/thread_pool.hpp>
#include <csignal>
#include <cstring>
#include <thread>

#include "daemon/stores/stores.hpp"
#include "tests/bench/looks.hpp"
#include "tests/metrics_file.hpp"

using namespace canaryd;
using namespace canaryd::bench;

namespace {

/// A started program, ended with its owner.
class Child {
public:
    explicit Child(const std::vector<std::string>& command) {
        std::vector<char*> arguments;
        for (const std::string& one : command) arguments.push_back(const_cast<char*>(one.c_str()));
        arguments.push_back(nullptr);
        pid_ = ::fork();
        if (pid_ < 0) throw std::runtime_error("no process for " + command.front());
        if (pid_ == 0) {
            ::execv(arguments.front(), arguments.data());
            ::_exit(127);
        }
    }
    ~Child() {
        ::kill(pid_, SIGTERM);
        ::waitpid(pid_, nullptr, 0);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    /// Throws when it has ended.
    void check() {
        int status = 0;
        if (::waitpid(pid_, &status, WNOHANG) == 0) return;
        throw std::runtime_error("canaryd ended with " + std::to_string(WEXITSTATUS(status)));
    }

private:
    ::pid_t pid_ = 0;
};

/// The status code of GET /readyz on a Unix socket; 0 while nobody answers.
int readyz(const std::string& path) {
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) throw std::runtime_error(path + " is too long");
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    int code = 0;
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
        const std::string request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        char answer[16] = {};
        if (::send(socket, request.data(), request.size(), MSG_NOSIGNAL) > 0 &&
            ::recv(socket, answer, sizeof answer - 1, MSG_WAITALL) > 9)
            code = std::atoi(answer + 9);
    }
    ::close(socket);
    return code;
}

/// A rollout that has run for `looks` looks, as the daemon would have left it.
void fill(const std::string& path, std::int64_t entries) {
    const std::string text = unified_text();
    const Policy policy = policy_of(text);
    Looks source(policy, 400);
    asio::io_context io;
    asio::thread_pool pool(1);
    const auto store = make_sqlite_store(path, pool.get_executor());
    const TimePoint now{
        std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch())};
    Rollout rollout;
    const auto commit = [&](TimePoint at, What what) {
        Event event{at, "canaryd", "engine", std::move(what)};
        Transition transition = step(rollout, event, policy);
        rollout = transition.next;
        testing::run(io, store->commit(std::move(event), std::move(transition), {}));
    };
    const TimePoint start = now - entries * policy.evaluate_every;
    commit(start, event::Started{policy.name + "-1", text, "bench.yaml"});
    commit(start, event::RouteRead{{rollout.desired, 1, "canaryd", "bench"}});
    for (std::int64_t i = 2; i < entries; ++i) {
        const Ask ask = ask_after(rollout, policy);
        event::Looked looked;
        looked.look = source.next(policy, ask);
        commit(ask.to + policy.settle, std::move(looked));
        if (rollout.desired != rollout.applied && i + 1 < entries) {
            commit(ask.to + policy.settle,
                   event::RouteRead{{rollout.desired, rollout.revision, "canaryd", "bench"}});
            ++i;
        }
    }
    pool.join();
}

class Daemon {
public:
    Daemon(std::string program, const std::string& folder)
        : program_(std::move(program)), folder_(folder) {
        std::ofstream(folder_ + "/canaryd.yaml")
            << "listen: off\nlog: {level: error}\nconnections:\n"
            << "  metrics: {kind: sqlite, path: " << folder_ << "/metrics.db}\n"
            << "  route: {kind: sqlite, path: " << folder_ << "/route.db}\n"
            << "  ops: {kind: slack, webhook: \"http://127.0.0.1:9/none\"}\n";
    }
    double seconds_to_ready() {
        const std::string socket = folder_ + "/canaryd.sock";
        ::unlink(socket.c_str());
        const Stopwatch watch;
        Child child({program_, "--config", folder_ + "/canaryd.yaml", "--state-dir", folder_});
        while (readyz(socket) != 200) {
            child.check();
            if (watch.seconds() > 30) throw std::runtime_error("not ready within 30 s");
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        return watch.seconds();
    }

private:
    std::string program_;
    std::string folder_;
};

Spread measure(const std::string& program, std::int64_t entries, std::int64_t starts) {
    const testing::Folder folder;
    testing::MetricsFile metrics(folder.file("metrics.db"));
    if (entries > 0) {
        // Thousands of commits are quick in memory; how they came to be is not what is measured.
        const std::string memory = "/dev/shm/canaryd-bench-" + std::to_string(::getpid()) + ".db";
        fill(memory, entries);
        for (const char* part : {"", "-wal"}) {
            if (!std::filesystem::exists(memory + part)) continue;
            std::filesystem::copy_file(memory + part, folder.file("canaryd.db") + part);
        }
        for (const char* part : {"", "-wal", "-shm", ".lock"}) {
            std::filesystem::remove(memory + part);
        }
    }
    Daemon daemon(program, folder.path());
    std::vector<double> seconds;
    for (std::int64_t i = 0; i < starts; ++i) seconds.push_back(daemon.seconds_to_ready());
    return spread_of(seconds);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Start-up to READY"};
    std::string program = std::string(CANARYD_SOURCE_DIR) + "/build/canaryd";
    std::int64_t entries = 10'000, starts = 20;
    app.add_option("--canaryd", program, "the daemon")->capture_default_str();
    app.add_option("--entries", entries, "of the long journal")
        ->capture_default_str()
        ->check(CLI::Range(3, 10'000'000));
    app.add_option("--starts", starts, "how often")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000'000));
    return run(app, argc, argv, [&] {
        Report report("Start-up: exec to /readyz 200", argc, argv);
        const auto tell = [&](const std::string& what, const Spread& spread) {
            report.figure(what + ", p50", time_text(spread.p50), "<= 1 s");
            report.figure(what + ", most", time_text(spread.most), "<= 1 s");
        };
        tell("no rollout", measure(program, 0, starts));
        tell("one rollout, " + std::to_string(entries) + " journal entries",
             measure(program, entries, starts));
    });
}
