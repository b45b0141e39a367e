// What a policy can show at a given traffic, before day one: the smallest fault it would find, the
// time to prove health, what can never be proven, how often its triggers would fire by chance.
// Formulas: analysis sections 7.4, 8.3 and 8.4; each function names its own.
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

namespace canaryd {

// --- Formulas -----------------------------------------------------------------------------------

/// ln M of one stream as a random walk in requests of the canary, at its best grid point (8.3).
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
};
enum class Onset {
    begin,  // the fault is there when the phase begins: it has the start mass
    mid     // it begins at any later moment
};

/// Against a limit p0, at the rate `faulty`; `healthy` is the rate before a fault that begins
/// mid-phase (8.3).
Walk limit_walk(double p0, double faulty, double healthy, double per_minute, const Stake& stake,
                Onset onset);

/// Against the baseline: not worse than rho times its rate plus dm. kappa: baseline's requests for
/// each of the canary.
struct Margin {
    double rho = 1.2;
    double dm = 0.001;
    double kappa = 9;
    double baseline = 0;  // its rate
};
Walk relative_walk(const Margin& margin, double faulty, double healthy, double per_minute,
                   const Stake& stake, Onset onset);

/// P(the walk reaches its threshold within n requests); 0 where it does not drift up (8.3).
double chance_to_reach(const Walk& walk, double requests);
/// The gate at the rate `faulty`, at its best grid point (8.3).
Walk gate_walk(double p0, double rate, double beta);
/// P(the walk is above its threshold at n requests) (8.3).
double chance_above(const Walk& walk, double requests);

/// The least requests that any rule needs to find a rate q against p0 (8.4).
struct Yardstick {
    double divergence = 0;   // KL(q || p0), nats a request
    double wald = 0;         // the fault's time known in advance
    double changepoint = 0;  // unknown within the horizon: the honest yardstick
};
Yardstick yardstick_of(double p0, double q, double alpha, double per_minute,
                       double horizon_minutes);

/// Requests and events of one block of history.
struct Block {
    double requests = 0;
    double events = 0;
};
/// How much more the blocks differ than independent requests would: 1 as they should (7.4). For
/// limit streams; blocks of 4 hours of as many requests as the canary will have.
double batch_dispersion(const std::vector<Block>& blocks);
/// The same between two sides of the same time: what both share cancels. For relative streams.
double split_dispersion(const std::vector<Block>& ours, const std::vector<Block>& theirs);

/// P(the gate passes at n requests of which each fails with this rate): exact counts where few are
/// expected, the normal limit where many are. `burst` is the gate's burst size (8.1).
double chance_proven(double requests, double rate, double p0, double beta, double burst = 1);
/// Requests with which the gate passes with this chance; nullopt: not within 1e12.
std::optional<double> requests_to_prove(double rate, double p0, double beta, double chance,
                                        double burst = 1);

}  // namespace canaryd
