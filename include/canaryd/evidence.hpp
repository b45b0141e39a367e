// Counts in, evidence out. Formulas: analysis sections 1-3, 6, 7.1-7.3, 8.1, 8.2, 10 of the
// design's statistics, 5, and 7.4's clusters; each function names its own and where it comes from.
// Buckets and dispersion (4, 7.4): other_counts.hpp. A number in brackets, as (7.3), names the
// same rule in all files.
//
// Pure functions on values; any thread. Logs are natural. Requests, failures and users are whole
// numbers, exact in a double up to 2^53.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "canaryd/policy.hpp"

namespace canaryd {

enum class Population { canary, baseline };

/// Events of one block; block = floor(UTC time / harm_floor.within) of the request's own time.
struct InBlock {
    std::int64_t block = 0;
    std::int64_t failures = 0;
    friend bool operator==(const InBlock&, const InBlock&) = default;
};

/// One signal's events in one look and scope.
struct Count {
    std::int64_t raw = 0;        // every event: health, baseline comparison, plain rates
    std::vector<InBlock> first;  // only a user's first in its block: harm and its floor (7.1)
    [[nodiscard]] std::int64_t counted() const;
};

/// What a look adds to the sums of (events of a user in a block) and of their squares (8.1).
struct Burst {
    std::int64_t sum_e = 0;
    std::int64_t sum_e2 = 0;
};

/// Durations in buckets of factor sqrt 2 from 50 ms: an estimate for people, never evidence.
struct Latencies {
    static constexpr std::size_t size = 24;
    std::array<std::int64_t, size> counts{};
    void add(Duration duration, std::int64_t times = 1);
    void add(const Latencies& other);
    /// nullopt when nothing was counted.
    [[nodiscard]] std::optional<Duration> quantile(double share) const;
};

/// The counts of one population and scope in one look.
struct Tally {
    Population who = Population::canary;
    std::string segment;  // empty: the total
    std::int64_t requests = 0;
    std::vector<Count> events;             // in the order of signals_of()
    std::vector<Burst> bursts;             // same order; canary's total only, else empty
    std::vector<std::uint64_t> new_users;  // hashes of users seen, only where Ask::users_wanted
    Latencies latency;                     // totals only
};

/// Raw counts of a trigger's own window, so that a person can check the rule by hand.
struct Window {
    std::string trigger;
    std::string segment;  // empty: the total
    Population who = Population::canary;
    TimePoint from, to;
    std::int64_t requests = 0;
    std::int64_t failures = 0;  // requests with the trigger's signal
    // Different users among the failures, a request without a user one; user_share: users seen.
    std::int64_t users = 0;
    std::optional<double> value;  // a query's number; where it gives clusters they are `requests`
};
/// The name of the window with what a query of `metrics` counts in a look, for criteria. No
/// trigger's name has a '/'.
std::string count_window(const std::string& number);

/// One closed interval [from, to) of counts. `error` set: no evidence at all.
struct Look {
    TimePoint from, to;
    std::vector<Tally> on_time;  // requests of [from, to)
    std::vector<Tally> late;     // older requests that were not counted before
    bool canary_complete = true;
    bool baseline_complete = true;
    std::vector<Window> windows;
    std::string cursor;  // committed with the look, so that a late row counts exactly once
    std::vector<std::string> remarks;  // rows left out and why, a new segment, …: for people
    std::string error;
};

inline constexpr std::size_t grid_size = 10;
using Grid = std::array<double, grid_size>;
/// Effect sizes delta of section 1; health uses the first nine, negated (section 2).
inline constexpr Grid breach_grid{0.1, 0.2, 0.4, 0.7, 1.1, 1.6, 2.3, 3.2, 4.6, 7.0};
inline constexpr std::size_t promote_grid_size = 9;

/// l(delta) = k delta - n log1p(p0 expm1(delta))   (T1, section 2). k may be fractional. The log of
/// the sequential probability ratio of Wald 1945, for odds e^delta times those of p0. Requests may
/// have rates of their own: by the means of products, only their average has to be at most p0.
double log_evidence(double n, double k, double p0, double delta);
/// Per hour: l(delta) = k delta - lambda0 T expm1(delta)   (section 5), with T = n milliseconds and
/// lambda0 = p0 events an hour. The probability ratio of Wald 1945 for Poisson counts.
/// Per cluster: T1 of n clusters and the sum k of their shares of events, both in millionths (7.4):
/// a^z <= 1 + z (a - 1) for z in [0, 1] (Waudby-Smith & Ramdas 2024), so that a share may stand for
/// a yes or no, and clusters be as one however the requests in them depend on each other.
/// Everything else that follows is the same, so the functions take what a limit is per.
///
/// Static mixture over delta > 0, uniform weights: evidence that the rate is above p0 (section 2;
/// mixtures of ratios instead of one alternative: Robbins 1970).
double log_e_breach(double n, double k, double p0, Per per = Per::request);
/// Static mixture over delta < 0: evidence that the rate is below p0; each l divided by phi (8.1).
double log_e_promote(double n, double k, double p0, double phi = 1.0, Per per = Per::request);
/// k / n, as the limit is written: a share, or so many an hour.
double rate_of(std::int64_t n, std::int64_t k, Per per);

/// Both populations' counts of one look and scope.
struct Pair {
    double canary = 0;    // n_c: requests
    double events = 0;    // x: for harm a user's first in its block only (7.1)
    double baseline = 0;  // n_b: requests
    double others = 0;    // y: the baseline's events, raw
};
/// l(delta) = x delta - (x+y) log1p(B) - n_c dm (1-theta) expm1(delta) / (1+B), with
/// theta = rho n_c / (rho n_c + n_b), B = theta expm1(delta)   (T2, section 3). 0 without the
/// baseline's requests. Without dm, given x + y, it is the test of Lindon & Malek 2022 on whose the
/// events are, with a grid for the prior. The margin dm is an own derivation: 1 + u <= e^u bounds
/// the expectation by exp(n_c dm (e^delta / (1+B) - 1)), and that exponent is taken off.
double log_evidence(const Pair& counts, const Margin& margin, double delta);
/// Static mixtures of T2: evidence that the canary is worse than the margin allows, and that it is
/// not (section 3).
double log_e_breach(const Pair& counts, const Margin& margin);
double log_e_promote(const Pair& counts, const Margin& margin);
/// phi_gate = max(1, sum e^2 / sum e), 1 if there was no event (8.1). Own derivation: where users
/// are independent and fail e times each, their sum varies as sum e^2, and as sum e where each
/// failure stands alone.
double burst_size(std::int64_t sum_e, std::int64_t sum_e2);
/// The gate of one limit: evidence of health at 1/beta and a plain rate below the limit (8.1). Own
/// derivation: the evidence is a supermartingale where the rate is p0 or above, so it gets there
/// with a chance of at most beta, at whichever look it is asked (Ville 1939).
bool proven_below(std::int64_t n, std::int64_t k, double p0, double beta, double phi,
                  Per per = Per::request);
/// Numerically stable log(sum exp), in the order given; -inf for an empty range.
double log_sum_exp(const double* first, const double* last);
double log_add_exp(double a, double b);

/// Highest rate that is still refused / lowest that is proven exceeded; anytime-valid (8.2): the
/// limits that the tests reject, which is a time-uniform confidence sequence (Howard, Ramdas,
/// McAuliffe & Sekhon 2021).
struct Bounds {
    std::int64_t requests = 0;  // or what else the limit is per
    std::int64_t events = 0;
    double lower = 0;  // LCB: 0 if nothing is proven
    double upper = 1;  // UCB: "proven below"; 1, per hour infinity, if nothing is proven
    Per per = Per::request;
    [[nodiscard]] double rate() const;
    [[nodiscard]] bool proves_upper() const;
};
/// Bisection on the log-odds, per hour on the logarithm. phi divides the health evidence (8.1);
/// relative accuracy 1e-10.
Bounds bounds_of(std::int64_t n, std::int64_t k, double alpha, double beta, double phi = 1.0,
                 Per per = Per::request);

/// T1 of one limit over the whole breach grid, with what depends on p0 alone worked out once.
class LimitTest {
public:
    explicit LimitTest(double p0, Per per = Per::request);
    /// l_j of section 2, or of 5; all 0 where n is.
    [[nodiscard]] Grid evidence(double n, double k) const;

private:
    Grid per_one_;    // log1p(p0 expm1(delta_j)), or lambda0 expm1(delta_j)
    Grid per_event_;  // delta_j
};

/// T2 over the whole breach grid (section 3); all 0 where a population has no request.
Grid relative_evidence(const Pair& counts, const Margin& margin);

/// Share of C that a phase's first look moves: faults that come with traffic (6.1).
inline constexpr double phase_start_share = 0.25;

struct Mass {
    double ln_kept = 0;   // ln C after the look
    double ln_moved = 0;  // ln w: given to "a fault starts now", shared by the streams
};
/// Section 1: h = eta at a phase's first look, else 1 - exp(-dt / H). The geometric prior of
/// Shiryaev 1963 on when a fault begins; since its weights sum to at most 1, C + the sum of all R
/// is a nonnegative supermartingale from 1 on, and reaches 1/alpha with a chance of at most alpha
/// (Ville 1939). The start share eta is an own choice: it is spent like any other mass.
Mass move_mass(double ln_c, bool phase_start, double minutes, double horizon_minutes,
               double eta = phase_start_share);
/// Section 1, one stream: R_j = (R_j + mass) exp(l_j), with mass = w v / J. Shiryaev's 1963
/// recursion, a mixture over all beginnings in one number.
void add_look(Grid& ln_r, double ln_mass, const Grid& l);

/// A stream's share v of the mass, as ln (v / J): every active claim has an equal share, half of it
/// is the total's, the other half is shared by the segments; without segments the total has all
/// (6.2); a claim on a query has no segments. Averages of e-values are e-values, however they
/// depend on each other (Vovk & Wang 2021).
struct Shares {
    double ln_total = 0;
    double ln_segment = 0;
};
Shares shares_of(std::size_t claims, std::size_t segments);

/// G_j of one scope and limit after the baseline's evidence of a look (7.2): the cumulative sum of
/// Page 1954. That it forgets within the hour and is capped is an own derivation: it only ever
/// lowers evidence, so it needs no promise, and has to end when the outage does.
void add_baseline(Grid& guard, const Grid& l, double minutes);
/// max_j G_j >= ln 100.
bool guard_on(const Grid& guard);

/// Adds counted failures to those of the same blocks (7.1). Own derivation: l rises with k for
/// every delta > 0, so leaving failures out is safe for harm.
void add_failures(std::vector<InBlock>& blocks, const std::vector<InBlock>& more);
std::int64_t most_in_one_block(const std::vector<InBlock>& blocks);

/// One stream of a ledger: a claim in a scope (total or segment). A relative stream has no floor,
/// calm, guard and gate.
struct Stream {
    Grid ln_r;                   // ln R_j, starts at -inf (section 6.4)
    std::vector<InBlock> floor;  // counted failures since ln sum R was last below 0 (7.1)
    Grid ln_calm;                // R at the end of the last look before the alarm that had
                                 // requests and a plain rate not above the limit (7.3)
    Grid guard;                  // G_j of the baseline in this scope and limit (7.2), starts at 0
    std::int64_t requests = 0;   // raw, since the phase's warm-up: the gate's n (8.1), or n_c (3);
                                 // or what else the limit is per
    std::int64_t events = 0;     // raw: the gate's k; relative: x, a user's first in its block
    std::int64_t sum_e = 0;      // bursts of the phase; total scope only
    std::int64_t sum_e2 = 0;
    std::int64_t baseline_requests = 0;  // relative: n_b and y of the same looks, for people
    std::int64_t baseline_events = 0;
    Stream();
    [[nodiscard]] double ln_sum() const;
};

/// A look collected while an alarm waits for its confirmation (7.3).
struct Waited {
    Duration dt{0};
    std::int64_t requests = 0;  // or what else the limit is per
    std::int64_t events = 0;
};
struct Waiting {
    std::size_t stream = 0;  // the top limit stream at the alarm, among those with their floor
    TimePoint since;         // end of the alarm's look
    std::vector<Waited> looks;
    bool guard_seen = false;
};

/// The looks after the alarm's last long enough, and at least two of them have requests (7.3).
bool waited_enough(const std::vector<Waited>& looks, Duration wanted);
/// Cut in two halves, the plain rate is above the limit in both (7.3). Own derivation, a rule and
/// no test: it can only keep an alarm from acting, so the promise stands. False where no cut leaves
/// requests on both sides.
bool above_in_both_halves(const std::vector<Waited>& looks, double limit, Per per = Per::request);

/// The second ledger, of the criteria with `then: hold`, with an alpha of its own (section 1).
struct HoldLedger {
    double ln_c = 0;
    std::vector<Stream> streams;  // by claims_of(policy, Action::hold)
    bool acted = false;           // latched until a person resumes (7.3)
    std::size_t suspect = 0;      // the top stream when it acted
};

/// The accumulated evidence of one rollout: a value, stored with the state.
struct Ledger {
    double ln_c = 0;              // ln C: mass not yet given to any possible start of a fault
    std::vector<Stream> streams;  // by claims_of(policy, Action::rollback)
    std::optional<Waiting> waiting;
    bool failed_confirmation = false;  // latched until a person resumes
    std::size_t suspect = 0;           // its stream
    bool latched = false;              // rolled back by a criterion: for ever

    // The phase (a step's weight is on): set by begin_phase(), read by judge().
    bool phase_fresh = true;     // no look of this phase yet
    bool baseline_share = true;  // the baseline has users in this phase
    TimePoint phase_from;        // start of the phase's first look; warm-up counts from it

    HoldLedger hold;

    // Requests of both sides that came late, which relative streams drop, and all, of the day that
    // is counted (section 10). Stay 0 where the policy compares nothing.
    std::int64_t late_requests = 0;
    std::int64_t day_requests = 0;
    std::optional<TimePoint> day_from;
};

/// A ledger with every stream of the policy and no evidence.
Ledger new_ledger(const Policy& policy);
/// A step's weight is on since `from`: start mass, warm-up and the gate's counts begin anew; the
/// evidence of harm carries on (6.3).
Ledger begin_phase(const Policy& policy, Ledger ledger, TimePoint from, bool baseline_share);
/// What a person's resume does: R of these streams, of the ledger that rolls back and of the one
/// that holds, is 0 from now on and both ledgers' holds end (7.3). A number that is no stream is
/// ignored.
Ledger forget_streams(Ledger ledger, const std::vector<std::size_t>& streams,
                      const std::vector<std::size_t>& of_hold = {});
/// What a resume after a hold of the second ledger is about: the stream that made it act, and each
/// that holds as much evidence as all of them began with (sum R >= 1, 6.2).
std::vector<std::size_t> suspects_of(const HoldLedger& ledger);

}  // namespace canaryd
