#include "canaryd/analysis.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "daemon/core/counts.hpp"
#include "daemon/core/ledger.hpp"
#include "daemon/core/maths.hpp"

namespace canaryd {

namespace {

bool above_limit(const StreamCounts& seen, const Claim& claim) {
    return rate_of(seen.requests.own, seen.events.own, claim.per) > claim.p0;
}

// --- Alarms -------------------------------------------------------------------------------------

/// Collects the look for the alarm that waits; at the end it latches or lowers R (7.3).
void confirm(const Rules& rules, const Look& look, const Counts& counts,
             const std::vector<char>& guarded, Verdict& verdict) {
    Ledger& next = verdict.ledger;
    Waiting& waiting = *next.waiting;
    const StreamCounts seen = counts.canary.seen_by(rules, rules.rollback, waiting.stream);
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
    const Claim& claim = rules.rollback.claim_of(waiting.stream);
    if (!waiting.guard_seen && above_in_both_halves(waiting.looks, claim.p0, claim.per)) {
        next.latched = true;
        verdict.suspect = waiting.stream;
    } else {
        next.failed_confirmation = true;
        next.suspect = waiting.stream;
        verdict.confirmation_failed = true;
        for (std::size_t i = 0; i < next.streams.size(); ++i) {
            Stream& stream = next.streams[i];
            for (std::size_t j = 0; j < grid_size && !rules.rollback.claim_of(i).relative(); ++j) {
                stream.ln_r[j] = std::min(stream.ln_r[j], stream.ln_calm[j]);
            }
        }
    }
    next.waiting.reset();
}

/// Remembers R where this look's plain rate was fine: what a failed confirmation goes back to.
void remember_calm(const Rules& rules, const Counts& counts, Ledger& next) {
    for (std::size_t i = 0; i < next.streams.size(); ++i) {
        const Claim& claim = rules.rollback.claim_of(i);
        if (claim.relative()) {
            continue;
        }
        const StreamCounts seen = counts.canary.seen_by(rules, rules.rollback, i);
        if (seen.requests.own > 0 && !above_limit(seen, claim)) {
            next.streams[i].ln_calm = next.streams[i].ln_r;
        }
    }
}

/// M is over 1/alpha: acts where there is a baseline to compare with, or where no limit stream is
/// part of what acts; else waits (7.3).
void alarm(const Rules& rules, const Look& look, std::vector<double> acting, Verdict& verdict) {
    Ledger& next = verdict.ledger;
    for (std::size_t i = 0; i < acting.size(); ++i) {
        if (rules.rollback.claim_of(i).relative()) {
            acting[i] = minus_infinity;
        }
    }
    const std::size_t top = top_of(acting);
    const bool comparable = next.baseline_share && look.baseline_complete;
    if (comparable || rules.policy.confirm_without_baseline <= Duration{0} ||
        acting[top] == minus_infinity) {
        next.latched = true;
        return;
    }
    next.waiting = Waiting{top, look.to, {}, false};
    verdict.alarm = true;
}

/// The second ledger acts: nothing rises until a person resumes (7.3).
void judge_hold(const Rules& rules, const Applied& applied, Verdict& verdict) {
    HoldLedger& hold = verdict.ledger.hold;
    if (hold.streams.empty()) {
        return;
    }
    std::vector<double> acting = acting_sums(rules.policy, rules.hold, hold.streams, applied.sums);
    verdict.hold_ln_m = ln_m(hold.ln_c, applied.sums);
    verdict.hold_ln_m_acting = ln_m(hold.ln_c, acting);
    verdict.hold_top = top_of(applied.sums);
    if (!hold.acted && verdict.hold_ln_m_acting >= -std::log(rules.policy.false_hold)) {
        hold.acted = true;
        hold.suspect = top_of(acting);
        verdict.hold_acted = true;
    }
}

Decision decision_of(const Verdict& verdict) {
    const Ledger& ledger = verdict.ledger;
    if (ledger.latched) {
        return Decision::rollback;
    }
    if (ledger.waiting) {
        return Decision::waiting;
    }
    if (ledger.failed_confirmation || ledger.hold.acted || verdict.guard) {
        return Decision::hold;
    }
    return verdict.suspicious ? Decision::suspicious : Decision::none;
}

/// Every limit of both ledgers, in total (8.1); nothing is proven where there is none.
bool proven_by(const Rules& rules, const Ledger& ledger) {
    bool any = false;
    const auto all_proven = [&](const Book& book, const std::vector<Stream>& streams) {
        for (std::size_t c = 0; c < book.claims.size(); ++c) {
            const Claim& claim = book.claims[c];
            if (claim.relative()) {
                continue;
            }
            any = true;
            const Stream& total = streams[c * book.scopes];
            if (!proven_below(total.requests, total.events, claim.p0, rules.policy.false_promotion,
                              phi_of(rules.policy, total), claim.per)) {
                return false;
            }
        }
        return true;
    };
    return all_proven(rules.rollback, ledger.streams) &&
           all_proven(rules.hold, ledger.hold.streams) && any;
}

/// Relative streams drop what came late: once a day it is said when that is too much (section 10).
bool late_too_often(const Rules& rules, const Look& look, const Counts& counts, Ledger& next) {
    if (!rules.relative) {
        return false;
    }
    constexpr Duration day = std::chrono::hours{24};
    if (!next.day_from) {
        next.day_from = look.from;
    }
    next.late_requests += counts.late_requests;
    next.day_requests += counts.canary.requests[0].all + counts.baseline.requests[0].all;
    if (look.to - *next.day_from < day) {
        return false;
    }
    const bool often =
        static_cast<double>(next.late_requests) > 0.01 * static_cast<double>(next.day_requests);
    next.late_requests = 0;
    next.day_requests = 0;
    next.day_from = look.to;
    return often;
}

void check_ledger(const Rules& rules, const Ledger& ledger) {
    const std::size_t streams = ledger.streams.size();
    const std::size_t holding = ledger.hold.streams.size();
    const bool waits_for_limit =
        !ledger.waiting || (ledger.waiting->stream < rules.rollback.streams() &&
                            !rules.rollback.claim_of(ledger.waiting->stream).relative());
    if (streams != rules.rollback.streams() || holding != rules.hold.streams() ||
        !waits_for_limit) {
        throw std::invalid_argument("ledger with " + std::to_string(streams) + " + " +
                                    std::to_string(holding) + " streams, but the policy '" +
                                    rules.policy.name + "' has " +
                                    std::to_string(rules.rollback.streams()) + " + " +
                                    std::to_string(rules.hold.streams()));
    }
}

}  // namespace

Verdict judge(const Policy& policy, const Ledger& ledger, const Look& look, double start_share) {
    const Rules rules(policy);
    check_ledger(rules, ledger);
    Verdict verdict;
    verdict.ledger = ledger;
    Ledger& next = verdict.ledger;
    Counts counts = read_counts(rules, look);
    BothApplied applied = apply_look(rules, look, counts, start_share, next);
    const std::vector<char>& guarded = applied.rollback.guarded;
    const auto any = [](const std::vector<char>& flags) {
        return std::find(flags.begin(), flags.end(), true) != flags.end();
    };
    verdict.guard = any(guarded) || any(applied.hold.guarded);

    std::vector<double>& sums = applied.rollback.sums;
    std::vector<double> acting = acting_sums(policy, rules.rollback, next.streams, sums);
    verdict.ln_m_acting = ln_m(next.ln_c, acting);
    verdict.suspect = top_of(acting);
    if (next.waiting) {
        confirm(rules, look, counts, guarded, verdict);
    } else if (!next.latched && verdict.ln_m_acting >= -std::log(policy.false_rollback)) {
        alarm(rules, look, std::move(acting), verdict);
    } else {
        remember_calm(rules, counts, next);
    }
    if (verdict.confirmation_failed) {
        sums = sums_of(next.streams);
        verdict.ln_m_acting =
            ln_m(next.ln_c, acting_sums(policy, rules.rollback, next.streams, sums));
    }
    verdict.ln_m = ln_m(next.ln_c, sums);
    verdict.top = top_of(sums);
    judge_hold(rules, applied.hold, verdict);
    const double soft = std::log(policy.suspicious);
    verdict.suspicious = verdict.ln_m >= soft - std::log(policy.false_rollback) ||
                         verdict.hold_ln_m >= soft - std::log(policy.false_hold);
    verdict.proven = proven_by(rules, next);
    verdict.raise_settle = late_too_often(rules, look, counts, next);
    verdict.remarks = std::move(counts.remarks);
    verdict.decision = decision_of(verdict);
    return verdict;
}

}  // namespace canaryd
