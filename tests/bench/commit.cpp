// A look's commit (journal entry, state, owed notices: one transaction) beside a bare insert of one
// small row into a WAL + FULL file in the same folder, by turns.
#include <boost/asio/thread_pool.hpp>

#include "daemon/codec.hpp"
#include "daemon/sqlite.hpp"
#include "daemon/stores/stores.hpp"
#include "tests/bench/looks.hpp"
#include "tests/metrics_file.hpp"

using namespace canaryd;
using namespace canaryd::bench;

namespace {

struct Measured {
    std::vector<double> commit, bare, encode;
    std::size_t state_bytes = 0, event_bytes = 0;
};

/// A commit of nothing: what the disk and SQLite ask for in any case.
class BareInsert {
public:
    explicit BareInsert(const std::string& path) : database_(path, sqlite::Mode::create) {
        database_.execute("PRAGMA journal_mode = WAL");
        database_.execute("CREATE TABLE one (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT");
        // A WAL that still grows costs the file system more than one that is written over.
        database_.execute("PRAGMA synchronous = OFF");
        for (int i = 0; i < 1'200; ++i) run();
        database_.execute("PRAGMA synchronous = FULL");
    }
    void run() { database_.query("INSERT INTO one (text) VALUES (?)", "a small row").run(); }

private:
    sqlite::Database database_;
};

Measured measure(const std::string& folder, std::int64_t looks) {
    const std::string text = unified_text();
    const Policy policy = policy_of(text);
    Looks source(policy, 400);
    asio::io_context io;
    asio::thread_pool pool(1);
    const auto store = make_sqlite_store(folder + "/store.db", pool.get_executor());
    BareInsert bare(folder + "/bare.db");
    const auto commit = [&](Event event, Transition transition) {
        testing::run(io, store->commit(std::move(event), std::move(transition), {}));
    };

    const TimePoint start{std::chrono::hours{24 * 20'000}};
    event::Started started{policy.name + "-1", text, "bench.yaml"};
    Event event{start, "bench", "operator", std::move(started)};
    Transition transition = step(Rollout{}, event, policy);
    Rollout rollout = transition.next;
    commit(std::move(event), std::move(transition));
    event::RouteRead read;
    read.served = {rollout.desired, 1, "canaryd", "bench"};
    event = {start, "canaryd", "engine", std::move(read)};
    transition = step(rollout, event, policy);
    rollout = transition.next;
    commit(std::move(event), std::move(transition));

    Measured measured;
    constexpr std::int64_t warm = 150;  // as many looks as a WAL holds between two checkpoints
    for (std::int64_t i = 0; i < looks + warm; ++i) {
        const Ask ask = ask_after(rollout, policy);
        event::Looked looked;
        looked.look = source.next(policy, ask);
        event = {ask.to + policy.settle, "canaryd", "engine", std::move(looked)};
        transition = step(rollout, event, policy);
        rollout = transition.next;
        if (i < warm) {
            commit(std::move(event), std::move(transition));
            continue;
        }
        const CpuWatch encoding;
        measured.state_bytes = codec::to_json(transition.next).size();
        measured.event_bytes = codec::to_json(event).size();
        measured.encode.push_back(encoding.seconds());
        const Stopwatch committing;
        commit(std::move(event), std::move(transition));
        measured.commit.push_back(committing.seconds());
        const Stopwatch inserting;
        bare.run();
        measured.bare.push_back(inserting.seconds());
    }
    pool.join();
    return measured;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"A look's commit on the SQLite store"};
    std::int64_t looks = 1000;
    std::string folder;
    app.add_option("--looks", looks, "how many")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000'000));
    app.add_option("--folder", folder, "on which disk (default: the system's folder for such)");
    return run(app, argc, argv, [&] {
        Report report("Commit of a look on the SQLite store", argc, argv);
        const testing::Folder own;
        const Measured measured = measure(folder.empty() ? own.path() : folder, looks);
        const Spread commit = spread_of(measured.commit);
        const Spread bare = spread_of(measured.bare);
        report.figure("commit : bare one-row insert, p50", ratio_text(commit.p50 / bare.p50));
        report.figure("commit : bare one-row insert, p99", ratio_text(commit.p99 / bare.p99));
        report.figure("commit, p50 / p99", time_text(commit.p50) + " / " + time_text(commit.p99));
        report.figure("bare insert, p50 / p99", time_text(bare.p50) + " / " + time_text(bare.p99));
        report.figure("of it state and event as JSON, mean",
                      time_text(spread_of(measured.encode).mean));
        report.figure("state / event, bytes", std::to_string(measured.state_bytes) + " / " +
                                                  std::to_string(measured.event_bytes));
        report.note(std::to_string(commit.count) + " looks, by turns with the insert");
    });
}
