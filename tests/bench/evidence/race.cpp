#include "tests/bench/evidence/race.hpp"

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>

#include "tests/bench/evidence/contenders.hpp"

namespace canaryd::comparison {

namespace {

double by_the_calendar(double minute) {
    return minute < 7 * day ? 0.1 : minute < 14 * day ? 0.5 : 1.0;
}

/// Looks that were drawn already: most contenders stand at the same weight.
class Drawn {
public:
    Drawn(const Scenario& scenario, std::int64_t look) : scenario_(scenario), look_(look) {}
    const Arms& at(double weight) {
        for (const auto& [known, arms] : drawn_) {
            if (known == weight) return arms;
        }
        drawn_.reserve(2);  // the references stay
        return drawn_.emplace_back(weight, happened(scenario_, look_, weight)).second;
    }

private:
    const Scenario& scenario_;
    std::int64_t look_;
    std::vector<std::pair<double, Arms>> drawn_;
};

void suffer(const Course& course, double to, const Arms& arms, Fate& fate) {
    if (!course.incident || to <= *course.incident) return;
    fate.requests += arms.canary.total.requests;
    fate.suffered += course.count_slow ? arms.canary.total.slow : arms.canary.total.failed;
}

Seen seen_of(const Scenario& scenario, std::int64_t look, const Arms& arms) {
    Seen seen;
    seen.baseline = arms.baseline.total;
    if (!is_late(scenario, look)) {
        seen.canary = arms.canary.total;
        seen.canary_agents = arms.canary.agent;
    }
    return seen;
}

Scenario moved(const Course& course, std::uint64_t seed) {
    Scenario scenario = course.scenario;
    scenario.seed = seed;
    const double by = course.random_start * Random(seed).uniform();
    for (Episode& episode : scenario.episodes) {
        episode.from += by;
        episode.to += by;
    }
    return scenario;
}

}  // namespace

Race race(const Policy& policy, const Course& course, std::uint64_t seed) {
    const Scenario scenario = moved(course, seed);
    Product product(policy);
    std::vector<std::unique_ptr<Contender>> others;
    if (!course.alone) {
        for (const ContenderKind& kind : contender_kinds()) others.push_back(kind.make());
    }
    Race result;
    result.fates.resize(1 + others.size());
    const auto looks = static_cast<std::int64_t>(course.until / look_minutes);
    for (std::int64_t look = 0; look < looks; ++look) {
        const double from = static_cast<double>(look) * look_minutes;
        const double to = from + look_minutes;
        Drawn drawn(scenario, look);
        bool running = false;
        if (!product.rolled_back()) {
            const Arms& arms = drawn.at(product.weight());
            product.look(scenario, look, arms);
            suffer(course, to, arms, result.fates[0]);
            if (product.rolled_back()) result.fates[0].back = to;
            running = !product.rolled_back();
        }
        if (course.until_promoted && product.raised_at().size() > 1) break;
        for (std::size_t i = 0; i < others.size(); ++i) {
            Fate& fate = result.fates[i + 1];
            if (fate.back) continue;
            const Arms& arms = drawn.at(by_the_calendar(from));
            suffer(course, to, arms, fate);
            if (others[i]->look(seen_of(scenario, look, arms))) fate.back = to;
            running = running || !fate.back;
        }
        if (!running) break;
    }
    result.product = {product.raised_at(), product.held(), product.waited()};
    return result;
}

std::vector<Race> races(const Policy& policy, const Course& course, int runs, int threads) {
    std::vector<Race> results(static_cast<std::size_t>(runs));
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
        for (std::size_t i = next++; i < results.size(); i = next++) {
            results[i] = race(policy, course, i + 1);
        }
    };
    std::vector<std::future<void>> workers;
    for (int i = 0; i < threads; ++i) workers.push_back(std::async(std::launch::async, work));
    for (std::future<void>& worker : workers) worker.get();
    return results;
}

}  // namespace canaryd::comparison
