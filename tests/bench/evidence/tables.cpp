#include "tests/bench/evidence/tables.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "canaryd/planner.hpp"
#include "tests/bench/bench.hpp"
#include "tests/bench/evidence/contenders.hpp"
#include "tests/bench/evidence/print.hpp"

namespace canaryd::comparison {

namespace {

using bench::fixed;

constexpr double traffics[] = {2, 60, 3000};
constexpr double late_fault = 3.5 * day;

struct Health {
    const char* name;
    double failed, slow;
};
constexpr Health healths[] = {{"0.5 %", 0.005, 0.018}, {"0.8 %", 0.008, 0.03}};

struct Fault {
    const char* name;
    double failed;
    double slower = 1;  // factor of the answer times
    bool one_agent = false;
};
constexpr Fault faults[] = {{"2 % errors", 0.02},
                            {"5 % errors", 0.05},
                            {"50 % errors", 0.5},
                            {"p95 x 1.5", 0.005, 1.5},
                            {"an agent 20 %", 0.2, 1, true},
                            {"an agent 100 %", 1, 1, true}};

std::string traffic_name(double per_minute) {
    return count_text(per_minute) + "/min";
}

Course course_of(const Fault& fault, double per_minute, double from) {
    Course course;
    course.scenario.per_minute = per_minute;
    Episode episode;
    episode.from = from;
    episode.to = 1000 * day;
    episode.failed = fault.failed;
    if (fault.one_agent) episode.agent = small_agent;
    if (fault.slower > 1) {
        episode.slow = slow_share(course.scenario.slow, fault.slower);
        course.count_slow = true;
    }
    course.scenario.episodes = {episode};
    course.incident = from;
    course.until = from + 10 * day;
    return course;
}

Course healthy_course(const Health& health, double per_minute) {
    Course course;
    course.scenario.per_minute = per_minute;
    course.scenario.failed = health.failed;
    course.scenario.slow = health.slow;
    return course;
}

std::size_t rolled_back(const std::vector<Race>& all, std::size_t who) {
    return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [who](const Race& one) {
        return one.fates[who].back.has_value();
    }));
}

/// P(Binomial(n, p) <= k).
double at_most(std::size_t k, std::size_t n, double p) {
    const auto whole = static_cast<double>(n);
    double sum = 0;
    for (std::size_t i = 0; i <= k; ++i) {
        const auto count = static_cast<double>(i);
        sum += std::exp(std::lgamma(whole + 1) - std::lgamma(count + 1) -
                        std::lgamma(whole - count + 1) + count * std::log(p) +
                        (whole - count) * std::log1p(-p));
    }
    return sum;
}

/// The largest chance of which so few of n are no surprise (Clopper and Pearson, one-sided, 95 %).
double upper_bound(std::size_t k, std::size_t n) {
    if (k >= n) return 1;
    double low = 0;
    double high = 1;
    while (high - low > 1e-9) {
        const double middle = 0.5 * (low + high);
        (at_most(k, n, middle) > 0.05 ? low : high) = middle;
    }
    return high;
}

struct Detection {
    std::vector<double> delays, suffered;  // of those that were found
    std::size_t gone = 0;                  // rolled back before the fault
    std::size_t missed = 0;
};

Detection detection_of(const std::vector<Race>& races, std::size_t who, double incident) {
    Detection detection;
    for (const Race& one : races) {
        const Fate& fate = one.fates[who];
        if (fate.back && *fate.back <= incident) {
            ++detection.gone;
        } else if (fate.back) {
            detection.delays.push_back(*fate.back - incident);
            detection.suffered.push_back(static_cast<double>(fate.suffered));
        } else {
            ++detection.missed;
        }
    }
    return detection;
}

std::string cell(const Detection& detection) {
    if (detection.delays.empty() && detection.missed == 0) return "gone before";
    const auto delay = median(detection.delays, detection.missed);
    if (!delay) return "not found";
    const auto suffered = median(detection.suffered, detection.missed);
    return duration_text(*delay) + " / " + count_text(suffered.value_or(0));
}

/// Median day on which canaryd reached 100 %.
std::string all_at(const std::vector<Race>& all) {
    std::vector<double> at;
    for (const Race& one : all) {
        if (one.product.raised_at.size() == 3) at.push_back(one.product.raised_at[2]);
    }
    const auto middle = median(at, all.size() - at.size());
    return middle ? "day " + fixed(*middle / day, 1) : "not by day 44";
}

/// Both sides above a limit by chance: held, and on again by itself.
std::string held_by_itself(const std::vector<Race>& all) {
    double minutes = 0;
    for (const Race& one : all) {
        for (const Held& held : one.product.held) {
            minutes += held.kind == Hold::Kind::shared_outage ? look_minutes : 0;
        }
    }
    return duration_text(minutes / static_cast<double>(all.size()));
}

std::string held_for_people(const std::vector<Race>& all) {
    const auto count = std::count_if(all.begin(), all.end(), [](const Race& one) {
        return std::any_of(one.product.held.begin(), one.product.held.end(),
                           [](const Held& held) { return held.kind != Hold::Kind::shared_outage; });
    });
    return std::to_string(count) + " of " + std::to_string(all.size());
}

void print_faults_from(const Policy& policy, const Options& options, double per_minute, double from,
                       std::vector<Bar>& bars) {
    std::vector<std::string> head{traffic_name(per_minute)};
    std::vector<std::vector<std::string>> rows;
    for (const std::string& name : names()) rows.push_back({name});
    std::vector<std::size_t> gone(rows.size());
    for (const Fault& fault : faults) {
        head.push_back(fault.name);
        const auto all =
            races(policy, course_of(fault, per_minute, from), options.faults, options.threads);
        for (std::size_t who = 0; who < rows.size(); ++who) {
            const Detection detection = detection_of(all, who, from);
            rows[who].push_back(cell(detection));
            gone[who] += detection.gone;
            const bool charted = per_minute == 60 && from == 0 && &fault == faults;
            if (charted) bars[who].delay = median(detection.delays, detection.missed);
        }
    }
    if (from > 0) head.push_back("gone before");
    Table table(head);
    const std::size_t of = std::size(faults) * static_cast<std::size_t>(options.faults);
    for (std::size_t who = 0; who < rows.size(); ++who) {
        if (from > 0) rows[who].push_back(percent_text(gone[who], of));
        table.add(rows[who]);
    }
    table.print();
    std::printf("\n");
}

}  // namespace

std::vector<std::string> names() {
    std::vector<std::string> all{"canaryd"};
    for (const ContenderKind& kind : contender_kinds()) all.push_back(kind.name);
    return all;
}

void print_judge_cost(const Policy& policy) {
    const JudgeCost cost = judge_cost(policy, 20'000);
    std::printf(
        "  one judge() of %zu streams x %zu effect sizes: %s us (goal <= 40 us at 36 x 10)\n",
        cost.streams, grid_size, fixed(cost.microseconds, 1).c_str());
}

void print_healthy(const Policy& policy, const Options& options, std::vector<Bar>& bars) {
    heading("False rollbacks: healthy rollouts that were rolled back within 44 days, of " +
            std::to_string(options.runs) + " each");
    std::vector<std::string> head{"true errors, canary's requests"};
    std::vector<std::vector<std::string>> rows;
    for (const std::string& name : names()) rows.push_back({name});
    Table progress(
        {"canaryd", "at 100 %, median", "held by chance*, mean", "held until a person comes"});
    for (const Health& health : healths) {
        for (const double per_minute : traffics) {
            const auto all =
                races(policy, healthy_course(health, per_minute), options.runs, options.threads);
            head.push_back(std::string(health.name) + " " + traffic_name(per_minute));
            for (std::size_t who = 0; who < rows.size(); ++who) {
                const std::size_t back = rolled_back(all, who);
                rows[who].push_back(percent_text(back, all.size()));
                const bool charted = per_minute == 60 && &health == healths;
                if (charted) {
                    bars[who].false_rollbacks =
                        static_cast<double>(back) / static_cast<double>(all.size());
                }
            }
            progress.add({head.back(), all_at(all), held_by_itself(all), held_for_people(all)});
        }
    }
    Table table(head);
    for (const auto& row : rows) table.add(row);
    table.print();
    const double bound = 100 * upper_bound(0, static_cast<std::size_t>(options.runs));
    std::printf("\n");
    paragraph("None of " + std::to_string(options.runs) + " is at most " + fixed(bound, 1) +
                  " % with 95 % confidence; more with --runs, or --healthy-only.",
              2);
    std::printf("\n");
    progress.print();
    paragraph("* both sides above a limit at once, by chance: held, and on again by itself.", 2);
}

void print_healthy_alone(const Policy& policy, const Options& options) {
    heading("canaryd alone: healthy rollouts that were rolled back within 44 days");
    Table table({"true errors, canary's requests", "rolled back", "at most (95 %)",
                 "at 100 %, median", "held until a person comes"});
    for (const Health& health : healths) {
        for (const double per_minute : traffics) {
            Course course = healthy_course(health, per_minute);
            course.alone = true;
            const auto all = races(policy, course, options.runs, options.threads);
            const std::size_t back = rolled_back(all, 0);
            table.add({std::string(health.name) + " " + traffic_name(per_minute),
                       std::to_string(back) + " of " + std::to_string(all.size()),
                       fixed(100 * upper_bound(back, all.size()), 2) + " %", all_at(all),
                       held_for_people(all)});
        }
    }
    table.print();
    paragraph("At most: the exact upper bound of the chance (Clopper and Pearson), one-sided.", 2);
}

void print_faults(const Policy& policy, const Options& options, std::vector<Bar>& bars) {
    for (const double from : {0.0, late_fault}) {
        heading(std::string("Delay and failing requests that users met, medians of ") +
                std::to_string(options.faults) +
                (from > 0 ? ": the fault begins after 3.5 healthy days at 10 %"
                          : ": the fault is there from the first look at 10 %"));
        for (const double per_minute : traffics) {
            print_faults_from(policy, options, per_minute, from, bars);
        }
    }
    paragraph(
        "p95 x 1.5: slow answers instead of failing ones. An agent: one with 5 % of the "
        "traffic; the others' models see totals only, except where it says agents. gone "
        "before: rolled back in the healthy days. not found: by more than half, in ten days.",
        2);
}

void print_bound(const Policy& policy, const Options& options) {
    heading("2 % errors after 3.5 healthy days, 60/min: requests until the rollback");
    Course course = course_of(faults[0], 60, late_fault);
    course.alone = true;
    const int runs = 4 * options.faults;
    std::vector<double> requests, delays;
    std::size_t missed = 0;
    for (const Race& one : races(policy, course, runs, options.threads)) {
        const Fate& fate = one.fates[0];
        if (!fate.back || *fate.back <= late_fault) {
            ++missed;
            continue;
        }
        requests.push_back(static_cast<double>(fate.requests));
        delays.push_back(*fate.back - late_fault);
    }
    const double horizon =
        std::chrono::duration<double, std::ratio<60>>(horizon_of(policy)).count();
    const double bound =
        yardstick_of(error_limit, 0.02, policy.false_rollback, 60, horizon).changepoint;
    const double goal = 1.5 * bound + 60 * look_minutes;
    const auto middle = median(requests, missed);
    const auto far = quantile(requests, 0.95, missed);
    std::printf("  canaryd, median of %d        %s requests (%s), p95 %s\n", runs,
                middle ? count_text(*middle).c_str() : "-",
                duration_text(median(delays, missed).value_or(0)).c_str(),
                far ? count_text(*far).c_str() : "-");
    std::printf("  what information allows       %s requests (n_CD, analysis 8.4)\n",
                count_text(bound).c_str());
    std::printf("  goal: 1.5 x that + one look   %s requests\n", count_text(goal).c_str());
    std::printf("  median / bound                %s\n",
                fixed(middle.value_or(0) / bound, 2).c_str());
}

void print_at_the_limit(const Policy& policy, const Options& options) {
    const int runs = 2 * options.faults;
    heading(
        "Wrong promotions: 1.0 % errors beside a legacy with 0.9 %, at 10 % for up to 21 days, "
        "of " +
        std::to_string(runs));
    std::vector<std::string> head{"canary's requests"};
    std::vector<std::vector<std::string>> rows;
    for (const std::string& name : names()) rows.push_back({name});
    rows.insert(rows.begin() + 1, {"  rolled back instead"});
    for (const double per_minute : traffics) {
        Course course;
        course.scenario.per_minute = per_minute;
        course.scenario.failed = 0.009;
        Episode episode;
        episode.to = 1000 * day;
        episode.failed = error_limit;
        course.scenario.episodes = {episode};
        course.until = 21 * day;
        course.until_promoted = true;
        const auto all = races(policy, course, runs, options.threads);
        head.push_back(traffic_name(per_minute));
        const auto share = [&](auto is) {
            const auto count = std::count_if(all.begin(), all.end(), is);
            return percent_text(static_cast<std::size_t>(count), all.size());
        };
        rows[0].push_back(share([](const Race& r) { return r.product.raised_at.size() > 1; }));
        rows[1].push_back(share([](const Race& r) { return r.fates[0].back.has_value(); }));
        for (std::size_t who = 1; who + 1 < rows.size(); ++who) {
            rows[who + 1].push_back(share(
                [&](const Race& r) { return !r.fates[who].back || *r.fates[who].back > 7 * day; }));
        }
    }
    Table table(head);
    for (const auto& row : rows) table.add(row);
    table.print();
    paragraph(
        "canaryd's goal is at most 5 %. The others promote when the week is over and they "
        "have not rolled back.",
        2);
}

void print_chart(const std::vector<Bar>& bars) {
    heading(
        "60 requests/min on the canary: | thrown back although healthy (0.5 %, 44 days)"
        "  | time to find 2 % errors, in decades");
    for (const Bar& bar : bars) {
        constexpr double width = 30;
        const auto healthy = static_cast<std::size_t>(std::lround(bar.false_rollbacks * width));
        const double decades = bar.delay ? std::log10(std::max(*bar.delay, 1.0)) / 4 : 1;
        const auto slow = static_cast<std::size_t>(std::lround(std::min(decades, 1.0) * width));
        std::printf("  %-18s %5s |%-30s|  %10s |%-30s|\n", bar.name.c_str(),
                    (fixed(100 * bar.false_rollbacks, 0) + " %").c_str(),
                    std::string(healthy, '#').c_str(),
                    bar.delay ? duration_text(*bar.delay).c_str() : "not found",
                    std::string(slow, bar.delay ? '=' : '.').c_str());
    }
}

}  // namespace canaryd::comparison
