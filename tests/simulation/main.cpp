// canaryd_simulation [--rollouts N] [--seed FIRST] [--days D] [--verbose]
//
// Runs N seeded rollouts of the 44-day plan and checks every guarantee. A failure prints its seed
// and the command that replays it.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "canaryd/text.hpp"
#include "daemon/log.hpp"
#include "tests/simulation/world.hpp"

using namespace canaryd;
using namespace canaryd::simulation;

namespace {

struct Result {
    std::uint64_t seed = 0;
    std::vector<std::string> broken;
    std::size_t looks = 0;
    Status status = Status::pending;
    std::uint64_t hash = 0;
};

Result run_one(std::uint64_t seed, int days, bool verbose) {
    const Plan plan = Plan::of(seed);
    const Run run = simulate(plan, days);
    Result outcome;
    outcome.seed = seed;
    outcome.broken = check(run);
    outcome.looks = run.looks;
    outcome.hash = run.hash;
    if (!run.decided.empty()) outcome.status = run.decided.back().status;
    if (verbose) {
        std::printf("%s\n", plan.describe().c_str());
        for (std::size_t i = 0; i < run.decided.size(); ++i) {
            const JournalEntry& entry = run.journal[i];
            const auto& told = run.decided[i].told;
            if (told.empty() && std::holds_alternative<event::Looked>(entry.event.what)) continue;
            if (told.size() == 1 && told[0] == Notice::Kind::report) continue;
            std::printf("%s r%llu %s%s\n", text::iso(entry.event.at).c_str(),
                        static_cast<unsigned long long>(entry.revision),
                        entry.refused ? "REFUSED " : "", entry.reason.c_str());
        }
        std::printf("trace hash %016llx\n", static_cast<unsigned long long>(run.hash));
    }
    // The same seed gives the same trace; a few are run twice to show it.
    if (seed % 50 == 0 && simulate(plan, days).hash != run.hash) {
        outcome.broken.push_back("the same seed gave another trace");
    }
    return outcome;
}

}  // namespace

int main(int argc, char** argv) {
    std::uint64_t first = 1, count = 200;
    int days = 46;
    bool verbose = false;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--verbose") {
            verbose = true;
        } else if (i + 1 < argc && word == "--rollouts") {
            count = std::strtoull(argv[++i], nullptr, 10);
        } else if (i + 1 < argc && word == "--seed") {
            first = std::strtoull(argv[++i], nullptr, 10);
        } else if (i + 1 < argc && word == "--days") {
            days = std::atoi(argv[++i]);
        } else {
            std::fputs("canaryd_simulation [--rollouts N] [--seed FIRST] [--days D] [--verbose]\n",
                       stderr);
            return 64;
        }
    }
    set_log_level(Level::critical);
    std::vector<Result> outcomes(count);
    const auto work = [&](std::uint64_t from) {
        for (std::uint64_t i = from; i < count; i += 2) {
            outcomes[i] = run_one(first + i, days, verbose);
        }
    };
    std::thread other([&] {
        if (count > 1) work(1);
    });
    work(0);
    other.join();

    std::size_t failed = 0, looks = 0, rolled_back = 0, at_end = 0;
    for (const Result& outcome : outcomes) {
        looks += outcome.looks;
        if (outcome.status == Status::rolled_back) ++rolled_back;
        if (outcome.status == Status::finishing || outcome.status == Status::finished) ++at_end;
        if (outcome.broken.empty()) continue;
        ++failed;
        for (const std::string& what : outcome.broken) {
            std::printf("seed %llu: %s\n", static_cast<unsigned long long>(outcome.seed),
                        what.c_str());
        }
        std::printf("  replay: canaryd_simulation --rollouts 1 --seed %llu --verbose\n",
                    static_cast<unsigned long long>(outcome.seed));
    }
    std::printf("%zu looks; %zu rolled back, %zu came to the end, %zu on the way\n", looks,
                rolled_back, at_end, outcomes.size() - rolled_back - at_end);
    std::printf("%zu passed, %zu failed\n", outcomes.size() - failed, failed);
    return failed == 0 && count > 0 ? 0 : 1;
}
