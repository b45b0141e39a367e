// A policy at a traffic: which faults it would find, when it would be proven.
#include "canaryd/planner.hpp"

#include <algorithm>
#include <cmath>

#include "daemon/core/maths.hpp"

namespace canaryd {
namespace {

using namespace std::chrono_literals;

Duration duration_of(double minutes) {
    const double longest = minutes_of(24h * 3650);
    return Duration{std::llround(std::min(minutes, longest) * 60'000)};
}

/// P(Poisson(mean) >= k).
double at_least(double mean, std::int64_t k) {
    double term = std::exp(-mean);
    double below = 0;
    for (std::int64_t i = 0; i < k; ++i) {
        below += term;
        term *= mean / static_cast<double>(i + 1);
    }
    return std::max(0.0, 1 - below);
}

/// Mass that is left when the step begins: each earlier phase took its start share, and time (6.1).
double unspent_at(const Policy& policy, std::size_t step) {
    double ln_c = 0;
    const double horizon = minutes_of(std::max(horizon_of(policy), Duration{1}));
    for (std::size_t i = 0; i < step; ++i) {
        ln_c += std::log1p(-phase_start_share) - minutes_of(policy.steps[i].bake) / horizon;
    }
    return std::exp(ln_c);
}

/// Streams that share the mass with this one at the step.
double share_of(const std::vector<Watch>& watches, const Policy& policy, const Watch& watch,
                bool total, bool comparable) {
    const auto peers = std::count_if(watches.begin(), watches.end(), [&](const Watch& other) {
        return other.then == watch.then && (comparable || !other.claim.relative());
    });
    const Shares shares = shares_of(static_cast<std::size_t>(std::max<std::ptrdiff_t>(peers, 1)),
                                    policy.segments.size());
    return std::exp(total ? shares.ln_total : shares.ln_segment) * static_cast<double>(grid_size);
}

bool comparable_at(const Policy& policy, std::size_t step) {
    return !policy.baseline.empty() && policy.steps[step].weight < everybody;
}

/// P(enough different users fail within one block, after the stream began to rise) (7.1). The floor
/// counts from ln R = 0 on, which is ln(1/alpha) before the alarm.
double floor_chance(const Policy& policy, const Walk& walk, double alpha, const Fault& fault,
                    double minutes) {
    const double rising = std::max(0.0, walk.threshold + std::log(alpha));
    const double left = minutes - rising / (walk.drift * fault.per_minute);
    if (left <= 0) return 0;
    const double block = std::max(minutes_of(policy.floor_within), 1e-3);
    const double failing = fault.rate * fault.per_minute;
    const double whole = std::max(1.0, left / block);
    const double in_one = at_least(failing * std::min(left, block), policy.floor_users);
    return 1 - std::pow(1 - in_one, whole);
}

/// The smallest rate above the limit for which `found` is true, on the log-odds.
template <class Found>
std::optional<double> smallest(double limit, Found found) {
    const auto share = [](double odds) { return 1 / (1 + std::exp(-odds)); };
    constexpr double most = 14;  // all but one in a million
    if (!found(share(most))) return std::nullopt;
    double low = std::log(limit / (1 - limit));
    double high = most;
    while (high - low > 1e-4) {
        const double middle = 0.5 * (low + high);
        (found(share(middle)) ? high : low) = middle;
    }
    return share(high);
}

Smallest smallest_found(const Policy& policy, const Traffic& traffic, const Watch& watch,
                        Fault fault) {
    const auto within = [&](Duration time, Onset onset) {
        fault.onset = onset;
        return smallest(watch.limit, [&](double rate) {
            fault.rate = rate;
            return chance_to_find(policy, traffic, watch, fault, time) >= sure_chance;
        });
    };
    Smallest found;
    found.hour = within(1h, Onset::begin);
    found.day = within(24h, Onset::begin);
    found.bake = within(policy.steps[fault.step].bake, Onset::begin);
    found.late = within(24h, Onset::mid);
    return found;
}

/// Counts for the gate begin after the warm-up.
double counted(const Policy& policy, double per_minute, Duration time) {
    return per_minute * std::max(0.0, minutes_of(time - policy.warm_up));
}

ProofPlan proof_of(const Policy& policy, const Traffic& traffic, const Watch& watch,
                   std::size_t number, std::size_t at) {
    const Step& step = policy.steps[at];
    const double per_minute = traffic.per_minute * step.weight.share();
    const double beta = policy.false_promotion;
    const double burst = std::max(traffic.bursts[watch.claim.signal], policy.dispersion.limits);
    ProofPlan proof;
    proof.watch = number;
    proof.rate = traffic.healthy[watch.claim.signal];
    const auto chance = [&](Duration time) {
        return chance_proven(counted(policy, per_minute, time), proof.rate, watch.limit, beta,
                             burst);
    };
    const auto needed = [&](double wanted) {
        return requests_to_prove(proof.rate, watch.limit, beta, wanted, burst);
    };
    const auto time = [&](std::optional<double> requests) -> std::optional<Duration> {
        if (!requests || !(per_minute > 0)) return std::nullopt;
        return duration_of(*requests / per_minute) + policy.warm_up;
    };
    proof.even = time(needed(0.5));
    const auto sure = needed(sure_chance);
    proof.sure = time(sure);
    proof.by_bake = chance(step.bake);
    proof.by_max_step = chance(std::max(step.bake, policy.max_step_of(at)));
    if (proof.by_bake >= sure_chance) return proof;
    const double all = counted(policy, traffic.per_minute, step.bake);
    if (sure && *sure <= all) {
        // To the next whole percent: an odd weight says more than is known.
        const int percent = static_cast<int>(std::ceil(100 * *sure / all));
        if (Weight{100 * percent} > step.weight) proof.weight = Weight{100 * percent};
    }
    const double seen = counted(policy, per_minute, step.bake);
    proof.limit = smallest(std::max(proof.rate, 1e-6), [&](double limit) {
        return chance_proven(seen, proof.rate, limit, beta, burst) >= sure_chance;
    });
    return proof;
}

StepPlan step_plan(const Policy& policy, const Plan& plan, std::size_t at) {
    const Step& step = policy.steps[at];
    const Traffic& traffic = plan.traffic;
    StepPlan result;
    result.name = step.name;
    result.weight = step.weight;
    result.bake = step.bake;
    result.max_step = std::max(step.bake, policy.max_step_of(at));
    result.per_minute = traffic.per_minute * step.weight.share();
    for (std::size_t scope = 0; scope <= policy.segments.size(); ++scope) {
        ScopePlan one;
        one.segment = scope == 0 ? "" : policy.segments[scope - 1];
        one.per_minute = result.per_minute * (scope == 0 ? 1.0 : traffic.segments[scope - 1]);
        for (const Watch& watch : plan.watches) {
            Fault fault;
            fault.per_minute = one.per_minute;
            fault.total = scope == 0;
            fault.step = at;
            one.found.push_back(watch.claim.relative() && !comparable_at(policy, at)
                                    ? Smallest{}
                                    : smallest_found(policy, traffic, watch, fault));
        }
        result.scopes.push_back(std::move(one));
    }
    // A limit that both ledgers watch is proven once.
    const auto proven = [&](const Watch& watch) {
        return std::any_of(result.proofs.begin(), result.proofs.end(), [&](const ProofPlan& proof) {
            const Claim& other = plan.watches[proof.watch].claim;
            return other.signal == watch.claim.signal && other.p0 == watch.claim.p0;
        });
    };
    double promoted = 1;
    for (std::size_t i = 0; i < plan.watches.size(); ++i) {
        if (plan.watches[i].claim.relative() || proven(plan.watches[i])) continue;
        result.proofs.push_back(proof_of(policy, traffic, plan.watches[i], i, at));
        promoted *= result.proofs.back().by_bake;
    }
    for (std::size_t i = 0; policy.segment_ask && i < policy.segments.size(); ++i) {
        const double requests = result.per_minute * traffic.segments[i] * minutes_of(step.bake);
        const double seen = at_least(std::min(requests, 600.0), policy.segment_requests);
        if (seen < sure_chance) result.quiet.push_back(policy.segments[i]);
        promoted *= seen;
    }
    result.extends = 1 - promoted;
    return result;
}

}  // namespace

Traffic stated_traffic(const Policy& policy, double per_minute,
                       const std::vector<std::optional<double>>& segments) {
    Traffic traffic;
    traffic.per_minute = per_minute;
    double left = 1;
    std::size_t unnamed = 0;
    for (std::size_t i = 0; i < policy.segments.size(); ++i) {
        const auto known = i < segments.size() ? segments[i] : std::nullopt;
        traffic.segments.push_back(known.value_or(-1));
        left -= known.value_or(0);
        unnamed += known ? 0 : 1;
    }
    for (double& share : traffic.segments) {
        if (share < 0) share = std::max(0.0, left) / static_cast<double>(unnamed);
    }
    const std::vector<Signal> signals = signals_of(policy);
    traffic.healthy.assign(signals.size(), 0);
    traffic.bursts.assign(signals.size(), 1);
    for (const Limit& limit : limits_of(policy)) {
        double& rate = traffic.healthy[limit.signal];
        rate = rate > 0 ? std::min(rate, limit.p0 / 2) : limit.p0 / 2;
    }
    // What is only compared has no limit to take the half of.
    constexpr double usual = 0.005;
    for (double& rate : traffic.healthy) rate = rate > 0 ? rate : usual;
    for (const Trigger& trigger : policy.triggers) {
        // How many are slower than another time than a criterion's is anybody's guess.
        std::optional<double> rate;
        const auto same = std::find(signals.begin(), signals.end(), trigger.signal);
        if (trigger.kind == Trigger::Kind::share && same != signals.end()) {
            rate = traffic.healthy[static_cast<std::size_t>(same - signals.begin())];
        }
        traffic.triggers.push_back(rate);
    }
    for (std::size_t hour = 0; hour < traffic.hours.size(); ++hour) {
        traffic.hours[hour] = 1 + 0.8 * std::sin(2 * M_PI * (static_cast<double>(hour) - 8) / 24);
    }
    return traffic;
}

std::vector<Watch> watches_of(const Policy& policy, const Traffic& traffic) {
    std::vector<Watch> watches;
    for (const Action then : {Action::rollback, Action::hold}) {
        for (const Claim& claim : claims_of(policy, then)) {
            const double limit =
                claim.relative()
                    ? claim.margin->times * traffic.healthy[claim.signal] + claim.margin->plus
                    : claim.p0;
            watches.push_back({claim, limit, then});
        }
    }
    return watches;
}

double chance_to_find(const Policy& policy, const Traffic& traffic, const Watch& watch,
                      const Fault& fault, Duration within) {
    if (!(fault.per_minute > 0)) return 0;
    const bool comparable = comparable_at(policy, fault.step);
    if (watch.claim.relative() && !comparable) return 0;
    const double weight = policy.steps[fault.step].weight.share();
    const double before = unspent_at(policy, fault.step);
    const double share =
        share_of(watches_of(policy, traffic), policy, watch, fault.total, comparable);
    Stake stake{watch.then == Action::hold ? policy.false_hold : policy.false_rollback,
                share,
                phase_start_share,
                minutes_of(std::max(horizon_of(policy), Duration{1})),
                before * (1 - phase_start_share),
                watch.claim.relative() ? policy.dispersion.comparisons : policy.dispersion.limits};
    // A late fault begins when about half of the bake is over.
    stake.unspent *=
        std::exp(-0.5 * minutes_of(policy.steps[fault.step].bake) / stake.horizon_minutes);
    // At the phase's first look the mass is what earlier phases left of it.
    if (fault.onset == Onset::begin) stake.share *= before;
    const double healthy = traffic.healthy[watch.claim.signal];
    const Walk walk =
        watch.claim.relative()
            ? relative_walk(*watch.claim.margin, {(1 - weight) / weight, healthy}, fault.rate,
                            healthy, fault.per_minute, stake, fault.onset)
            : limit_walk(watch.limit, fault.rate, healthy, fault.per_minute, stake, fault.onset);
    if (!(walk.drift > 0)) return 0;
    double minutes = minutes_of(within);
    // While a phase warms up only gross faults count (10); a late one begins within a look.
    constexpr double gross_effect = 2.3;
    if (fault.onset == Onset::begin && walk.delta < gross_effect) {
        minutes -= minutes_of(policy.warm_up);
    }
    if (fault.onset == Onset::mid) minutes -= 0.5 * minutes_of(policy.evaluate_every);
    // Without a baseline an alarm waits for its confirmation (7.3).
    if (!comparable) minutes -= minutes_of(policy.confirm_without_baseline);
    if (minutes <= 0) return 0;
    const double floor =
        watch.claim.relative() ? 1 : floor_chance(policy, walk, stake.alpha, fault, minutes);
    return chance_to_reach(walk, fault.per_minute * minutes) * floor;
}

Plan make_plan(const Policy& policy, const Traffic& traffic) {
    Plan plan;
    plan.traffic = traffic;
    plan.watches = watches_of(policy, traffic);
    for (std::size_t i = 0; i < policy.steps.size(); ++i) {
        plan.steps.push_back(step_plan(policy, plan, i));
    }
    for (std::size_t i = 0; i < policy.triggers.size(); ++i) {
        plan.triggers.push_back(trigger_plan(policy, traffic, i));
    }
    return plan;
}

}  // namespace canaryd
