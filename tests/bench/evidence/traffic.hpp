// Simulated traffic: a scenario in, counts of one look out, the same for everybody.
//
// A look's counts depend on (seed, look, weight) and on nothing else: whoever stands at the same
// weight sees the same requests, whatever was decided before. Rates are shares, times are minutes
// since the rollout began (at 06:00, so that noon and midnight have the extremes).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace canaryd::comparison {

/// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next();
    /// In (0, 1).
    double uniform();
    /// Inversion below a mean of 10, above it Hoermann's transformed rejection (PTRS, 1993): exact.
    std::int64_t poisson(double mean);

private:
    std::int64_t poisson_large(double mean);
    std::uint64_t state_;
};

inline constexpr std::size_t agents = 8;
inline constexpr std::array<double, agents> agent_shares{.30, .20, .15, .12, .08, .07, .05, .03};
inline constexpr std::size_t small_agent = 6;  // 5 % of the traffic
inline constexpr double look_minutes = 5;
inline constexpr double day = 24 * 60;
inline constexpr std::int64_t looks_a_day = 288;

struct Counts {
    std::int64_t requests = 0;
    std::int64_t failed = 0;
    std::int64_t slow = 0;  // answered, but above the latency limit
};
void add(Counts& sum, const Counts& more);

/// One population in one look.
struct Side {
    Counts total;
    std::array<Counts, agents> agent{};
};

struct Arms {
    Side canary, baseline;
    std::int64_t retries = 0;  // of the canary's failures: those of the one user who retries
};

/// Rates that are not the healthy ones for a while.
struct Episode {
    double from = 0, to = 0;  // minutes
    bool canary = true;
    bool baseline = false;
    std::optional<std::size_t> agent;     // one agent only
    double failed = 0;                    // share of all requests
    std::optional<double> slow;           // share of the answered; nothing: as before
    std::optional<double> failed_at_end;  // a drift: in a straight line from `failed`
};

struct Retries {
    double from = 0, to = 0;
    double times = 0;  // by one user of the largest agent, evenly
};

struct Lateness {
    double from = 0, to = 0;  // the canary's rows of these looks come later
    std::int64_t looks = 0;
};

struct Scenario {
    double per_minute = 60;  // the canary's mean at 10 %
    double amplitude = 0.8;  // of a sine over the day
    double failed = 0.005;
    double slow = 0.018;
    std::vector<Episode> episodes;
    std::optional<Retries> retries;
    std::optional<Lateness> late;
    std::uint64_t seed = 1;
};

/// What happened in look number `look` while the canary had `weight` (a share) of the users.
Arms happened(const Scenario& scenario, std::int64_t look, double weight);
/// The canary's rows of this look arrive late.
bool is_late(const Scenario& scenario, std::int64_t look);

/// Slow share of an answer time whose p95 is `factor` times that of the healthy one: lognormal of
/// shape 0.5, which is what makes `healthy` the share above the limit.
double slow_share(double healthy, double factor);

}  // namespace canaryd::comparison
