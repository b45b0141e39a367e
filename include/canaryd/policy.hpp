// What an operator asked for: steps, criteria, triggers, and everything that has a default.
//
// A Policy is a value. It is made by parse_policy() from one YAML file, pinned by its hash when a
// rollout starts, and never changes afterwards.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace canaryd {

using Duration = std::chrono::milliseconds;
/// Wall clock, UTC. For looks, schedules and people; durations that decide are accumulated.
using TimePoint = std::chrono::sys_time<Duration>;

/// Share of users on the canary, in basis points: 1 = 0.01 %, 10000 = everybody.
struct Weight {
    int basis_points = 0;
    [[nodiscard]] double share() const { return basis_points / 10'000.0; }
    friend auto operator<=>(const Weight&, const Weight&) = default;
};
inline constexpr Weight nobody{0};
inline constexpr Weight everybody{10'000};

/// What a trigger does when it fires, weakest first.
enum class Action { warn, hold, rollback };

/// What a limit's events are counted against: requests, hours, or clusters, which are whatever a
/// query counts, such as sessions, each with its share of events from 0 to 1 (analysis 7.4). Where
/// requests are whole numbers, hours are whole milliseconds, and clusters and the sum of their
/// shares whole millionths. Limits and rates are per hour, else shares.
enum class Per { request, hour, cluster };
/// What one event is kept as, and one cluster.
constexpr int unit_of(Per per) {
    return per == Per::cluster ? 1'000'000 : 1;
}

/// What is counted as an event. Of requests: failed ones (error or timeout), or those slower than a
/// duration (a timeout is slow whatever its duration). `latency_p95 below 2s` is the event
/// "slower than 2s" with a limit of 5 %: no quantile is ever estimated (analysis 4). Or what a
/// query of `metrics` counts in a time, such as crashes, or in its clusters: the canary's alone, in
/// total (analysis 5, 7.4).
struct Signal {
    enum class Kind { failed, slower, counted };
    Kind kind = Kind::failed;
    Duration than{0};
    std::string number{};    // counted: the query's name
    Per per = Per::request;  // counted: hour or cluster
    friend auto operator<=>(const Signal&, const Signal&) = default;
};

/// How much worse than the baseline's share of events is still fine: at most
/// `times` * its share + `plus` (rho and dm of analysis 3).
struct Margin {
    double times = 1.0;  // at least 1
    double plus = 0.0;   // a share, 0.001 = 0.1 pp
    friend auto operator<=>(const Margin&, const Margin&) = default;
};

/// How much wider counts vary than those of independent requests would, measured on legacy's own
/// history before the rollout (phi of analysis 7.4): evidence is divided by it. 1: not at all.
struct Dispersion {
    double limits = 1.0;       // at least 1; of limit streams, and of the gate (8.1)
    double comparisons = 1.0;  // at least 1; of relative streams
    friend auto operator<=>(const Dispersion&, const Dispersion&) = default;
};

/// One thing that is proven: a limit, which has to be proven to advance, or "no worse than the
/// baseline". Proven broken, it rolls back or holds.
struct Criterion {
    std::string name;
    std::string metric;  // error_rate, success_rate, latency_p95 …: the operator's word
    Signal signal;
    double limit = 0;  // highest healthy share of events, in (0, 1), or so many an hour; 0 where
                       // `no_worse_than` is set
    std::optional<Margin> no_worse_than = std::nullopt;  // than the baseline, beyond this margin
    Action then = Action::rollback;                      // or hold; never warn
};

struct Step {
    std::string name;
    Weight weight;
    Duration bake{0};
};

/// A plain counted rule over the last `over`: what a person can check in their head.
struct Trigger {
    enum class Kind {
        share,      // share of requests with `signal` above `threshold`
        traffic,    // canary's requests below `threshold` of weight x all requests
        number,     // a query's number above or below `threshold`
        off_weight  // the canary's share of the users seen is off its weight by over `threshold`,
                    // and by more than chance (three standard deviations) beyond that
    };
    std::string name;
    std::string metric;
    Kind kind = Kind::share;
    Signal signal;
    bool above = true;
    double threshold = 0;    // a share in [0, 1]; for number the number itself
    std::string as_written;  // "above 5%": the rule in the operator's words
    Duration over{0};
    int needed = 2;  // k of n looks; 1 of 1 is also read at peeks
    int looks = 3;
    std::int64_t at_least = 5;  // failures (share) or expected requests (traffic); else 0
    std::int64_t users = 3;     // different users among the failures (share); 0 otherwise
    bool each_segment = false;
    Action then = Action::rollback;
    [[nodiscard]] bool at_peeks() const { return needed == 1 && looks == 1; }
};

/// One number for the interval [$1, $2), or two (numbers_of), asked of the source's connection.
struct NumberQuery {
    std::string name;
    std::string query;
};

struct SourceSpec {
    std::string kind;        // sqlite, postgres
    std::string connection;  // named in canaryd.yaml
    std::string table;
    std::string query;  // postgres: a SELECT with the table's columns, in its place; else empty
};

/// How programs learn on which side a user is.
enum class Readers {
    function,  // they ask for the route: a change is one row, in force at once
    column,    // they read each user's flag, which follows the route in batches
    both
};

struct RouterSpec {
    std::string kind;  // sql
    std::string connection;
    std::optional<Readers> readers;  // nullopt: both where there is a flag column, else function
    /// Longest time that the canary stays exposed while no daemon renews it. A flag column cannot
    /// expire.
    std::optional<Duration> exposure_lease;
};

struct NotifySpec {
    std::string kind;  // slack, log
    std::string connection;
    std::string channel;
};

/// Everything in a policy file, defaults filled in (policies/README.md lists them).
struct Policy {
    std::string name;  // also the salt of the users' buckets: same name, same users
    std::string canary;
    std::vector<std::string> baseline;
    std::vector<std::string> protected_names;
    SourceSpec source;
    RouterSpec router;

    std::vector<Step> steps;  // weights rise strictly and end at 100 %
    Duration max_step{0};     // 0: three times the step's own bake
    Duration evaluate_every{std::chrono::minutes{5}};
    Duration peek_every{std::chrono::seconds{15}};
    Duration settle{std::chrono::seconds{30}};
    Duration warm_up{std::chrono::minutes{10}};

    std::vector<Criterion> criteria;
    std::vector<Trigger> triggers;
    std::vector<NumberQuery> metrics;

    std::string segment;                 // "agent", the word people use; empty: no segments
    std::string segment_column;          // "agent_type"
    std::vector<std::string> segments;   // the expected values, in the policy's order
    std::int64_t segment_requests = 50;  // seen enough to promote, per segment and step
    std::int64_t segment_users = 10;
    bool segment_ask = true;  // if_not: ask (extend and ask) or ignore

    bool hold_on_shared_outage = true;
    Duration blind_hold_after{std::chrono::minutes{15}};
    std::optional<Duration> blind_rollback_after;
    std::int64_t expect_requests = 1;
    Duration expect_within{std::chrono::hours{24}};
    double expect_share = 0.5;
    Duration expect_over{std::chrono::hours{6}};

    Duration confirm_without_baseline{std::chrono::minutes{20}};
    std::int64_t floor_users = 3;                     // harm_floor.users
    Duration floor_within{std::chrono::minutes{60}};  // harm_floor.within: the block of 7.1
    Dispersion dispersion;
    double suspicious = 0.05;       // share of the way to a rollback at which promotion waits
    double false_rollback = 0.01;   // alpha of the ledger that rolls back
    double false_hold = 0.01;       // alpha of the ledger of `then: hold`
    double false_promotion = 0.05;  // beta

    Duration soak{std::chrono::hours{24 * 30}};  // from reaching 100 %, last bake included

    std::vector<NotifySpec> notify;
    Duration report_day_1{std::chrono::hours{1}};
    Duration report_day_2_and_3{std::chrono::hours{6}};
    Duration report_later{std::chrono::hours{24}};

    std::string hash;  // sha256 of the file's bytes, hex; what "pinned" means

    [[nodiscard]] Duration max_step_of(std::size_t step) const {
        return max_step > Duration{0} ? max_step : 3 * steps[step].bake;
    }
};

/// Without the criteria on queries: of the past nobody knows what they counted then.
Policy without_counts(Policy policy);

/// A distinct (signal, limit): `error_rate below 1%` and `success_rate above 99%` are one.
struct Limit {
    std::size_t signal = 0;  // index into signals_of()
    double p0 = 0;
    Per per = Per::request;
    std::size_t criterion = 0;  // the first criterion that says it, for its name
};

/// What one ledger tests, once: a limit, or a margin against the baseline. Criteria that say the
/// same are one claim (analysis 6.2).
struct Claim {
    std::size_t signal = 0;  // index into signals_of()
    double p0 = 0;           // of a limit
    Per per = Per::request;
    std::optional<Margin> margin;
    std::size_t criterion = 0;  // the first criterion that says it, for its name
    [[nodiscard]] bool relative() const { return margin.has_value(); }
};

/// The distinct signals of the criteria, in the policy's order: Tally::events follow it.
std::vector<Signal> signals_of(const Policy& policy);
/// How many numbers this query of `metrics` gives: one, or where a criterion limits its share two,
/// the sum of the clusters' shares and how many clusters they are.
int numbers_of(const Policy& policy, const std::string& metric);
/// The distinct limits in the policy's order, whatever they do when broken: each has to be proven
/// to advance (analysis 8.1).
std::vector<Limit> limits_of(const Policy& policy);
/// The distinct claims of the criteria with this `then` (rollback or hold), in the policy's order.
/// A ledger's streams follow it, each claim with the total first and then the segments (6.2); of a
/// claim on a query those of the segments stay empty.
std::vector<Claim> claims_of(const Policy& policy, Action then);
/// Bakes of all steps but the last, plus the soak: the horizon H of the ledger (analysis 1).
Duration horizon_of(const Policy& policy);

/// A mistake in a file: where, what was written and what to write instead.
struct Problem {
    std::string file;
    int line = 0;    // 1-based; 0: the file as a whole
    int column = 0;  // 1-based, in characters
    std::string field;
    std::string message;  // names the value as written and the mend
};
/// file:line:column: field: message
std::string to_string(const Problem& problem);

struct ParsedPolicy {
    std::optional<Policy> policy;  // set iff there are no problems
    std::vector<Problem> problems;
};

/// Reads one policy file's text. Never throws on bad text: every problem is reported at once.
/// Hostile input is bounded: 256 KiB, depth 32, 10 000 nodes, no aliases, one document.
ParsedPolicy parse_policy(std::string_view text, const std::string& file);

}  // namespace canaryd
