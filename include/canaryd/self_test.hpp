// The assumptions of the statistics on legacy's own history (analysis 7.5): a part of its users
// plays the canary, the rest the baseline, and the same ledgers and triggers run. Both sides are
// the same service, so whatever acts is false; what breaks its assumption is named with its mend.
//
// Pure; one object on one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "canaryd/analysis.hpp"
#include "canaryd/policy.hpp"
#include "canaryd/rollout.hpp"

namespace canaryd {

/// One claim in one scope over the whole history.
struct StreamTest {
    std::string name;  // "errors, agent rides"
    Action then = Action::rollback;
    bool relative = false;
    double limit = 0;  // of a limit; 0 of a margin
    std::int64_t requests = 0;
    std::int64_t raw = 0;      // every event
    std::int64_t counted = 0;  // a user's first in its block: what the ledger sees
    double highest = -1e9;     // ln sum R at its highest
    double dispersion = 1;     // how much more blocks of 4 h differ than chance (7.4)
};

struct TriggerTest {
    std::int64_t fired = 0;   // began to act, while the rest of legacy did not break the same rule
    std::int64_t shared = 0;  // … while it did
    std::optional<TimePoint> first;
};

struct SelfTest {
    Weight weight;  // of the pretended canary
    TimePoint from, to;
    std::int64_t requests = 0;  // of the pretended canary
    std::int64_t looks = 0;
    double ln_m = 0, hold_ln_m = 0;  // at their highest
    std::optional<TimePoint> at;     // when the higher of them was
    std::string top;                 // its stream
    std::vector<StreamTest> streams;
    std::vector<TriggerTest> triggers;  // in the policy's order

    bool by_chance = false;  // the history has no users: each request's side was drawn

    // Of the users, where the history has any.
    std::int64_t users = 0, all_users = 0;            // of the pretended canary; of everybody
    std::int64_t without_user = 0, all_requests = 0;  // everybody's
    double users_per_request = 1;  // within a block of the harm floor, on the mean
};
/// M at which the assumptions are in doubt: a good installation gets there once in 20 (7.5).
inline constexpr double doubtful_m = 20;
/// A shorter history has not seen a week's days and nights (7.5).
inline constexpr Duration least_history = std::chrono::hours{24 * 7};

/// Looks of the pretended canary go in, in order, the result comes out.
class SelfTester {
public:
    /// The policy outlives it. Where `weight` is everybody there is no baseline.
    SelfTester(const Policy& policy, Weight weight);
    void add(const Look& look);
    [[nodiscard]] SelfTest result() const;

private:
    struct Blocks {
        std::int64_t block = 0;  // of 4 h
        std::vector<std::int64_t> requests, events, beside_requests, beside_events;
    };
    void add_counts(const Look& look, std::size_t stream, const Claim& claim, std::size_t scope);
    void add_triggers(const Look& look);

    const Policy& policy_;
    SelfTest test_;
    Ledger ledger_;
    Rollout rollout_;
    std::vector<Blocks> blocks_;  // by stream, those that roll back first
    std::map<std::string, bool> acting_;
};

/// Evidence that the pretended canary has not its share of the users: a mean of T1 in both
/// directions (section 3, sample ratio; that the mean of two is evidence: Vovk & Wang 2021). ln of
/// it.
double ln_sample_ratio(std::int64_t users, std::int64_t all_users, double share);

namespace text {
/// What breaks its assumption and what mends it, a sentence each; none: nothing does.
std::vector<std::string> self_test_warnings(const Policy& policy, const SelfTest& test);
std::string self_test_page(const Policy& policy, const SelfTest& test, int width);
}  // namespace text

}  // namespace canaryd
