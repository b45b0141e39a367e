#include "daemon/core/counts.hpp"

#include <algorithm>
#include <cmath>

namespace canaryd {

namespace {

/// False for a number that is no count, or a sum that would not be exact.
bool add(std::int64_t& sum, std::int64_t more) {
    if (more < 0 || more > most_events - sum) {
        return false;
    }
    sum += more;
    return true;
}

void add_tally(const Rules& rules, const Tally& tally, std::size_t scope, bool late, Side& side) {
    Requests& requests = side.requests[scope];
    bool fits = add(requests.all, tally.requests);
    fits = fits && (late || add(requests.own, tally.requests));
    for (std::size_t signal = 0; signal < rules.signals; ++signal) {
        const std::size_t at = scope * rules.signals + signal;
        bool exact = fits;
        if (fits && signal < tally.events.size()) {
            const Count& count = tally.events[signal];
            Events& events = side.events[at];
            exact = add(events.raw, count.raw) && (late || add(events.own, count.raw));
            for (const InBlock& block : count.first) {
                exact = exact && add(events.counted, block.failures) &&
                        (late || add(events.own_counted, block.failures));
            }
        } else if (tally.requests != 0) {
            exact = false;  // only a tally without a request needs no list of events
        }
        side.usable[at] = side.usable[at] && exact;
    }
}

void add_bursts(const Rules& rules, const Tally& tally, Counts& counts) {
    for (std::size_t signal = 0; signal < rules.signals; ++signal) {
        if (signal < tally.bursts.size()) {
            Burst& sum = counts.bursts[signal];
            const bool exact = add(sum.sum_e, tally.bursts[signal].sum_e) &&
                               add(sum.sum_e2, tally.bursts[signal].sum_e2);
            counts.bursts_known[signal] = counts.bursts_known[signal] && exact;
        } else if (signal < tally.events.size() && tally.events[signal].raw > 0) {
            counts.bursts_known[signal] = false;
        }
    }
}

/// Leaves out, scope by scope, the signals with more events than requests, and says so.
void check_side(const Rules& rules, const char* who, Side& side,
                std::vector<std::string>& remarks) {
    for (std::size_t at = 0; at < side.events.size(); ++at) {
        const std::size_t scope = at / rules.signals;
        const Requests& requests = side.requests[scope];
        const Events& events = side.events[at];
        const bool fits = events.counted <= requests.all && events.raw <= requests.all &&
                          events.own <= requests.own && events.own_counted <= requests.own;
        side.usable[at] = side.usable[at] && fits;
        if (!side.usable[at]) {
            remarks.push_back(rules.name_of(scope, at % rules.signals) + ": the " + who +
                              "'s counts do not fit its requests: no evidence from them");
        }
    }
}

/// The events of an hour, or of a cluster, and what they are counted against; nullopt for what
/// cannot be a count.
std::optional<StreamCounts> queried(const Window& window, Per per, Duration watched) {
    const double k = window.value.value_or(-1);
    if (per == Per::hour) {
        if (!(k >= 0) || k != std::floor(k) || k > static_cast<double>(watched.count())) {
            return std::nullopt;
        }
        const auto events = static_cast<std::int64_t>(k);
        return StreamCounts{{watched.count(), watched.count()}, {events, events, events, events}};
    }
    constexpr std::int64_t most_clusters = 10'000'000;
    const std::int64_t n = window.requests;
    if (n < 0 || n > most_clusters || !(k >= 0) || k > static_cast<double>(n)) {
        return std::nullopt;
    }
    const std::int64_t clusters = n * unit_of(Per::cluster);
    const std::int64_t events = std::llround(k * unit_of(Per::cluster));
    return StreamCounts{{clusters, clusters}, {events, events, events, events}};
}

/// What queries counted in the look. No number is no evidence: the source says why.
void read_queries(const Rules& rules, const Look& look, Side& canary,
                  std::vector<std::string>& remarks) {
    const std::vector<Signal> signals = signals_of(rules.policy);
    for (std::size_t s = 0; s < rules.signals; ++s) {
        if (signals[s].kind != Signal::Kind::counted) {
            continue;
        }
        for (const Window& window : look.windows) {
            if (window.trigger != count_window(signals[s].number) || !window.value) {
                continue;
            }
            const auto counts = queried(window, signals[s].per, look.to - look.from);
            if (window.from != look.from || window.to != look.to || !counts) {
                remarks.push_back(rules.name_of(0, s) + ": " + signals[s].number +
                                  (signals[s].per == Per::hour
                                       ? " is no count of the look's time"
                                       : " is no sum of shares of so many of the look's time") +
                                  ": no evidence from it");
                continue;
            }
            canary.queried[s] = *counts;
        }
    }
}

Side empty_side(const Rules& rules) {
    return {std::vector<Requests>(rules.scopes), std::vector<Events>(rules.scopes * rules.signals),
            std::vector<char>(rules.scopes * rules.signals, true),
            std::vector<StreamCounts>(rules.signals)};
}

}  // namespace

Rules::Rules(const Policy& of)
    : policy(of),
      rollback{claims_of(of, Action::rollback), 1 + of.segments.size()},
      hold{claims_of(of, Action::hold), 1 + of.segments.size()},
      scopes(1 + of.segments.size()) {
    for (const Book* book : {&rollback, &hold}) {
        for (const Claim& claim : book->claims) {
            signals = std::max(signals, claim.signal + 1);
            relative = relative || claim.relative();
        }
    }
}

std::optional<std::size_t> Rules::scope_named(const std::string& segment) const {
    if (segment.empty()) {
        return 0;
    }
    const auto place = std::find(policy.segments.begin(), policy.segments.end(), segment);
    if (place == policy.segments.end()) {
        return std::nullopt;
    }
    return 1 + static_cast<std::size_t>(place - policy.segments.begin());
}

std::string Rules::name_of(std::size_t scope, std::size_t signal) const {
    const Signal wanted = signals_of(policy)[signal];
    const auto place =
        std::find_if(policy.criteria.begin(), policy.criteria.end(),
                     [&](const Criterion& criterion) { return criterion.signal == wanted; });
    const std::string& name = place->name;
    return scope == 0 ? name : name + ", " + policy.segment + " " + policy.segments[scope - 1];
}

StreamCounts Side::seen_by(const Rules& rules, const Book& book, std::size_t stream) const {
    if (book.claim_of(stream).per != Per::request) {
        return book.counts(stream) ? queried[book.claim_of(stream).signal] : StreamCounts{};
    }
    const std::size_t at = rules.place_of(book, stream);
    return usable[at] ? StreamCounts{requests[book.scope_of(stream)], events[at]} : StreamCounts{};
}

Counts read_counts(const Rules& rules, const Look& look) {
    Counts counts{empty_side(rules),
                  empty_side(rules),
                  std::vector<Burst>(rules.signals),
                  std::vector<char>(rules.signals, true),
                  0,
                  {}};
    const auto read_all = [&](const std::vector<Tally>& tallies, bool late) {
        for (const Tally& tally : tallies) {
            const std::optional<std::size_t> scope = rules.scope_named(tally.segment);
            if (!scope) {
                continue;
            }
            const bool canary = tally.who == Population::canary;
            add_tally(rules, tally, *scope, late, canary ? counts.canary : counts.baseline);
            if (canary && *scope == 0) {
                add_bursts(rules, tally, counts);
            }
            if (late && *scope == 0) {
                static_cast<void>(add(counts.late_requests, tally.requests));
            }
        }
    };
    read_all(look.on_time, false);
    read_all(look.late, true);
    read_queries(rules, look, counts.canary, counts.remarks);
    check_side(rules, "canary", counts.canary, counts.remarks);
    check_side(rules, "baseline", counts.baseline, counts.remarks);
    for (std::size_t signal = 0; signal < rules.signals; ++signal) {
        if (!counts.bursts_known[signal]) {
            counts.remarks.push_back(rules.name_of(0, signal) +
                                     ": failures came without their bursts: they prove no health");
        }
    }
    return counts;
}

}  // namespace canaryd
