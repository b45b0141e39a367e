// A look at a large metrics table beside one at a table a tenth as long, and beside SQL written by
// hand for the same questions. Both tables end in the same hours: only their history differs.
#include "daemon/sqlite.hpp"
#include "tests/bench/looks.hpp"
#include "tests/metrics_file.hpp"

using namespace canaryd;
using namespace canaryd::bench;

namespace {

constexpr Duration every = std::chrono::minutes{5};
const TimePoint end{Duration(1'764'331'200'000)};

/// `rows` rows, the newest just before `end`: a tenth is the canary's, 0.4 % fail, 2 % are slow.
class Table {
public:
    Table(const std::string& path, const Policy& policy, std::int64_t rows, double a_second)
        : path_(path) {
        testing::MetricsFile file(path, false);
        sqlite::Database& database = file.database();
        database.execute("PRAGMA cache_size = -200000");
        database.execute("CREATE TABLE webhook_dlq (created_at INTEGER NOT NULL)");
        const std::int64_t first =
            end.time_since_epoch().count() -
            static_cast<std::int64_t>(static_cast<double>(rows) * 1000 / a_second);
        std::string webhook = "CASE WHEN h % 10 = 0 THEN '" + policy.canary + "'";
        for (std::size_t i = 0; i < policy.baseline.size(); ++i)
            webhook += " WHEN h / 10 % " + std::to_string(policy.baseline.size()) + " = " +
                       std::to_string(i) + " THEN '" + policy.baseline[i] + "'";
        std::string agent = "CASE h / 100 % " + std::to_string(policy.segments.size());
        for (std::size_t i = 0; i < policy.segments.size(); ++i)
            agent += " WHEN " + std::to_string(i) + " THEN '" + policy.segments[i] + "'";
        // A hash of the row's number stands for chance: the same table on every machine.
        database.execute("BEGIN");
        database
            .query(
                "INSERT INTO webhook_metrics (id, webhook_name, user_id, agent_type, started_at,"
                " completed_at, duration_ms, status, created_at)"
                " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1),"
                " r AS (SELECT i, (i * 2654435761) % 4294967296 / 16 AS h,"
                " ?2 + CAST((i - 1) * 1000.0 / ?3 AS INTEGER) AS at FROM n)"
                " SELECT i, " +
                    webhook + " END, 'user-' || (h / 7 % 20000), " + agent +
                    " END, at, at + 200, CASE WHEN h / 3 % 50 = 0 THEN 3000 ELSE 200 END,"
                    " CASE WHEN h / 5 % 250 = 0 THEN 'error' ELSE 'success' END, at FROM r",
                rows, first, a_second)
            .run();
        database.execute("COMMIT");
        // As the first user's migration makes them.
        database.execute("CREATE INDEX by_name ON webhook_metrics (webhook_name, created_at DESC)");
        database.execute("CREATE INDEX by_user ON webhook_metrics (user_id, created_at DESC)");
        database.execute("CREATE INDEX by_status ON webhook_metrics (status, created_at DESC)");
        megabytes_ = static_cast<double>(std::filesystem::file_size(path)) / 1048576;
    }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] double megabytes() const { return megabytes_; }

private:
    std::string path_;
    double megabytes_ = 0;
};

struct Measured {
    Spread look, peek;
    std::int64_t requests = 0;  // in the newest look
};

/// The looks of the last two hours of a rollout that runs for longer, and a peek after each.
Measured measure(const Policy& policy, const std::string& path, std::int64_t rounds) {
    std::vector<double> looks, peeks;
    Measured measured;
    for (std::int64_t round = 0; round <= rounds; ++round) {
        testing::Observer observer(policy, path);
        Ask ask;
        ask.windows_from = end - std::chrono::hours{24};
        ask.gate_from = end - std::chrono::hours{3};
        for (ask.from = end - std::chrono::hours{2}; ask.from < end; ask.from = ask.to) {
            ask.to = ask.from + every;
            const bool first = ask.cursor.empty();
            const CpuWatch watch;
            Look look = observer.observe(ask);
            const double took = watch.seconds();
            if (!look.error.empty()) throw std::runtime_error(look.error);
            ask.cursor = look.cursor;
            measured.requests = 0;
            for (const Tally& tally : look.on_time)
                measured.requests += tally.segment.empty() ? tally.requests : 0;
            Ask peek = ask;
            peek.peek = true;
            const CpuWatch peeking;
            observer.observe(peek);
            if (round == 0 || first) continue;  // the cache, and where the table stands
            looks.push_back(took);
            peeks.push_back(peeking.seconds());
        }
    }
    measured.look = spread_of(looks);
    measured.peek = spread_of(peeks);
    return measured;
}

std::string quoted(const std::string& text) {
    return "'" + text + "'";
}

/// What somebody would type to learn the same.
class ByHand {
public:
    ByHand(const Policy& policy, const std::string& path)
        : policy_(policy), database_(path, sqlite::Mode::read_only) {
        names_ = quoted(policy.canary);
        for (const std::string& name : policy.baseline) names_ += ", " + quoted(name);
    }

    /// The interval's counts, and the traffic of the hours that tell silence from quiet.
    void interval(TimePoint from, TimePoint to) {
        ask("SELECT webhook_name, agent_type, count(*), sum(status <> 'success'),"
            " sum(status = 'timeout' OR duration_ms > 2000),"
            " count(DISTINCT CASE WHEN status <> 'success' THEN user_id END)",
            from, to, " GROUP BY 1, 2");
        ask("SELECT webhook_name, count(*)", to - policy_.expect_over, to, " GROUP BY 1");
    }
    /// Every trigger's window.
    void triggers(TimePoint to) {
        for (const Trigger& trigger : policy_.triggers) {
            const std::string agent = trigger.each_segment ? "agent_type" : "''";
            switch (trigger.kind) {
                case Trigger::Kind::share: {
                    const std::string event =
                        trigger.signal.kind == Signal::Kind::failed
                            ? "status <> 'success'"
                            : "(status = 'timeout' OR duration_ms > " +
                                  std::to_string(trigger.signal.than.count()) + ")";
                    ask("SELECT webhook_name = " + quoted(policy_.canary) + ", " + agent +
                            ", count(*), sum(" + event + "), count(DISTINCT CASE WHEN " + event +
                            " THEN user_id END)",
                        to - trigger.over, to, " GROUP BY 1, 2");
                    break;
                }
                case Trigger::Kind::traffic:
                    ask("SELECT webhook_name = " + quoted(policy_.canary) + ", " + agent +
                            ", count(*)",
                        to - trigger.over, to, " GROUP BY 1, 2");
                    break;
                case Trigger::Kind::number:
                    run(
                        database_.query("SELECT count(*) FROM webhook_dlq"
                                        " WHERE created_at >= ? AND created_at < ?",
                                        to - trigger.over, to));
                    break;
            }
        }
    }

private:
    void ask(const std::string& select, TimePoint from, TimePoint to, const std::string& group) {
        run(database_.query(select + " FROM webhook_metrics WHERE webhook_name IN (" + names_ +
                                ") AND created_at >= ? AND created_at < ?" + group,
                            from, to));
    }
    static void run(sqlite::Statement statement) {
        while (statement.step()) continue;
    }

    const Policy& policy_;
    sqlite::Database database_;
    std::string names_;
};

Spread by_hand(const Policy& policy, const std::string& path, std::int64_t rounds) {
    std::vector<double> seconds;
    for (std::int64_t round = 0; round <= rounds; ++round) {
        ByHand hand(policy, path);
        for (TimePoint from = end - std::chrono::hours{2}; from < end; from += every) {
            const CpuWatch watch;
            hand.interval(from, from + every);
            hand.triggers(from + every);
            if (round > 0) seconds.push_back(watch.seconds());
        }
    }
    return spread_of(seconds);
}

void tell(Report& report, const std::string& folder, std::int64_t rows, std::int64_t rounds) {
    const Policy whole = policy_of(unified_text());
    Policy bare = whole;
    bare.triggers.clear();
    // The short table holds 28 hours, the long one ten times as much.
    const double a_second = static_cast<double>(rows) / 1'000'000;
    const Table small(folder + "/small.db", whole, rows / 10, a_second);
    const Table large(folder + "/large.db", whole, rows, a_second);
    const Measured in_small = measure(whole, small.path(), rounds);
    const Measured in_large = measure(whole, large.path(), rounds);
    const Measured only_counts = measure(bare, large.path(), rounds);
    const Spread hand = by_hand(whole, large.path(), rounds);
    const Spread hand_counts = by_hand(bare, large.path(), rounds);
    const auto ratio = [](const Spread& a, const Spread& b) { return ratio_text(a.p50 / b.p50); };
    const std::string long_one = std::to_string(rows) + " rows";
    report.figure("look on " + long_one + " : on a tenth of them",
                  ratio(in_large.look, in_small.look), "<= 1.2x");
    report.figure("its counts : hand-written SQL of the interval",
                  ratio(only_counts.look, hand_counts), "<= 1.5x");
    report.figure("the whole look with 6 triggers : all of it by hand", ratio(in_large.look, hand),
                  "<= 1.5x");
    report.figure("peek on " + long_one + " : on a tenth of them",
                  ratio(in_large.peek, in_small.peek));
    report.figure("whole look, p50 / p99",
                  time_text(in_large.look.p50) + " / " + time_text(in_large.look.p99));
    report.figure("its counts, p50", time_text(only_counts.look.p50));
    report.figure("peek, p50 / p99",
                  time_text(in_large.peek.p50) + " / " + time_text(in_large.peek.p99));
    report.figure("by hand: all / the interval, p50",
                  time_text(hand.p50) + " / " + time_text(hand_counts.p50));
    report.note(std::to_string(in_large.requests) + " requests in a look; files of " +
                fixed(small.megabytes(), 0) + " and " + fixed(large.megabytes(), 0) +
                " MB, read before, so mostly in memory");
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"A look at large tables"};
    std::int64_t rows = 1'000'000, rounds = 5;
    std::string folder;
    auto* const wanted =
        app.add_option("--rows", rows, "of the long table; the short one has a tenth")
            ->capture_default_str()
            ->check(CLI::Range(1'000'000, 1'000'000'000));
    app.add_flag_callback(
           "--large", [&rows] { rows = 10'000'000; }, "10,000,000 rows; 4 GB and minutes")
        ->excludes(wanted);
    app.add_option("--rounds", rounds, "of 24 looks each")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    app.add_option("--folder", folder, "where the tables go (default: one that is removed)");
    return run(app, argc, argv, [&] {
        Report report("A look at a long metrics table (SQLite)", argc, argv);
        const testing::Folder own;
        tell(report, folder.empty() ? own.path() : folder, rows, rounds);
    });
}
