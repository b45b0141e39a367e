// What a policy can show at a given traffic, before day one: the smallest fault it would find, the
// time to prove health, what can never be proven, how often its triggers would fire by chance.
// Formulas: analysis sections 8.1, 8.3 and 8.4; each function names its own.
//
// Pure functions on values; any thread. Rates are shares in [0, 1], time in a formula is in
// minutes.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "canaryd/analysis.hpp"
#include "canaryd/policy.hpp"
#include "canaryd/self_test.hpp"

namespace canaryd {

// --- Formulas -----------------------------------------------------------------------------------

/// ln M of one stream as a random walk in requests of the canary, at its best grid point (8.3). Own
/// derivation: l is a sum over requests, with the drift and the variance of one; the threshold is
/// what section 1's recursion takes off a fault, its start being known or not.
struct Walk {
    double delta = 0;  // of breach_grid; negative for health
    double threshold = std::numeric_limits<double>::quiet_NaN();  // nats; nan: it never gets there
    double drift = 0;                                             // nats a request
    double variance = 0;                                          // of one request
};

/// What a stream has to overcome before it acts: section 1's numbers.
struct Stake {
    double alpha = 0.01;
    double share = 1;  // v: the stream's part of the mass
    double start_share = phase_start_share;
    double horizon_minutes = 63'360;
    double unspent = 0.7;  // C when the fault begins
    double phi = 1;        // dispersion: counts vary so much wider, evidence is so much less (7.4)
};
enum class Onset {
    begin,  // the fault is there when the phase begins: it has the start mass
    mid     // it begins at any later moment
};

/// Against a limit p0, at the rate `faulty`; `healthy` is the rate before a fault that begins
/// mid-phase (8.3).
Walk limit_walk(double p0, double faulty, double healthy, double per_minute, const Stake& stake,
                Onset onset);

/// The side that the canary is compared with.
struct Beside {
    double kappa = 9;  // its requests for each of the canary
    double rate = 0;   // its rate
};
/// Against the baseline, at the margin's rho and dm (8.3).
Walk relative_walk(const Margin& margin, const Beside& baseline, double faulty, double healthy,
                   double per_minute, const Stake& stake, Onset onset);

/// P(the walk reaches its threshold within n requests); 0 where it does not drift up (8.3). The
/// first passage of a Brownian motion with that drift: the inverse Gaussian law (Schroedinger
/// 1915).
double chance_to_reach(const Walk& walk, double requests);
/// The gate at this rate, at its best grid point (8.3). Own derivation, as Walk.
Walk gate_walk(double p0, double rate, double beta);
/// P(the walk is above its threshold at n requests) (8.3), by the central limit.
double chance_above(const Walk& walk, double requests);

/// The least requests that any rule needs to find a rate q against p0 (8.4): by Wald 1945 where the
/// fault's time is known, by Lai 1998 where it is not.
struct Yardstick {
    double divergence = 0;   // KL(q || p0), nats a request
    double wald = 0;         // the fault's time known in advance
    double changepoint = 0;  // unknown within the horizon: the honest yardstick
};
Yardstick yardstick_of(double p0, double q, double alpha, double per_minute,
                       double horizon_minutes);

/// P(the gate passes at n requests of which each fails with this rate): exact counts where few are
/// expected, the normal limit where many are. `burst` is the gate's burst size (8.1). Own
/// derivation: the gate passes up to some number of events, whose chance is a binomial's.
double chance_proven(double requests, double rate, double p0, double beta, double burst = 1);
/// Requests with which the gate passes with this chance; nullopt: not within 1e12.
std::optional<double> requests_to_prove(double rate, double p0, double beta, double chance,
                                        double burst = 1);

// --- A policy at a traffic
// ------------------------------------------------------------------------

/// What users do, on whichever side they are.
struct Traffic {
    double per_minute = 0;         // requests, all sides together, on the mean
    std::vector<double> segments;  // shares of the requests, in the policy's order
    std::vector<double> healthy;   // rate of each of signals_of(policy) while all is well
    std::vector<double> bursts;    // the gate's burst size of each (8.1), 1 or more
    /// Rate of each trigger's own signal while all is well, in the policy's order; nullopt:
    /// unknown.
    std::vector<std::optional<double>> triggers;
    std::array<double, 24> hours{};  // of a UTC day, relative to the mean: their mean is 1
    Duration measured{0};            // over which history; 0: stated, not measured
};
/// Only the volume is known: every rate is taken as half of its limit, days and nights differ by
/// nine to one, segments that are not named share what is left. `segments` has one for each of the
/// policy's, nullopt where it is not known.
Traffic stated_traffic(const Policy& policy, double per_minute,
                       const std::vector<std::optional<double>>& segments);

/// A criterion as it is watched: a limit, or a margin over the baseline.
struct Watch {
    Claim claim;
    double limit = 0;  // the rate above which it is a fault: of a margin, over the healthy baseline
    Action then = Action::rollback;
};
/// Those that roll back first, then those that hold, each in the policy's order.
std::vector<Watch> watches_of(const Policy& policy, const Traffic& traffic);

/// The smallest rate that is found with a chance of 95 %, when it is there from the step's first
/// look on; nullopt: not even if every request fails.
struct Smallest {
    std::optional<double> hour, day, bake;
    std::optional<double> late;  // within a day, when it begins at any later moment
};
struct ScopePlan {
    std::string segment;          // empty: everybody
    double per_minute = 0;        // on the canary
    std::vector<Smallest> found;  // by watch; all nullopt where it does not watch at this step
};
struct ProofPlan {
    std::size_t watch = 0;
    double rate = 0;                     // of the healthy canary
    std::optional<Duration> even, sure;  // seen time that proves it with a chance of 50, 95 %
    double by_bake = 0;                  // chance that it is proven when the bake ends
    double by_max_step = 0;              // … when the step has to be decided
    // What would prove it with a chance of 95 %, one of them; nullopt: nothing would.
    std::optional<Weight> weight;  // at this bake
    std::optional<double> limit;   // at this bake and weight
};
struct StepPlan {
    std::string name;
    Weight weight;
    Duration bake{0}, max_step{0};
    double per_minute = 0;          // on the canary
    std::vector<ScopePlan> scopes;  // everybody first
    std::vector<ProofPlan> proofs;
    std::vector<std::string> quiet;  // segments that are not seen enough, with a chance above 5 %
    double extends = 0;              // chance that the bake ends without a promotion
};
inline constexpr double sure_chance = 0.95;
/// A trigger that fires more often than in one of 100 healthy rollouts: `start` refuses it.
inline constexpr double most_false_rollbacks = 0.01;

struct TriggerPlan {
    std::string name;
    /// How often it fires on a healthy canary, by chance alone, in a whole rollout: an upper
    /// estimate; nullopt: unknown, `why` says why.
    std::optional<double> per_rollout;
    std::string why;
    /// The same on legacy's own history, a part of the users as the canary and the rest beside it,
    /// at 100 % all of them; at looks only. nullopt: there is no history, or not of this trigger.
    std::optional<double> replayed;
    std::int64_t fired = 0;             // so often in that history
    std::optional<TimePoint> fired_at;  // the first time
    /// It would roll back or hold more healthy rollouts than may be.
    [[nodiscard]] bool too_eager() const;
};
struct Plan {
    Traffic traffic;
    std::vector<Watch> watches;
    std::vector<StepPlan> steps;
    std::vector<TriggerPlan> triggers;
};
Plan make_plan(const Policy& policy, const Traffic& traffic);

/// A fault of a criterion in the policy's ledger, at one step.
struct Fault {
    double rate = 0;
    double per_minute = 0;  // requests of the scope on the canary
    bool total = true;      // everybody, or one segment
    Onset onset = Onset::begin;
    std::size_t step = 0;
};
/// P(the criterion acts within this time), its floor of users and the warm-up counted in. A little
/// too low where a handful of requests decides: 86 for 94 of 100 at six, all failing.
double chance_to_find(const Policy& policy, const Traffic& traffic, const Watch& watch,
                      const Fault& fault, Duration within);

/// Expected firings of a trigger by chance in a healthy rollout: every user fails once, requests
/// are independent. Own derivation. An upper estimate: windows that overlap are told apart only
/// partly.
TriggerPlan trigger_plan(const Policy& policy, const Traffic& traffic, std::size_t trigger);

/// Puts into the plan how often each trigger fired on legacy's history: `tests` has one for each of
/// the policy's steps, each over `measured`. A firing counts as often as the step is longer than
/// the history; the last step lasts until the soak is over. Triggers on a query's number are left
/// out: the records do not have it.
void add_past(const Policy& policy, const std::vector<SelfTest>& tests, Duration measured,
              Plan& plan);

namespace text {
/// The plan in words, on one screen: what needs a change first. No newline is missing or too many.
std::string plan_page(const Policy& policy, const Plan& plan, int width);
/// One sentence for each trigger that `start` refuses, with the mend.
std::vector<std::string> eager_triggers(const Policy& policy, const Plan& plan);
/// What cannot be shown at this traffic and what would change it, a sentence each.
std::vector<std::string> plan_gaps(const Policy& policy, const Plan& plan);
}  // namespace text

}  // namespace canaryd
