// What one look costs to decide: judge and step on the first user's policy, beside as many pairs of
// exp and log1p as the ledger's formulas need at least.
#include <cmath>

#include "canaryd/analysis.hpp"
#include "tests/bench/looks.hpp"

using namespace canaryd;
using namespace canaryd::bench;

namespace {

struct Measured {
    std::vector<double> judge, step, arithmetic;
    std::size_t streams = 0;
};

/// One pair for each stream and effect size: R + mass, in logs.
double arithmetic(const Ledger& ledger, double ln_mass) {
    double sum = 0;
    for (const std::vector<Stream>* streams : {&ledger.streams, &ledger.hold.streams}) {
        for (const Stream& stream : *streams) {
            for (const double ln_r : stream.ln_r) {
                const double low = std::max(-40.0, -std::abs(ln_r - ln_mass));
                sum += std::log1p(std::exp(low));
            }
        }
    }
    return sum;
}

/// The same policy with two criteria that compare with the baseline: as many streams again.
std::string compared(const std::string& text) {
    const std::string_view last = "  - {name: success, metric: success_rate, above: 99%}\n";
    return replaced(
        text, last,
        std::string(last) +
            "  - {name: errors-vs-legacy, metric: error_rate, no_worse_than: baseline}\n"
            "  - {name: latency-vs-legacy, metric: latency_p95, no_worse_than: "
            "baseline}\n");
}

Measured measure(const std::string& text, std::int64_t looks) {
    const Policy policy = policy_of(text);
    const TimePoint start{std::chrono::hours{24 * 20'000}};
    Looks source(policy, 400);
    Rollout rollout = running_rollout(policy, text, start);
    Measured measured;
    measured.streams = rollout.ledger.streams.size() + rollout.ledger.hold.streams.size();
    volatile double kept = 0;  // else the arithmetic is nobody's
    const std::int64_t warm = looks / 10;
    for (std::int64_t i = 0; i < looks + warm; ++i) {
        const Ask ask = ask_after(rollout, policy);
        event::Looked looked;
        looked.look = source.next(policy, ask);
        const Event event{ask.to + policy.settle, "canaryd", "engine", std::move(looked)};
        const Look& look = std::get<event::Looked>(event.what).look;

        const CpuWatch judging;
        const Verdict verdict = judge(policy, rollout.ledger, look);
        const double judged = judging.seconds();
        const CpuWatch adding;
        kept = kept + arithmetic(rollout.ledger, verdict.ledger.ln_c - 12);
        const double added = adding.seconds();
        const CpuWatch stepping;
        Transition transition = step(rollout, event, policy);
        rollout = std::move(transition.next);
        const double stepped = stepping.seconds();
        if (i < warm) continue;
        measured.judge.push_back(judged);
        measured.arithmetic.push_back(added);
        measured.step.push_back(stepped);
        // The same week for ever: a promotion would need a router.
        if (rollout.desired != rollout.applied) rollout = running_rollout(policy, text, ask.to);
    }
    return measured;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"judge and step in microseconds a look"};
    std::int64_t looks = 20'000;
    app.add_option("--looks", looks, "how many")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000'000));
    return run(app, argc, argv, [&] {
        Report report("Deciding one look: 8 agents, 18 streams; 36 with two comparisons", argc,
                      argv);
        const std::string text = unified_text();
        Measured measured = measure(text, looks);
        if (measured.streams != 18) throw std::logic_error("the policy no longer has 18 streams");
        Measured both = measure(compared(text), looks);
        if (both.streams != 36) throw std::logic_error("the policy has not twice the streams");
        const Spread judged = spread_of(measured.judge);
        const Spread stepped = spread_of(measured.step);
        const Spread added = spread_of(measured.arithmetic);
        report.figure("judge + step, mean", time_text(stepped.mean), "<= 20 us");
        report.figure("judge + step, p50", time_text(stepped.p50));
        report.figure("judge + step, p99 (looks that report are among them)",
                      time_text(stepped.p99));
        report.figure("judge alone, mean", time_text(judged.mean));
        report.figure("judge + step : its 180 pairs of exp and log1p",
                      ratio_text(stepped.mean / added.mean));
        const Spread judged_both = spread_of(both.judge);
        report.figure("judge alone, 36 streams, mean", time_text(judged_both.mean), "<= 40 us");
        report.figure("judge + step, 36 streams, mean", time_text(spread_of(both.step).mean));
        report.figure("judge alone, 36 streams : its 360 pairs of exp and log1p",
                      ratio_text(judged_both.mean / spread_of(both.arithmetic).mean));
        report.note("the 180 pairs took " + time_text(added.mean) + " in this run; " +
                    std::to_string(stepped.count) + " looks");
    });
}
