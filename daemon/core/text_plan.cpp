// What a policy can show at a traffic, in words: `canaryctl plan`, `check --traffic`, `start`.
#include <algorithm>
#include <cmath>
#include <map>

#include "canaryd/planner.hpp"
#include "daemon/core/text_parts.hpp"

namespace canaryd::text {
namespace {

constexpr std::size_t steps_across = 3;
constexpr std::size_t segments_down = 12;

/// "15k", "3,000", "60", "0.2": as many requests a minute.
std::string per_minute(double rate) {
    if (rate >= 9'999.5) return number(std::llround(rate / 1000)) + "k";
    if (rate >= 10) return number(std::llround(rate));
    const double scale = rate >= 1 ? 10 : rate >= 0.1 ? 100 : 1000;
    const std::int64_t parts = std::llround(rate * scale);
    std::string fraction = std::to_string(parts % static_cast<std::int64_t>(scale));
    while (fraction.size() < std::to_string(static_cast<int>(scale)).size() - 1) {
        fraction.insert(0, "0");
    }
    while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
    return number(parts / static_cast<std::int64_t>(scale)) +
           (fraction.empty() ? "" : "." + fraction);
}

/// Seen time as people plan with it: no minutes beside days.
std::string about(Duration time) {
    using namespace std::chrono_literals;
    const Duration unit = time >= 240h  ? Duration{24h}
                          : time >= 24h ? Duration{1h}
                                        : Duration{1min};
    return duration((time + unit - 1ms) / unit * unit);
}

std::string percent(double chance) {
    if (chance > 0.995 && chance < 1) return "above 99 %";
    if (chance > 0 && chance < 0.005) return "below 1 %";
    return std::to_string(std::lround(100 * chance)) + " %";
}

std::string rate_cell(const std::optional<double>& rate) {
    return rate ? share_up(*rate) : "-";
}

const Criterion& criterion_of(const Policy& policy, const Watch& watch) {
    return policy.criteria[watch.claim.criterion];
}

std::string watch_words(const Policy& policy, const Watch& watch) {
    return criterion_of(policy, watch).name + " (" + share(watch.limit) + ")";
}

bool shows_hour(const StepPlan& step) {
    return step.bake >= std::chrono::hours{1};
}
bool shows_day(const StepPlan& step) {
    return step.bake > std::chrono::hours{24};
}

void head_rows(Table& table, const Plan& plan, std::size_t from, std::size_t to) {
    std::vector<std::string> names{"Faults found"};
    std::vector<std::string> times{"(95 %) within"};
    for (std::size_t i = from; i < to; ++i) {
        const StepPlan& step = plan.steps[i];
        names.insert(names.end(), {cut(step.name, 9), weight(step.weight),
                                   per_minute(step.per_minute) + "/min"});
        times.insert(times.end(), {shows_hour(step) ? "1h" : "", shows_day(step) ? "1d" : "",
                                   duration(step.bake)});
    }
    table.row(std::move(names));
    table.row(std::move(times));
}

std::vector<std::string> found_cells(const Plan& plan, std::size_t from, std::size_t to,
                                     std::size_t scope, std::size_t watch) {
    std::vector<std::string> cells;
    for (std::size_t i = from; i < to; ++i) {
        const StepPlan& step = plan.steps[i];
        const Smallest& found = step.scopes[scope].found[watch];
        cells.insert(cells.end(),
                     {shows_hour(step) ? rate_cell(found.hour) : "",
                      shows_day(step) ? rate_cell(found.day) : "", rate_cell(found.bake)});
    }
    return cells;
}

void found_row(Table& table, const std::string& label, std::vector<std::string> cells) {
    cells.insert(cells.begin(), label);
    table.row(std::move(cells));
}

/// Number of the scope with the least traffic; 0: there are no segments.
std::size_t quietest(const Plan& plan) {
    std::size_t least = 0;
    const auto& scopes = plan.steps.front().scopes;
    for (std::size_t i = 1; i < scopes.size(); ++i) {
        if (least == 0 || scopes[i].per_minute < scopes[least].per_minute) least = i;
    }
    return least;
}

/// A row for each segment; the largest group that has the same answer shares the last row.
void segment_rows(Table& table, const Policy& policy, const Plan& plan, std::size_t from,
                  std::size_t to, std::size_t watch) {
    std::map<std::vector<std::string>, std::vector<std::size_t>> alike;
    for (std::size_t scope = 1; scope <= policy.segments.size(); ++scope) {
        alike[found_cells(plan, from, to, scope, watch)].push_back(scope);
    }
    const auto most = std::max_element(
        alike.begin(), alike.end(),
        [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
    const std::size_t together = most->second.size();
    const std::size_t quiet = quietest(plan);
    std::size_t shown = 0;
    for (std::size_t scope = 1; scope <= policy.segments.size(); ++scope) {
        std::vector<std::string> cells = found_cells(plan, from, to, scope, watch);
        if (together > 1 && cells == most->first) continue;
        if (++shown > segments_down && scope != quiet) continue;
        found_row(table, "    " + policy.segment + " " + policy.segments[scope - 1],
                  std::move(cells));
    }
    if (together < 2) return;
    const std::string which = together == policy.segments.size()
                                  ? "each " + policy.segment
                                  : "the other " + std::to_string(together);
    found_row(table, "    " + which, most->first);
}

std::string found_tables(const Policy& policy, const Plan& plan, const Paper& paper) {
    std::string page;
    const std::size_t quiet = quietest(plan);
    const auto& shares = plan.traffic.segments;
    const bool alike = std::all_of(shares.begin(), shares.end(), [&](double share) {
        return std::abs(share - shares.front()) < 1e-9;
    });
    for (std::size_t from = 0; from < plan.steps.size(); from += steps_across) {
        const std::size_t to = std::min(from + steps_across, plan.steps.size());
        std::string columns = "l";
        for (std::size_t i = from; i < to; ++i) columns += "rrr";
        Table table(columns);
        head_rows(table, plan, from, to);
        for (std::size_t watch = 0; watch < plan.watches.size(); ++watch) {
            found_row(table, "  " + watch_words(policy, plan.watches[watch]),
                      found_cells(plan, from, to, 0, watch));
            if (quiet == 0) continue;
            // One criterion shows every segment; of the others the quietest is the worst.
            if (watch == 0 || alike) {
                segment_rows(table, policy, plan, from, to, watch);
            } else {
                found_row(table, "    " + policy.segment + " " + policy.segments[quiet - 1],
                          found_cells(plan, from, to, quiet, watch));
            }
        }
        page += (page.empty() ? "" : "\n") + table.draw(paper);
    }
    return page;
}

std::string late_words(const Policy& policy, const Plan& plan) {
    std::string list;
    for (const StepPlan& step : plan.steps) {
        const auto& late = step.scopes.front().found.front().late;
        list += (list.empty() ? "" : ", ") + step.name + " " +
                (late ? share_up(*late) + " or more" : std::string("not even 100 %"));
    }
    return "Share of requests that fail (or are slow), the limit in brackets, from the step's "
           "first look on; \"-\": not even if all do. A fault that begins later in a step is found "
           "within a day (" +
           criterion_of(policy, plan.watches.front()).name + ") if it is: " + list + ".";
}

std::string proof_table(const Policy& policy, const Plan& plan, const Paper& paper) {
    Table table("llrrrrr");
    table.title("Proven");
    table.row({"", "", "if this many are", "half of cases in", "95 % in", "by the bake's end",
               "by max_step"});
    for (const StepPlan& step : plan.steps) {
        for (std::size_t i = 0; i < step.proofs.size(); ++i) {
            const ProofPlan& proof = step.proofs[i];
            table.row({i == 0 ? "  " + step.name : "",
                       criterion_of(policy, plan.watches[proof.watch]).name, share(proof.rate),
                       proof.even ? about(*proof.even) : "never",
                       proof.sure ? about(*proof.sure) : "never", percent(proof.by_bake),
                       percent(proof.by_max_step)});
        }
    }
    return table.draw(paper);
}

std::string extend_words(const Plan& plan) {
    std::string list;
    for (const StepPlan& step : plan.steps) {
        list += (list.empty() ? "" : ", ") + step.name + " " + percent(step.extends);
    }
    return "Chance that a healthy canary is extended beyond its bake: " + list + ".";
}

std::string rollouts(double per_rollout) {
    const double of_100 = 100 * per_rollout;
    if (of_100 >= 10) return number(std::llround(of_100)) + " times in 100 rollouts";
    if (of_100 >= 0.95) return "about " + number(std::llround(of_100)) + " in 100 rollouts";
    if (of_100 >= 0.1) return "below 1 in 100 rollouts";
    return "below 1 in 1,000 rollouts";
}

std::string mend_of(const Trigger& trigger) {
    switch (trigger.kind) {
        case Trigger::Kind::share:
            return "a higher `above`, a longer `over`, more looks in `for` or a higher `at_least`";
        case Trigger::Kind::traffic:
            return "a longer `over` or a higher `at_least`";
        case Trigger::Kind::number:
            return "a higher threshold, or more looks in `for`";
        case Trigger::Kind::off_weight:
            return "a higher `off_weight_by` or a longer `over`";
    }
    return "";
}

std::string trigger_lines(const Policy& policy, const Plan& plan, const Paper& paper) {
    if (plan.triggers.empty()) return "";
    std::vector<std::string> quiet;
    std::vector<std::string> unknown;
    std::vector<std::string> peeking;  // fires between looks too, which the history does not play
    std::string page;
    const auto line = [&](const std::string& words) {
        page += "  " + wrap(clean(words), paper.width - 2, 4) + "\n";
    };
    for (std::size_t i = 0; i < plan.triggers.size(); ++i) {
        const TriggerPlan& trigger = plan.triggers[i];
        if (trigger.replayed && policy.triggers[i].at_peeks()) peeking.push_back(trigger.name);
        if (trigger.too_eager()) {
            line(trigger.name + ": " +
                 rollouts(std::max(trigger.per_rollout.value_or(0), trigger.replayed.value_or(0))) +
                 (policy.triggers[i].then == Action::warn ? "" : " TOO OFTEN"));
        } else if (!trigger.per_rollout && !trigger.replayed) {
            unknown.push_back(trigger.name + " (" + trigger.why + ")");
        } else {
            quiet.push_back(trigger.name);
        }
    }
    if (!quiet.empty()) line(list(quiet) + ": below 1 in 100 rollouts");
    if (!unknown.empty()) line("not counted: " + list(unknown));
    if (!peeking.empty()) {
        line("on legacy's history at looks only, without the peeks between them: " + list(peeking));
    }
    return "\nFires on a healthy canary by chance\n" + page;
}

std::string traffic_words(const Policy& policy, const Plan& plan) {
    const Traffic& traffic = plan.traffic;
    const std::string rate =
        per_minute(traffic.per_minute) + " requests a minute, everybody together";
    if (traffic.measured > Duration{0}) {
        return rate + ", as legacy had in " + about(traffic.measured) + " of its history";
    }
    return rate + " (stated; every healthy rate is taken as half of its limit" +
           (traffic.segments.empty()
                ? ""
                : ", " + policy.segment + "s without a share have equal parts") +
           ")";
}

/// What would prove a criterion in time, one of the things.
std::string ways_out(const StepPlan& step, const ProofPlan& proof) {
    std::vector<std::string> ways;
    if (proof.sure) ways.push_back("a bake of " + about(*proof.sure));
    if (proof.weight) ways.push_back("a weight of " + weight(*proof.weight));
    if (proof.limit && *proof.limit < 1) {
        ways.push_back("a limit of " + share_up(*proof.limit));
    }
    if (ways.empty()) return "nothing would, at this traffic";
    std::string words = list(ways);
    const std::size_t last = words.rfind(" and ");
    if (ways.size() > 1) words.replace(last, 5, " or ");
    if (proof.by_max_step >= sure_chance) {
        return words + " would; without it the step is extended, which costs nothing but time";
    }
    return words + " would; in " + percent(1 - proof.by_max_step) + " max_step (" +
           duration(step.max_step) + ") ends first: held, and asks";
}

}  // namespace

std::vector<std::string> plan_gaps(const Policy& policy, const Plan& plan) {
    std::vector<std::string> gaps;
    std::string quiet;
    for (const StepPlan& step : plan.steps) {
        for (const ProofPlan& proof : step.proofs) {
            if (proof.by_bake >= sure_chance) continue;
            const Watch& watch = plan.watches[proof.watch];
            const std::string who = criterion_of(policy, watch).name + " in " + step.name + " (" +
                                    weight(step.weight) + ")";
            if (proof.rate >= watch.limit) {
                gaps.push_back(who + " can never be proven: legacy itself is at " +
                               share(proof.rate) + ", the limit is " + share(watch.limit) +
                               "; a limit above what legacy does, or a margin over legacy");
                continue;
            }
            gaps.push_back(who + " is proven by the bake's end in " + percent(proof.by_bake) +
                           " of cases: " + ways_out(step, proof));
        }
        if (step.quiet.empty()) continue;
        const bool all = step.quiet.size() == policy.segments.size();
        quiet += (quiet.empty() ? "" : "; ") + step.name + " " +
                 (all ? "every " + policy.segment : list(step.quiet));
    }
    if (!quiet.empty()) {
        gaps.push_back("fewer than " + number(policy.segment_requests) +
                       " requests in a bake: " + quiet +
                       ". Such a step is extended and then asks; a longer bake, fewer "
                       "segment_seen.requests or if_not: ignore would prevent that");
    }
    return gaps;
}

std::vector<std::string> eager_triggers(const Policy& policy, const Plan& plan) {
    std::vector<std::string> sentences;
    for (std::size_t i = 0; i < plan.triggers.size(); ++i) {
        const TriggerPlan& trigger = plan.triggers[i];
        if (!trigger.too_eager() || policy.triggers[i].then == Action::warn) continue;
        const double rate = std::max(trigger.per_rollout.value_or(0), trigger.replayed.value_or(0));
        std::string words =
            "trigger " + trigger.name + " would fire on a healthy canary " + rollouts(rate);
        if (trigger.fired > 0) {
            words += "; on legacy's own history it fired " +
                     counted(trigger.fired, "time", "times") +
                     (trigger.fired_at ? ", first " + time(*trigger.fired_at) : "");
        }
        sentences.push_back(words + ". It takes " + mend_of(policy.triggers[i]));
    }
    return sentences;
}

std::string plan_page(const Policy& policy, const Plan& plan, int width) {
    const Paper paper{std::min(width, 100), false};
    if (plan.steps.empty() || plan.watches.empty()) return clean(policy.name) + ": no steps\n";
    const auto point = [&](const std::string& words) {
        return "  " + wrap(clean(words), paper.width - 2, 4) + "\n";
    };
    std::string page =
        wrap(clean(policy.name + " at " + traffic_words(policy, plan)), paper.width, 0) + "\n";
    if (policy.dispersion != Dispersion{}) {
        page += wrap("Failures come in waves (dispersion: " + dispersion(policy.dispersion) +
                         "): the rates and times below count that in.",
                     paper.width, 0) +
                "\n";
    }
    std::vector<std::string> needs = plan_gaps(policy, plan);
    for (const std::string& eager : eager_triggers(policy, plan)) needs.push_back(eager);
    if (needs.empty()) {
        page += wrap(
                    "Everything can be shown: each criterion is proven within its bake, and no "
                    "trigger that can be counted and does more than warn fires on more than one "
                    "healthy rollout in 100.",
                    paper.width, 0) +
                "\n";
    } else {
        page += "\nWhat this traffic cannot show, and what would change it\n";
        for (const std::string& need : needs) page += point(need);
    }
    page += "\n" + found_tables(policy, plan, paper) + point(late_words(policy, plan));
    page += "\n" + proof_table(policy, plan, paper) + point(extend_words(plan));
    return page + trigger_lines(policy, plan, paper);
}

}  // namespace canaryd::text
