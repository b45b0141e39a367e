// What the evidence says, for people. Nothing here decides.
#include <algorithm>
#include <cmath>
#include <utility>

#include "canaryd/analysis.hpp"
#include "daemon/core/counts.hpp"
#include "daemon/core/ledger.hpp"

namespace canaryd {

namespace {

double of_100(double ln_m, double alpha) {
    const double most = std::log(999'999.0);
    return std::exp(std::min(most, ln_m + std::log(100.0 * alpha)));
}

/// Where the streams of a limit are: in the ledger that rolls back, where both have it.
struct Found {
    Action then = Action::rollback;
    std::size_t total = 0;
};
std::optional<Found> place_of(const Rules& rules, const Limit& limit) {
    for (const Action then : {Action::rollback, Action::hold}) {
        const Book& book = then == Action::rollback ? rules.rollback : rules.hold;
        for (std::size_t c = 0; c < book.claims.size(); ++c) {
            const Claim& claim = book.claims[c];
            if (!claim.relative() && claim.signal == limit.signal && claim.p0 == limit.p0) {
                return Found{then, c * book.scopes};
            }
        }
    }
    return std::nullopt;
}

Finding finding_of(const Policy& policy, const Limit& limit, const Found& found, std::size_t scope,
                   const Stream& stream) {
    const double alpha = found.then == Action::rollback ? policy.false_rollback : policy.false_hold;
    Finding finding;
    finding.criterion = policy.criteria[limit.criterion].name;
    finding.segment = scope == 0 ? std::string{} : policy.segments[scope - 1];
    finding.limit = limit.p0;
    finding.bounds = bounds_of(stream.requests, stream.events, alpha, policy.false_promotion,
                               phi_of(policy, stream), limit.per);
    finding.then = found.then;
    finding.stream = found.total + scope;
    const double sum = stream.ln_sum();
    finding.harm = of_100(sum, alpha);
    if (sum >= -std::log(alpha) && has_floor(policy, stream)) {
        finding.outcome = Outcome::fail;
    } else if (proven_below(stream.requests, stream.events, limit.p0, policy.false_promotion,
                            phi_of(policy, stream), limit.per)) {
        finding.outcome = Outcome::pass;
    }
    return finding;
}

std::vector<Finding> findings(const Policy& policy, const Ledger& ledger, bool totals_only) {
    const Rules rules(policy);
    std::vector<Finding> findings;
    for (const Limit& limit : limits_of(policy)) {
        const std::optional<Found> found = place_of(rules, limit);
        if (!found) {
            continue;
        }
        const auto& streams =
            found->then == Action::rollback ? ledger.streams : ledger.hold.streams;
        const bool total_only = totals_only || limit.per != Per::request;
        for (std::size_t scope = 0; scope < (total_only ? 1 : rules.scopes); ++scope) {
            if (found->total + scope < streams.size()) {
                findings.push_back(
                    finding_of(policy, limit, *found, scope, streams[found->total + scope]));
            }
        }
    }
    return findings;
}

}  // namespace

double harm_of_100(const Policy& policy, double ln_m) {
    return of_100(ln_m, policy.false_rollback);
}

double hold_of_100(const Policy& policy, double ln_m) {
    return of_100(ln_m, policy.false_hold);
}

double ln_m_of(const Ledger& ledger) {
    return ln_m(ledger.ln_c, sums_of(ledger.streams));
}

double ln_m_of(const HoldLedger& ledger) {
    return ln_m(ledger.ln_c, sums_of(ledger.streams));
}

bool is_suspicious(const Policy& policy, const Ledger& ledger) {
    const double soft = std::log(policy.suspicious);
    return ln_m_of(ledger) >= soft - std::log(policy.false_rollback) ||
           ln_m_of(ledger.hold) >= soft - std::log(policy.false_hold);
}

std::vector<Finding> findings_of(const Policy& policy, const Ledger& ledger) {
    return findings(policy, ledger, false);
}

std::vector<Finding> totals_of(const Policy& policy, const Ledger& ledger) {
    return findings(policy, ledger, true);
}

std::vector<Comparison> comparisons_of(const Policy& policy, const Ledger& ledger) {
    const Rules rules(policy);
    std::vector<Comparison> comparisons;
    const auto add_all = [&](Action then, const Book& book, const std::vector<Stream>& streams,
                             double alpha) {
        for (std::size_t i = 0; i < std::min(streams.size(), book.streams()); ++i) {
            const Claim& claim = book.claim_of(i);
            if (!claim.relative()) {
                continue;
            }
            const Stream& stream = streams[i];
            const std::size_t scope = book.scope_of(i);
            const double sum = stream.ln_sum();
            comparisons.push_back(
                {policy.criteria[claim.criterion].name,
                 scope == 0 ? std::string{} : policy.segments[scope - 1], *claim.margin, then, i,
                 ledger.baseline_share, sum >= -std::log(alpha), stream.requests, stream.events,
                 stream.baseline_requests, stream.baseline_events, of_100(sum, alpha)});
        }
    };
    add_all(Action::rollback, rules.rollback, ledger.streams, policy.false_rollback);
    add_all(Action::hold, rules.hold, ledger.hold.streams, policy.false_hold);
    return comparisons;
}

std::string stream_name(const Policy& policy, std::size_t stream, Action then) {
    const Rules rules(policy);
    const Book& book = then == Action::hold ? rules.hold : rules.rollback;
    if (stream >= book.streams()) {
        return "stream " + std::to_string(stream);
    }
    const std::string& name = policy.criteria[book.claim_of(stream).criterion].name;
    const std::size_t scope = book.scope_of(stream);
    return scope == 0 ? name : name + ", " + policy.segment + " " + policy.segments[scope - 1];
}

}  // namespace canaryd
