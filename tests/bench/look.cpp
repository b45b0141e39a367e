// A look at a large metrics table beside one at a table a tenth as long, and beside SQL written by
// hand for the same questions. Both tables end in the same hours: only their history differs.
#include "daemon/sqlite.hpp"
#include "tests/bench/looks.hpp"
#include "tests/metrics_file.hpp"

using namespace canaryd;
using namespace canaryd::bench;

namespace {

constexpr Duration every = std::chrono::minutes{5};
const TimePoint begin{Duration(1'764'331'200'000)};  // of the measured looks

/// `rows` rows before `begin` and more as time goes on: a tenth is the canary's, 0.4 % fail, 2 %
/// are slow.
class Table {
public:
    Table(const std::string& path, const Policy& policy, std::int64_t rows, double a_second)
        : path_(path), a_second_(a_second), first_(begin - lasting(rows)), file_(path, false) {
        std::string webhook = "CASE WHEN h % 10 = 0 THEN '" + policy.canary + "'";
        for (std::size_t i = 0; i < policy.baseline.size(); ++i)
            webhook += " WHEN h / 10 % " + std::to_string(policy.baseline.size()) + " = " +
                       std::to_string(i) + " THEN '" + policy.baseline[i] + "'";
        std::string agent = "CASE h / 100 % " + std::to_string(policy.segments.size());
        for (std::size_t i = 0; i < policy.segments.size(); ++i)
            agent += " WHEN " + std::to_string(i) + " THEN '" + policy.segments[i] + "'";
        // A hash of the row's number stands for chance: the same table on every machine.
        insert_ =
            "INSERT INTO webhook_metrics (id, webhook_name, user_id, agent_type, started_at,"
            " completed_at, duration_ms, status, created_at)"
            " WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2),"
            " r AS (SELECT i, (i * 2654435761) % 4294967296 / 16 AS h,"
            " ?3 + CAST(i * 1000.0 / ?4 AS INTEGER) AS at FROM n)"
            " SELECT i + 1, " +
            webhook + " END, 'user-' || (h / 7 % 20000), " + agent +
            " END, at, at + 200, CASE WHEN h / 3 % 50 = 0 THEN 3000 ELSE 200 END,"
            " CASE WHEN h / 5 % 250 = 0 THEN 'error' ELSE 'success' END, at FROM r";
        sqlite::Database& database = file_.database();
        database.execute("PRAGMA cache_size = -200000");
        database.execute("CREATE TABLE webhook_dlq (created_at INTEGER NOT NULL)");
        write(rows);
        // As the first user's migration makes them.
        database.execute("CREATE INDEX by_name ON webhook_metrics (webhook_name, created_at DESC)");
        database.execute("CREATE INDEX by_user ON webhook_metrics (user_id, created_at DESC)");
        database.execute("CREATE INDEX by_status ON webhook_metrics (status, created_at DESC)");
    }
    /// Rows before `at`, as the applications would have written them by then.
    void write_until(TimePoint at) {
        write(static_cast<std::int64_t>(std::chrono::duration<double>(at - first_).count() *
                                        a_second_));
    }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] double megabytes() const {
        return static_cast<double>(std::filesystem::file_size(path_)) / 1048576;
    }

private:
    [[nodiscard]] Duration lasting(std::int64_t rows) const {
        return Duration(static_cast<std::int64_t>(static_cast<double>(rows) * 1000 / a_second_));
    }
    void write(std::int64_t rows) {
        if (rows <= written_) return;
        file_.database().query(insert_, written_, rows, first_, a_second_).run();
        written_ = rows;
    }

    std::string path_;
    double a_second_;
    TimePoint first_;
    testing::MetricsFile file_;
    std::string insert_;
    std::int64_t written_ = 0;
};

/// The source, look after look, with a peek in between.
class Watched {
public:
    Watched(const Policy& policy, const std::string& path) : observer_(policy, path) {
        ask_.windows_from = begin - std::chrono::hours{24};
        ask_.gate_from = begin - std::chrono::hours{24};
        ask_.from = begin - every;
    }
    void look(TimePoint to) {
        const bool first = ask_.cursor.empty();
        ask_.to = to;
        const CpuWatch watch;
        const Look look = observer_.observe(ask_);
        const double looked = watch.seconds();
        if (!look.error.empty()) throw std::runtime_error(look.error);
        ask_.cursor = look.cursor;
        requests_ = 0;
        for (const Tally& tally : look.on_time)
            requests_ += tally.segment.empty() ? tally.requests : 0;
        Ask peek = ask_;
        peek.peek = true;
        const CpuWatch peeking;
        observer_.observe(peek);
        const double peeked = peeking.seconds();
        ask_.from = to;
        if (first) return;  // it had to find where the rollout's rows begin
        looks_.push_back(looked);
        peeks_.push_back(peeked);
    }
    [[nodiscard]] Spread looks() const { return spread_of(looks_); }
    [[nodiscard]] Spread peeks() const { return spread_of(peeks_); }
    [[nodiscard]] std::int64_t requests() const { return requests_; }

private:
    testing::Observer observer_;
    Ask ask_;
    std::vector<double> looks_, peeks_;
    std::int64_t requests_ = 0;  // of the newest look
};

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

    void look(TimePoint to) {
        const CpuWatch watch;
        interval(to - every, to);
        counts_.push_back(watch.seconds());
        triggers(to);
        all_.push_back(watch.seconds());
    }
    [[nodiscard]] Spread counts() const { return spread_of(counts_); }
    [[nodiscard]] Spread all() const { return spread_of(all_); }

private:
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
                case Trigger::Kind::off_weight:
                    ask("SELECT webhook_name = " + quoted(policy_.canary) +
                            ", count(DISTINCT user_id)",
                        to - trigger.over, to, " GROUP BY 1");
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
    std::vector<double> counts_, all_;
};

void tell(Report& report, const std::string& folder, std::int64_t rows, std::int64_t looks) {
    const Policy whole = policy_of(unified_text());
    Policy bare = whole;
    bare.triggers.clear();
    // The short table holds 28 hours, the long one ten times as much.
    const double a_second = static_cast<double>(rows) / 1'000'000;
    Table small(folder + "/small.db", whole, rows / 10, a_second);
    Table large(folder + "/large.db", whole, rows, a_second);
    Watched in_small(whole, small.path()), in_large(whole, large.path());
    Watched only_counts(bare, large.path());
    ByHand hand(whole, large.path());
    for (std::int64_t i = 0; i <= looks; ++i) {
        const TimePoint to = begin + i * every;
        small.write_until(to + whole.settle);
        large.write_until(to + whole.settle);
        in_small.look(to);
        in_large.look(to);
        only_counts.look(to);
        hand.look(to);
    }
    const auto ratio = [](const Spread& a, const Spread& b) { return ratio_text(a.p50 / b.p50); };
    const std::string on = std::to_string(rows) + " rows : on a tenth of them";
    report.figure("look on " + on, ratio(in_large.looks(), in_small.looks()), "<= 1.2x");
    report.figure("its counts : hand-written SQL of the interval",
                  ratio(only_counts.looks(), hand.counts()), "<= 1.5x");
    report.figure("the whole look with 6 triggers : all of it by hand",
                  ratio(in_large.looks(), hand.all()), "<= 1.5x");
    report.figure("peek on " + on, ratio(in_large.peeks(), in_small.peeks()));
    const auto both = [](const Spread& spread) {
        return time_text(spread.p50) + " / " + time_text(spread.p99);
    };
    report.figure("whole look, p50 / p99", both(in_large.looks()));
    report.figure("its counts, p50 / p99", both(only_counts.looks()));
    report.figure("peek, p50 / p99", both(in_large.peeks()));
    report.figure("by hand: all, p50 / p99", both(hand.all()));
    report.figure("by hand: the interval, p50 / p99", both(hand.counts()));
    report.note(std::to_string(in_large.requests()) + " requests in a look; files of " +
                fixed(small.megabytes(), 0) + " and " + fixed(large.megabytes(), 0) +
                " MB, just written and so in memory; processor time");
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"A look at large tables"};
    std::int64_t rows = 1'000'000, looks = 100;
    std::string folder;
    auto* const wanted =
        app.add_option("--rows", rows, "of the long table; the short one has a tenth")
            ->capture_default_str()
            ->check(CLI::Range(1'000'000, 1'000'000'000));
    app.add_flag_callback(
           "--large", [&rows] { rows = 10'000'000; }, "10,000,000 rows; 4 GB and minutes")
        ->excludes(wanted);
    app.add_option("--looks", looks, "how many")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000'000));
    app.add_option("--folder", folder, "where the tables go (default: one that is removed)");
    return run(app, argc, argv, [&] {
        Report report("A look at a long metrics table (SQLite)", argc, argv);
        const testing::Folder own;
        tell(report, folder.empty() ? own.path() : folder, rows, looks);
    });
}
