#include "daemon/core/ledger.hpp"

#include <algorithm>
#include <cmath>

#include "canaryd/dedup.hpp"
#include "canaryd/other_counts.hpp"
#include "daemon/core/maths.hpp"

namespace canaryd {

namespace {

/// Effects smaller than this are not believed while a phase warms up (section 10).
constexpr double gross_effect = 2.3;

/// What both ledgers make of one look.
struct Facts {
    const Rules& rules;
    const Look& look;
    const Counts& counts;
    double minutes = 0;
    double horizon = 0;  // H, in minutes
    double start_share = 0;
    bool phase_start = false;
    bool warming = false;
    bool baseline_share = false;
    bool comparable = false;  // both arms are complete: relative streams may learn (section 10)
};

/// The tests of a book's limits; those of relative claims are unused.
std::vector<LimitTest> tests_of(const Book& book) {
    std::vector<LimitTest> tests;
    tests.reserve(book.claims.size());
    for (const Claim& claim : book.claims) {
        tests.emplace_back(claim.p0, claim.per);
    }
    return tests;
}

/// Moves every G (7.2); for each stream, whether a shared outage is on for it. Those of queries,
/// which count the canary's alone, are not known yet.
std::vector<char> move_guards(const Facts& facts, const Book& book,
                              const std::vector<LimitTest>& tests, std::vector<Stream>& streams) {
    std::vector<char> own(streams.size(), false);
    for (std::size_t i = 0; i < own.size(); ++i) {
        if (book.claim_of(i).relative()) {
            continue;
        }
        Grid& guard = streams[i].guard;
        if (!facts.baseline_share) {
            guard.fill(0.0);
            continue;
        }
        const StreamCounts seen = facts.counts.baseline.seen_by(facts.rules, book, i);
        add_baseline(guard,
                     tests[i / book.scopes].evidence(static_cast<double>(seen.requests.all),
                                                     static_cast<double>(seen.events.counted)),
                     facts.minutes);
        own[i] = guard_on(guard);
    }
    if (!facts.rules.policy.hold_on_shared_outage) {
        return std::vector<char>(own.size(), false);
    }
    std::vector<char> guarded = own;
    for (std::size_t i = 0; i < own.size(); ++i) {
        guarded[i] = own[i] || own[i - book.scope_of(i)];
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

/// Both populations' own rows of a relative stream: the canary's failures as a user's first in its
/// block, the baseline's raw (7.1). Nothing where a side's counts cannot be used.
Pair pair_of(const Facts& facts, const Book& book, std::size_t stream) {
    const std::size_t at = facts.rules.place_of(book, stream);
    if (!facts.comparable || !facts.counts.canary.usable[at] || !facts.counts.baseline.usable[at]) {
        return {};
    }
    const StreamCounts ours = facts.counts.canary.seen_by(facts.rules, book, stream);
    const StreamCounts theirs = facts.counts.baseline.seen_by(facts.rules, book, stream);
    return {static_cast<double>(ours.requests.own), static_cast<double>(ours.events.own_counted),
            static_cast<double>(theirs.requests.own), static_cast<double>(theirs.events.own)};
}

/// The recursion of section 1 over every stream of one ledger. Only active claims share the mass;
/// a ledger without one moves none (6.2).
void move_evidence(const Facts& facts, const Book& book, const std::vector<LimitTest>& tests,
                   const std::vector<char>& guarded, double& ln_c, std::vector<Stream>& streams) {
    const auto active = [&](const Claim& claim) {
        return !claim.relative() || facts.baseline_share;
    };
    const auto claims =
        static_cast<std::size_t>(std::count_if(book.claims.begin(), book.claims.end(), active));
    if (claims == 0) {
        return;
    }
    const Mass mass =
        move_mass(ln_c, facts.phase_start, facts.minutes, facts.horizon, facts.start_share);
    const Shares shares = shares_of(claims, book.scopes - 1);
    const Shares undivided = shares_of(claims, 0);
    ln_c = mass.ln_kept;
    for (std::size_t i = 0; i < streams.size(); ++i) {
        const Claim& claim = book.claim_of(i);
        if (!active(claim) || !book.counts(i)) {
            continue;
        }
        const Dispersion& dispersion = facts.rules.policy.dispersion;
        Grid l;
        if (claim.relative()) {
            l = tempered(relative_evidence(pair_of(facts, book, i), *claim.margin),
                         dispersion.comparisons);
        } else {
            const StreamCounts seen = facts.counts.canary.seen_by(facts.rules, book, i);
            l = tempered(tests[i / book.scopes].evidence(static_cast<double>(seen.requests.all),
                                                         static_cast<double>(seen.events.counted)),
                         dispersion.limits);
        }
        const Shares& of = claim.per == Per::request ? shares : undivided;
        const double share = book.scope_of(i) == 0 ? of.ln_total : of.ln_segment;
        add_look(streams[i].ln_r, mass.ln_moved + share, admitted(l, facts.warming, guarded[i]));
    }
}

/// The phase's raw counts: the gate's (8.1), and what people see of a comparison.
void move_gate(const Facts& facts, const Book& book, std::vector<Stream>& streams) {
    const Counts& counts = facts.counts;
    for (std::size_t i = 0; i < streams.size(); ++i) {
        Stream& stream = streams[i];
        if (book.claim_of(i).relative()) {
            const Pair pair = pair_of(facts, book, i);
            stream.requests += static_cast<std::int64_t>(pair.canary);
            stream.events += static_cast<std::int64_t>(pair.events);
            stream.baseline_requests += static_cast<std::int64_t>(pair.baseline);
            stream.baseline_events += static_cast<std::int64_t>(pair.others);
            continue;
        }
        const StreamCounts seen = counts.canary.seen_by(facts.rules, book, i);
        if (book.claim_of(i).per != Per::request) {
            // One literal in a query could be the most that there may be, at each look.
            if (seen.requests.all > most_events - stream.requests) continue;
            // Each event, or cluster, stands alone.
            stream.requests += seen.requests.all;
            stream.events += seen.events.raw;
            stream.sum_e += seen.events.raw;
            stream.sum_e2 += seen.events.raw;
            continue;
        }
        const bool total = book.scope_of(i) == 0;
        const std::size_t signal = book.claim_of(i).signal;
        if (!counts.canary.usable[facts.rules.place_of(book, i)] ||
            (total && !counts.bursts_known[signal])) {
            continue;
        }
        stream.requests += seen.requests.all;
        stream.events += seen.events.raw;
        if (total) {
            stream.sum_e += counts.bursts[signal].sum_e;
            stream.sum_e2 += counts.bursts[signal].sum_e2;
        }
    }
}

/// After a look's evidence a limit stream below 0 forgets the users that failed; another one learns
/// of the look's (7.1). What a query counts is a user of its own, as a request without a user is.
void move_floors(const Facts& facts, const Book& book, const std::vector<double>& sums,
                 std::vector<Stream>& streams) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
        if (sums[i] < 0) {
            streams[i].floor.clear();
        }
    }
    const auto add_all = [&](const std::vector<Tally>& tallies) {
        for (const Tally& tally : tallies) {
            if (tally.who != Population::canary) {
                continue;
            }
            const std::optional<std::size_t> scope = facts.rules.scope_named(tally.segment);
            for (std::size_t c = 0; scope && c < book.claims.size(); ++c) {
                const std::size_t i = c * book.scopes + *scope;
                const std::size_t signal = book.claims[c].signal;
                if (!book.claims[c].relative() && book.claims[c].per == Per::request &&
                    sums[i] >= 0 && facts.counts.canary.usable[facts.rules.place_of(book, i)] &&
                    signal < tally.events.size()) {
                    add_failures(streams[i].floor, tally.events[signal].first);
                }
            }
        }
    };
    if (std::any_of(sums.begin(), sums.end(), [](double sum) { return sum >= 0; })) {
        add_all(facts.look.on_time);
        add_all(facts.look.late);
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
        const StreamCounts seen = facts.counts.canary.seen_by(facts.rules, book, i);
        const Per per = book.claim_of(i).per;
        if (per != Per::request && sums[i] >= 0 && seen.events.raw > 0) {
            // At least so many clusters had an event, since no share is above 1.
            const std::int64_t unit = unit_of(per);
            const std::int64_t alone = (seen.events.raw + unit - 1) / unit;
            const Duration within = facts.rules.policy.floor_within;
            add_failures(streams[i].floor, {{block_of(facts.look.from, within), alone}});
        }
    }
    for (Stream& stream : streams) {
        // Once there are enough users only the fullest block matters: the state stays small.
        if (stream.floor.size() > 1 && has_floor(facts.rules.policy, stream)) {
            const auto fullest = std::max_element(
                stream.floor.begin(), stream.floor.end(),
                [](const InBlock& a, const InBlock& b) { return a.failures < b.failures; });
            stream.floor = {*fullest};
        }
    }
}

/// Whether a shared outage is on for all requests together, by any limit.
bool outage_on(const Book& book, const std::vector<char>& guarded) {
    for (std::size_t i = 0; i < guarded.size(); i += book.scopes) {
        if (guarded[i]) return true;
    }
    return false;
}

/// What fails on both sides need not be the canary's doing where a query counts it, either. Own
/// derivation, as 7.2: it only ever lowers evidence.
void guard_queries(const Book& book, std::vector<char>& guarded) {
    for (std::size_t i = 0; i < guarded.size(); ++i) {
        if (book.claim_of(i).per != Per::request && book.counts(i)) guarded[i] = true;
    }
}

void apply_to(const Facts& facts, const Book& book, const std::vector<LimitTest>& tests,
              double& ln_c, std::vector<Stream>& streams, Applied& applied) {
    if (streams.empty()) {
        return;
    }
    move_evidence(facts, book, tests, applied.guarded, ln_c, streams);
    if (!facts.warming) {
        move_gate(facts, book, streams);
    }
    applied.sums = sums_of(streams);
    move_floors(facts, book, applied.sums, streams);
}

}  // namespace

BothApplied apply_look(const Rules& rules, const Look& look, const Counts& counts,
                       double start_share, Ledger& next) {
    if (next.phase_fresh) {
        next.phase_from = look.from;
    }
    const Duration horizon = std::max(horizon_of(rules.policy), Duration{1});
    const Facts facts{rules,
                      look,
                      counts,
                      minutes_of(std::max(look.to - look.from, Duration{0})),
                      minutes_of(horizon),
                      start_share,
                      next.phase_fresh,
                      look.to - next.phase_from <= rules.policy.warm_up,
                      next.baseline_share,
                      look.canary_complete && look.baseline_complete};
    BothApplied applied;
    const std::vector<LimitTest> tests = tests_of(rules.rollback);
    const std::vector<LimitTest> tests_of_hold = tests_of(rules.hold);
    applied.rollback.guarded = move_guards(facts, rules.rollback, tests, next.streams);
    applied.hold.guarded = move_guards(facts, rules.hold, tests_of_hold, next.hold.streams);
    if (outage_on(rules.rollback, applied.rollback.guarded) ||
        outage_on(rules.hold, applied.hold.guarded)) {
        guard_queries(rules.rollback, applied.rollback.guarded);
        guard_queries(rules.hold, applied.hold.guarded);
    }
    apply_to(facts, rules.rollback, tests, next.ln_c, next.streams, applied.rollback);
    apply_to(facts, rules.hold, tests_of_hold, next.hold.ln_c, next.hold.streams, applied.hold);
    next.phase_fresh = false;
    return applied;
}

bool has_floor(const Policy& policy, const Stream& stream) {
    return most_in_one_block(stream.floor) >= policy.floor_users;
}

std::vector<double> acting_sums(const Policy& policy, const Book& book,
                                const std::vector<Stream>& streams, std::vector<double> sums) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
        if (!book.claim_of(i).relative() && !has_floor(policy, streams[i])) {
            sums[i] = minus_infinity;
        }
    }
    return sums;
}

std::vector<double> sums_of(const std::vector<Stream>& streams) {
    std::vector<double> sums;
    sums.reserve(streams.size() + 1);
    for (const Stream& stream : streams) {
        sums.push_back(stream.ln_sum());
    }
    return sums;
}

double ln_m(double ln_c, std::vector<double> sums) {
    sums.push_back(ln_c);
    return log_sum_exp(sums.data(), sums.data() + sums.size());
}

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

double phi_of(const Policy& policy, const Stream& stream) {
    return std::max(burst_size(stream.sum_e, stream.sum_e2), policy.dispersion.limits);
}

// --- The ledger as a value ----------------------------------------------------------------------

Ledger new_ledger(const Policy& policy) {
    const std::size_t scopes = 1 + policy.segments.size();
    Ledger ledger;
    ledger.streams.resize(claims_of(policy, Action::rollback).size() * scopes);
    ledger.hold.streams.resize(claims_of(policy, Action::hold).size() * scopes);
    ledger.baseline_share = !policy.baseline.empty();
    return ledger;
}

Ledger begin_phase(const Policy& policy, Ledger ledger, TimePoint from, bool baseline_share) {
    ledger.phase_fresh = true;
    ledger.phase_from = from;
    ledger.baseline_share = baseline_share && !policy.baseline.empty();
    for (std::vector<Stream>* streams : {&ledger.streams, &ledger.hold.streams}) {
        for (Stream& stream : *streams) {
            stream.requests = 0;
            stream.events = 0;
            stream.sum_e = 0;
            stream.sum_e2 = 0;
            stream.baseline_requests = 0;
            stream.baseline_events = 0;
        }
    }
    return ledger;
}

Ledger forget_streams(Ledger ledger, const std::vector<std::size_t>& streams,
                      const std::vector<std::size_t>& of_hold) {
    const auto forget = [](std::vector<Stream>& all, const std::vector<std::size_t>& named) {
        for (const std::size_t i : named) {
            if (i < all.size()) {
                all[i].ln_r.fill(minus_infinity);
                all[i].floor.clear();
            }
        }
    };
    forget(ledger.streams, streams);
    forget(ledger.hold.streams, of_hold);
    ledger.failed_confirmation = false;
    ledger.hold.acted = false;
    return ledger;
}

std::vector<std::size_t> suspects_of(const HoldLedger& ledger) {
    std::vector<std::size_t> suspects;
    for (std::size_t i = 0; i < ledger.streams.size(); ++i) {
        if (i == ledger.suspect || ledger.streams[i].ln_sum() >= 0) {
            suspects.push_back(i);
        }
    }
    return suspects;
}

}  // namespace canaryd
