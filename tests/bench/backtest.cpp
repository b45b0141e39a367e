// What a whole plan costs to play again: 44 days of looks every five minutes, eight agents.
#include <cstdio>

#include "daemon/ctl/backtest/report.hpp"
#include "tests/bench/looks.hpp"

using namespace canaryd;
using namespace canaryd::bench;

namespace {

constexpr std::int64_t looks = 44 * 288 + 1;

/// Counts in a file of their own, as a query with GROUP BY exports them.
class CountsFile {
public:
    explicit CountsFile(const Policy& policy) {
        std::ofstream file(path_, std::ios::binary);
        file << "time,agent_type,requests,errors,slow_2s,slow_5s\n";
        std::mt19937_64 random(1);
        for (std::int64_t look = 0; look < looks; ++look) {
            for (const std::string& agent : policy.segments) {
                const auto draw = [&](double mean) {
                    return std::poisson_distribution<std::int64_t>(mean)(random);
                };
                const std::int64_t n = 40 + draw(60);
                file << 1'768'176'000 + look * 300 << ',' << agent << ',' << n << ','
                     << std::min(n, draw(0.4)) << ',' << std::min(n, draw(2)) << ",0\n";
            }
        }
        if (!file) throw std::runtime_error(path_ + ": cannot be written");
    }
    ~CountsFile() { std::remove(path_.c_str()); }
    CountsFile(const CountsFile&) = delete;
    CountsFile& operator=(const CountsFile&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_ = "bench_backtest." + std::to_string(::getpid()) + ".csv";
};

void measure(int argc, char** argv) {
    Report report("Playing a plan again: 44 days, 8 agents, looks every 5 minutes", argc, argv);
    const Policy policy = policy_of(unified_text());
    const CountsFile file(policy);
    backtest::Reading reading;
    reading.from = file.path();
    const CpuWatch reading_watch;
    const backtest::History history = backtest::read_history(policy, reading);
    const double read = reading_watch.seconds();
    const backtest::Plan plan;
    const CpuWatch replay_watch;
    const backtest::Result result = backtest::replay(policy, history, plan);
    const double replayed = replay_watch.seconds();
    const CpuWatch page_watch;
    const backtest::Report words{policy, history, plan, result};
    const std::string page = backtest::as_html(words);
    const double paged = page_watch.seconds();
    report.figure("counts read and played", time_text(read + replayed), "<= 1 s");
    report.figure("of which reading " + std::to_string(looks * 8) + " lines", time_text(read));
    report.figure("a look played, judged and stepped",
                  time_text(replayed / static_cast<double>(result.looks)));
    report.figure("the page with its charts, " + std::to_string(page.size() / 1024) + " KiB",
                  time_text(paged));
    report.note("it ended: " + backtest::story_of(words).headline);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"a whole plan on recorded counts"};
    return run(app, argc, argv, [&] { measure(argc, argv); });
}
