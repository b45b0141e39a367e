// One look against the criteria: what the evidence says now. Pure; any thread.
//
// judge() applies the look to the ledger (exactly once: the caller checks that the look begins
// where the last one ended) and decides in the order of rank of analysis 7.3. Bounds for people
// are computed on demand by findings_of(): they cost a bisection each and decide nothing.
#pragma once

#include <string>
#include <vector>

#include "canaryd/evidence.hpp"
#include "canaryd/policy.hpp"

namespace canaryd {

enum class Outcome { pass, inconclusive, fail };

/// Weakest first; a stronger one hides a weaker one (7.3).
enum class Decision { none, suspicious, hold, waiting, rollback };

struct Verdict {
    Decision decision = Decision::none;
    Ledger ledger;            // after the look
    double ln_m = 0;          // natural log of M, every stream: what is shown (section 1)
    double ln_m_acting = 0;   // without limit streams short of their floor: what acts (7.1)
    std::size_t top = 0;      // stream with the largest sum of R (6.2)
    std::size_t suspect = 0;  // the same of those that may act: whom a rollback names
    bool guard = false;       // a shared outage is on for some stream (7.2)
    bool suspicious = false;  // of either ledger, M at or above the suspicious share of 1/alpha
    bool proven = false;      // every limit proven in total, plain rate below it (8.1)
    bool confirmation_failed = false;  // by this look: a hold that waits for a person
    bool alarm = false;                // by this look: an alarm began to wait
    double hold_ln_m = 0;              // the same four of the ledger of `then: hold`; 0 without one
    double hold_ln_m_acting = 0;
    std::size_t hold_top = 0;
    bool hold_acted = false;           // by this look: a hold that waits for a person
    bool raise_settle = false;         // more than 1 % of a day came late: say so, once a day (10)
    std::vector<std::string> remarks;  // counts that could not be used and why: for people
};

/// Pure. Applies one look; `look.error` must be empty. Counts that cannot be (more failures than
/// requests, a negative number) are no evidence for their signal and are named in `remarks`.
/// Throws std::invalid_argument when the ledger is not one of this policy.
Verdict judge(const Policy& policy, const Ledger& ledger, const Look& look,
              double start_share = phase_start_share);

/// M as a share of 1/alpha, in "of 100": 5 = suspicious by default, 100 = roll back. At most
/// 999999.
double harm_of_100(const Policy& policy, double ln_m);
/// The same for the ledger of `then: hold`; 100 = hold.
double hold_of_100(const Policy& policy, double ln_m);
/// Either ledger is at the suspicious share of its 1/alpha: promotion waits (8.1).
bool is_suspicious(const Policy& policy, const Ledger& ledger);
/// ln M of a ledger, all streams, fixed order of sums.
double ln_m_of(const Ledger& ledger);
double ln_m_of(const HoldLedger& ledger);

/// What is proven of one limit in one scope, for people.
struct Finding {
    std::string criterion;
    std::string segment;  // empty: the total
    Outcome outcome = Outcome::inconclusive;
    double limit = 0;
    Bounds bounds;
    double harm = 0;  // this stream's own R, in of 100 of its ledger
    Action then = Action::rollback;
    std::size_t stream = 0;  // in that ledger
};
/// Fails by the ledger: the stream alone holds 1/alpha and has its floor of users. Passes by the
/// gate of 8.1. Limit by limit in limits_of(), the total first. Counts since the phase began.
std::vector<Finding> findings_of(const Policy& policy, const Ledger& ledger);
/// The totals only: what a report shows, at a ninth of the cost where there are eight segments.
std::vector<Finding> totals_of(const Policy& policy, const Ledger& ledger);

/// What is known of the canary against the baseline in one scope, for people (section 3).
struct Comparison {
    std::string criterion;
    std::string segment;  // empty: the total
    Margin margin;
    Action then = Action::hold;
    std::size_t stream = 0;                 // in that ledger
    bool active = false;                    // the baseline has a share in this phase
    bool worse = false;                     // this stream alone holds 1/alpha
    std::int64_t requests = 0, events = 0;  // the canary's, a user's first failure in its block
    std::int64_t baseline_requests = 0, baseline_events = 0;
    double harm = 0;  // in of 100 of its ledger
};
/// Criterion by criterion, those that roll back first, each the total first. Counts since the
/// phase began.
std::vector<Comparison> comparisons_of(const Policy& policy, const Ledger& ledger);

/// "errors, agent rides": the stream's name in people's words; `then` says of which ledger.
std::string stream_name(const Policy& policy, std::size_t stream, Action then = Action::rollback);

}  // namespace canaryd
