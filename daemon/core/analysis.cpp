#include "canaryd/analysis.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "daemon/core/counts.hpp"

namespace canaryd {

namespace {

constexpr double minus_infinity = -std::numeric_limits<double>::infinity();
/// Effects smaller than this are not believed while a phase warms up (section 10).
constexpr double gross_effect = 2.3;

double minutes_of(Duration duration) {
    return std::chrono::duration<double, std::ratio<60>>(duration).count();
}

bool above_limit(std::int64_t n, std::int64_t k, double p0) {
    return static_cast<double>(k) / static_cast<double>(n) > p0;
}

// --- Applying a look ----------------------------------------------------------------------------

/// Moves every G (7.2); for each stream, whether a shared outage is on for it.
std::vector<char> move_guards(const Rules& rules, const Counts& counts,
                              const std::vector<LimitTest>& tests, double minutes, Ledger& next) {
    std::vector<char> own(rules.streams(), false);
    for (std::size_t i = 0; i < own.size(); ++i) {
        Grid& guard = next.streams[i].guard;
        if (!next.baseline_share) {
            guard.fill(0.0);
            continue;
        }
        const StreamCounts seen = counts.baseline.seen_by(rules, i);
        add_baseline(guard,
                     tests[i / rules.scopes].evidence(static_cast<double>(seen.requests.all),
                                                      static_cast<double>(seen.events.counted)),
                     minutes);
        own[i] = guard_on(guard);
    }
    if (!rules.policy.hold_on_shared_outage) {
        return std::vector<char>(own.size(), false);
    }
    std::vector<char> guarded = own;
    for (std::size_t i = 0; i < own.size(); ++i) {
        guarded[i] = own[i] || own[i - rules.scope_of(i)];
    }
    return guarded;
}

/// The look's evidence of one stream, as far as warm-up and guard let it through.
Grid admitted(Grid l, bool warming, bool guarded) {
    for (std::size_t j = 0; j < grid_size; ++j) {
        if (warming && breach_grid[j] < gross_effect) {
            l[j] = 0.0;
        }
        if (guarded) {
            l[j] = std::min(l[j], 0.0);
        }
    }
    return l;
}

/// After a look's evidence a stream below 0 forgets the users that failed; another one learns of
/// the look's (7.1).
void move_floors(const Rules& rules, const Look& look, const Counts& counts,
                 const std::vector<double>& sums, Ledger& next) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
        if (sums[i] < 0) {
            next.streams[i].floor.clear();
        }
    }
    const auto add_all = [&](const std::vector<Tally>& tallies) {
        for (const Tally& tally : tallies) {
            const std::optional<std::size_t> scope = rules.scope_named(tally.segment);
            for (std::size_t l = 0; scope && l < rules.limits.size(); ++l) {
                const std::size_t i = l * rules.scopes + *scope;
                const std::size_t signal = rules.limits[l].signal;
                if (tally.who == Population::canary && sums[i] >= 0 &&
                    counts.canary.usable[rules.place_of(i)] && signal < tally.events.size()) {
                    add_failures(next.streams[i].floor, tally.events[signal].first);
                }
            }
        }
    };
    add_all(look.on_time);
    add_all(look.late);
    for (Stream& stream : next.streams) {
        // Once there are enough users only the fullest block matters: the state stays small.
        if (stream.floor.size() > 1 &&
            most_in_one_block(stream.floor) >= rules.policy.floor_users) {
            const auto fullest = std::max_element(
                stream.floor.begin(), stream.floor.end(),
                [](const InBlock& a, const InBlock& b) { return a.failures < b.failures; });
            stream.floor = {*fullest};
        }
    }
}

bool has_floor(const Policy& policy, const Stream& stream) {
    return most_in_one_block(stream.floor) >= policy.floor_users;
}

/// The phase's raw counts, for the gate (8.1).
void move_gate(const Rules& rules, const Counts& counts, Ledger& next) {
    for (std::size_t i = 0; i < next.streams.size(); ++i) {
        const bool total = rules.scope_of(i) == 0;
        const std::size_t signal = rules.limit_of(i).signal;
        if (!counts.canary.usable[rules.place_of(i)] || (total && !counts.bursts_known[signal])) {
            continue;
        }
        const StreamCounts seen = counts.canary.seen_by(rules, i);
        Stream& stream = next.streams[i];
        stream.requests += seen.requests.all;
        stream.events += seen.events.raw;
        if (total) {
            stream.sum_e += counts.bursts[signal].sum_e;
            stream.sum_e2 += counts.bursts[signal].sum_e2;
        }
    }
}

std::vector<double> sums_of(const Ledger& ledger) {
    std::vector<double> sums;
    sums.reserve(ledger.streams.size() + 1);
    for (const Stream& stream : ledger.streams) {
        sums.push_back(stream.ln_sum());
    }
    return sums;
}

/// ln M from the streams' sums; -inf leaves a stream out.
double ln_m(const Ledger& ledger, std::vector<double> sums) {
    sums.push_back(ledger.ln_c);
    return log_sum_exp(sums.data(), sums.data() + sums.size());
}

/// The number of the largest sum; of those as large within rounding, the lowest (6.2).
std::size_t top_of(const std::vector<double>& sums) {
    if (sums.empty()) {
        return 0;
    }
    const double largest = *std::max_element(sums.begin(), sums.end());
    std::size_t top = 0;
    while (sums[top] < largest - 1e-9) {
        ++top;
    }
    return top;
}

std::vector<double> acting_sums(const Policy& policy, const Ledger& ledger,
                                std::vector<double> sums) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
        if (!has_floor(policy, ledger.streams[i])) {
            sums[i] = minus_infinity;
        }
    }
    return sums;
}

// --- Alarms -------------------------------------------------------------------------------------

/// Collects the look for the alarm that waits; at the end it latches or lowers R (7.3).
void confirm(const Rules& rules, const Look& look, const Counts& counts,
             const std::vector<char>& guarded, Verdict& verdict) {
    Ledger& next = verdict.ledger;
    Waiting& waiting = *next.waiting;
    const StreamCounts seen = counts.canary.seen_by(rules, waiting.stream);
    const Waited now{look.to - look.from, seen.requests.own, seen.events.own};
    if (now.requests == 0 && !waiting.looks.empty() && waiting.looks.back().requests == 0) {
        // Silence in a row is one long look: no cut within it changes a half, and state stays
        // small.
        waiting.looks.back().dt += now.dt;
    } else {
        waiting.looks.push_back(now);
    }
    waiting.guard_seen = waiting.guard_seen || guarded[waiting.stream];
    if (!waited_enough(waiting.looks, rules.policy.confirm_without_baseline)) {
        return;
    }
    if (!waiting.guard_seen &&
        above_in_both_halves(waiting.looks, rules.limit_of(waiting.stream).p0)) {
        next.latched = true;
    } else {
        next.failed_confirmation = true;
        next.suspect = waiting.stream;
        verdict.confirmation_failed = true;
        for (Stream& stream : next.streams) {
            for (std::size_t j = 0; j < grid_size; ++j) {
                stream.ln_r[j] = std::min(stream.ln_r[j], stream.ln_calm[j]);
            }
        }
    }
    next.waiting.reset();
}

/// Remembers R where this look's plain rate was fine: what a failed confirmation goes back to.
void remember_calm(const Rules& rules, const Counts& counts, Ledger& next) {
    for (std::size_t i = 0; i < next.streams.size(); ++i) {
        const StreamCounts seen = counts.canary.seen_by(rules, i);
        if (seen.requests.own > 0 &&
            !above_limit(seen.requests.own, seen.events.own, rules.limit_of(i).p0)) {
            next.streams[i].ln_calm = next.streams[i].ln_r;
        }
    }
}

/// M is over 1/alpha: acts where there is a baseline to compare with, else waits (7.3).
void alarm(const Rules& rules, const Look& look, const std::vector<double>& acting,
           Verdict& verdict) {
    Ledger& next = verdict.ledger;
    const bool comparable = next.baseline_share && look.baseline_complete;
    if (comparable || rules.policy.confirm_without_baseline <= Duration{0}) {
        next.latched = true;
        return;
    }
    next.waiting = Waiting{top_of(acting), look.to, {}, false};
    verdict.alarm = true;
}

Decision decision_of(const Verdict& verdict) {
    if (verdict.ledger.latched) {
        return Decision::rollback;
    }
    if (verdict.ledger.waiting) {
        return Decision::waiting;
    }
    if (verdict.ledger.failed_confirmation || verdict.guard) {
        return Decision::hold;
    }
    return verdict.suspicious ? Decision::suspicious : Decision::none;
}

double phi_of(const Stream& stream) {
    return burst_size(stream.sum_e, stream.sum_e2);
}

bool proven_by(const Rules& rules, const Ledger& ledger) {
    bool proven = !rules.limits.empty();
    for (std::size_t l = 0; proven && l < rules.limits.size(); ++l) {
        const Stream& total = ledger.streams[l * rules.scopes];
        proven = proven_below(total.requests, total.events, rules.limits[l].p0,
                              rules.policy.false_promotion, phi_of(total));
    }
    return proven;
}

/// Evidence, floors and the gate's counts of one look: everything but decisions.
std::vector<char> apply_look(const Rules& rules, const Look& look, const Counts& counts,
                             double start_share, Ledger& next) {
    const Duration length = std::max(look.to - look.from, Duration{0});
    if (next.phase_fresh) {
        next.phase_from = look.from;
    }
    const bool warming = look.to - next.phase_from <= rules.policy.warm_up;
    std::vector<LimitTest> tests;
    tests.reserve(rules.limits.size());
    for (const Limit& limit : rules.limits) {
        tests.emplace_back(limit.p0);
    }
    std::vector<char> guarded = move_guards(rules, counts, tests, minutes_of(length), next);

    const Duration horizon = std::max(horizon_of(rules.policy), Duration{1});
    const Mass mass = move_mass(next.ln_c, next.phase_fresh, minutes_of(length),
                                minutes_of(horizon), start_share);
    const Shares shares = shares_of(rules.limits.size(), rules.policy.segments.size());
    next.ln_c = mass.ln_kept;
    for (std::size_t i = 0; i < next.streams.size(); ++i) {
        const StreamCounts seen = counts.canary.seen_by(rules, i);
        const Grid l = tests[i / rules.scopes].evidence(static_cast<double>(seen.requests.all),
                                                        static_cast<double>(seen.events.counted));
        const double share = rules.scope_of(i) == 0 ? shares.ln_total : shares.ln_segment;
        add_look(next.streams[i].ln_r, mass.ln_moved + share, admitted(l, warming, guarded[i]));
    }
    if (!warming) {
        move_gate(rules, counts, next);
    }
    next.phase_fresh = false;
    return guarded;
}

}  // namespace

Verdict judge(const Policy& policy, const Ledger& ledger, const Look& look, double start_share) {
    const Rules rules(policy);
    if (ledger.streams.size() != rules.streams() ||
        (ledger.waiting && ledger.waiting->stream >= rules.streams())) {
        throw std::invalid_argument("ledger with " + std::to_string(ledger.streams.size()) +
                                    " streams, but the policy '" + policy.name + "' has " +
                                    std::to_string(rules.streams()));
    }
    Verdict verdict;
    verdict.ledger = ledger;
    Ledger& next = verdict.ledger;
    Counts counts = read_counts(rules, look);
    const std::vector<char> guarded = apply_look(rules, look, counts, start_share, next);
    std::vector<double> sums = sums_of(next);
    move_floors(rules, look, counts, sums, next);
    verdict.guard = std::find(guarded.begin(), guarded.end(), true) != guarded.end();

    std::vector<double> acting = acting_sums(policy, next, sums);
    verdict.ln_m_acting = ln_m(next, acting);
    if (next.waiting) {
        confirm(rules, look, counts, guarded, verdict);
    } else if (!next.latched && verdict.ln_m_acting >= -std::log(policy.false_rollback)) {
        alarm(rules, look, acting, verdict);
    } else {
        remember_calm(rules, counts, next);
    }
    if (verdict.confirmation_failed) {
        sums = sums_of(next);
        verdict.ln_m_acting = ln_m(next, acting_sums(policy, next, sums));
    }
    verdict.ln_m = ln_m(next, sums);
    verdict.top = top_of(sums);
    verdict.suspicious =
        verdict.ln_m >= std::log(policy.suspicious) - std::log(policy.false_rollback);
    verdict.proven = proven_by(rules, next);
    verdict.remarks = std::move(counts.remarks);
    verdict.decision = decision_of(verdict);
    return verdict;
}

double harm_of_100(const Policy& policy, double ln_m) {
    const double most = std::log(999'999.0);
    return std::exp(std::min(most, ln_m + std::log(100.0 * policy.false_rollback)));
}

double ln_m_of(const Ledger& ledger) {
    return ln_m(ledger, sums_of(ledger));
}

std::vector<Finding> findings_of(const Policy& policy, const Ledger& ledger) {
    const Rules rules(policy);
    std::vector<Finding> findings;
    for (std::size_t i = 0; i < ledger.streams.size() && i < rules.streams(); ++i) {
        const Stream& stream = ledger.streams[i];
        const Limit& limit = rules.limit_of(i);
        const std::size_t scope = rules.scope_of(i);
        Finding finding;
        finding.criterion = policy.criteria[limit.criterion].name;
        finding.segment = scope == 0 ? std::string{} : policy.segments[scope - 1];
        finding.limit = limit.p0;
        finding.bounds = bounds_of(stream.requests, stream.events, policy.false_rollback,
                                   policy.false_promotion, phi_of(stream));
        finding.harm = harm_of_100(policy, stream.ln_sum());
        if (stream.ln_sum() >= -std::log(policy.false_rollback) && has_floor(policy, stream)) {
            finding.outcome = Outcome::fail;
        } else if (proven_below(stream.requests, stream.events, limit.p0, policy.false_promotion,
                                phi_of(stream))) {
            finding.outcome = Outcome::pass;
        }
        findings.push_back(std::move(finding));
    }
    return findings;
}

std::string stream_name(const Policy& policy, std::size_t stream) {
    const Rules rules(policy);
    if (stream >= rules.streams()) {
        return "stream " + std::to_string(stream);
    }
    const std::string& name = policy.criteria[rules.limit_of(stream).criterion].name;
    const std::size_t scope = rules.scope_of(stream);
    return scope == 0 ? name : name + ", " + policy.segment + " " + policy.segments[scope - 1];
}

}  // namespace canaryd
