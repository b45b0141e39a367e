// One look's counts in the ledger's order, checked: what cannot be is no evidence (analysis 10).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "canaryd/evidence.hpp"
#include "canaryd/policy.hpp"

namespace canaryd {

/// From here on a double no longer holds every whole number.
inline constexpr std::int64_t most_events = std::int64_t{1} << 53;

struct Events {
    std::int64_t counted = 0;      // a user's first in its block, late ones too: harm
    std::int64_t raw = 0;          // every one, late ones too: health
    std::int64_t own = 0;          // every one of the look's own rows: the plain rate
    std::int64_t own_counted = 0;  // a user's first, of the look's own rows: relative harm
};
struct Requests {
    std::int64_t all = 0;  // late ones too
    std::int64_t own = 0;
};
/// Counts of one stream in one look; what its limit is per stands for requests.
struct StreamCounts {
    Requests requests;
    Events events;
};

/// The claims of one ledger; each has a stream in every scope, the total first.
struct Book {
    std::vector<Claim> claims;
    std::size_t scopes = 1;  // the total is scope 0

    [[nodiscard]] std::size_t streams() const { return claims.size() * scopes; }
    [[nodiscard]] const Claim& claim_of(std::size_t stream) const {
        return claims[stream / scopes];
    }
    [[nodiscard]] std::size_t scope_of(std::size_t stream) const { return stream % scopes; }
    /// What a query counts is counted in total: the segments' streams of a claim on it stay empty.
    [[nodiscard]] bool counts(std::size_t stream) const {
        return claim_of(stream).per == Per::request || scope_of(stream) == 0;
    }
};

/// What looks are judged by, worked out from a policy: which stream is which claim and scope.
struct Rules {
    explicit Rules(const Policy& of);
    const Policy& policy;
    Book rollback, hold;
    std::size_t signals = 0;
    std::size_t scopes = 1;
    bool relative = false;  // some claim compares with the baseline

    /// nullopt: a segment the policy does not know; its requests are in the total's tally.
    [[nodiscard]] std::optional<std::size_t> scope_named(const std::string& segment) const;
    /// "errors, agent rides", by the first criterion on the signal.
    [[nodiscard]] std::string name_of(std::size_t scope, std::size_t signal) const;
    /// Where a Side has the stream's events.
    [[nodiscard]] std::size_t place_of(const Book& book, std::size_t stream) const {
        return book.scope_of(stream) * signals + book.claim_of(stream).signal;
    }
};

/// One population's counts of a look, by scope and signal.
struct Side {
    std::vector<Requests> requests;
    std::vector<Events> events;         // [scope * signals + signal]
    std::vector<char> usable;           // the same order: the counts fit the requests
    std::vector<StreamCounts> queried;  // by signal: what queries count; late and own ones alike

    /// Nothing where the counts cannot be used.
    [[nodiscard]] StreamCounts seen_by(const Rules& rules, const Book& book,
                                       std::size_t stream) const;
};

struct Counts {
    Side canary, baseline;
    std::vector<Burst> bursts;       // by signal, canary's total
    std::vector<char> bursts_known;  // by signal: no failure came without its burst
    std::int64_t late_requests = 0;  // both sides' totals
    std::vector<std::string> remarks;
};
Counts read_counts(const Rules& rules, const Look& look);

}  // namespace canaryd
