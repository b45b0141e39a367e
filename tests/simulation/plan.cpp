#include <cstdio>

#include "tests/simulation/world.hpp"

namespace canaryd::simulation {
namespace {

Duration days(double n) {
    return Duration{static_cast<std::int64_t>(n * 86'400'000)};
}
Duration minutes(double n) {
    return Duration{static_cast<std::int64_t>(n * 60'000)};
}

template <class T>
T pick(Random& random, std::initializer_list<T> all) {
    return *(all.begin() + random.below(static_cast<std::int64_t>(all.size())));
}

void plan_traffic(Plan& plan, Random& random) {
    plan.canary_per_minute = pick(random, {2.0, 10.0, 60.0, 600.0});
    plan.error_rate = pick(random, {0.0, 0.002, 0.004, 0.005});
    plan.slow_rate = pick(random, {0.0, 0.01, 0.018});
    plan.diurnal = random.chance(0.3);
}

void plan_canary(Plan& plan, Random& random) {
    if (random.chance(0.3)) {
        plan.fault_rate = pick(random, {0.03, 0.1, 0.5, 1.0});
        plan.fault_agent = random.chance(0.4) ? static_cast<int>(random.below(4)) : -1;
        plan.fault_at = days(random.between(0.01, 40));
        plan.fault_for = random.chance(0.7) ? days(60) : minutes(random.between(1, 60));
    }
    if (random.chance(0.15)) {
        plan.outage_rate = pick(random, {0.3, 1.0});
        plan.outage_at = days(random.between(0.01, 40));
        plan.outage_for = minutes(pick(random, {3.0, 12.0, 30.0}));
    }
}

void plan_ports(Plan& plan, Random& random) {
    if (random.chance(0.3)) plan.source_fails = random.between(0, 0.2);
    if (random.chance(0.3)) plan.router_fails = random.between(0, 0.5);
    if (random.chance(0.3)) plan.notifier_fails = random.between(0, 0.5);
    if (random.chance(0.2)) plan.store_unknown = random.between(0, 0.001);
    if (random.chance(0.2)) {
        plan.source_dead_at = days(random.between(0.01, 35));
        plan.source_dead_for = minutes(pick(random, {4.0, 40.0, 600.0, 14'400.0}));
    }
    if (random.chance(0.1)) {
        plan.store_full_at = days(random.between(0.01, 35));
        plan.store_full_for = minutes(random.between(5, 3'000));
    }
    if (random.chance(0.2)) {
        plan.notifier_dead_at = days(random.between(0, 30));
        plan.notifier_dead_for = days(random.between(0.1, 10));
    }
}

}  // namespace

Plan Plan::of(std::uint64_t seed) {
    Plan plan;
    plan.seed = seed;
    Random random(seed * 0x2545f4914f6cdd1dULL + 1);
    plan_traffic(plan, random);
    const bool edits = random.chance(0.25);
    plan.edit_is_broken = random.chance(0.25);
    plan.blind_rolls_back = random.chance(0.1);
    plan_canary(plan, random);
    plan_ports(plan, random);
    if (random.chance(0.4)) plan.crashes_per_day = random.between(0.1, 4);
    if (random.chance(0.3)) plan.commands_per_day = random.between(0.1, 6);
    if (random.chance(0.15)) plan.hands_per_week = random.between(0.2, 2);
    if (random.chance(0.15)) plan.clock_jumps_per_week = random.between(0.2, 2);
    if (random.chance(0.15)) plan.suspends_per_week = random.between(0.2, 2);
    if (edits) plan.edited_at = days(random.between(0.01, 40));
    return plan;
}

std::string Plan::describe() const {
    char text[500];
    std::snprintf(text, sizeof text,
                  "canary %g/min, errors %g %%, fault %g (agent %d) from day %.2f for %.0f min, "
                  "outage %g at day %.2f, source fails %.2f, router %.2f, notifier %.2f, store "
                  "%.4f, crashes %.1f/d, commands %.1f/d, hands %.1f/w, jumps %.1f/w, suspends "
                  "%.1f/w, policy edited at day %.2f%s",
                  canary_per_minute, 100 * error_rate, fault_rate, fault_agent,
                  static_cast<double>(fault_at.count()) / 86'400'000,
                  static_cast<double>(fault_for.count()) / 60'000, outage_rate,
                  static_cast<double>(outage_at.count()) / 86'400'000, source_fails, router_fails,
                  notifier_fails, store_unknown, crashes_per_day, commands_per_day, hands_per_week,
                  clock_jumps_per_week, suspends_per_week,
                  static_cast<double>(edited_at.count()) / 86'400'000,
                  edit_is_broken ? ", broken" : "");
    return text;
}

}  // namespace canaryd::simulation
