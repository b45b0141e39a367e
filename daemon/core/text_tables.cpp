// The tables of the status page: criteria, and agents (or whatever the segments are).
#include <algorithm>
#include <cmath>

#include "daemon/core/text_parts.hpp"

namespace canaryd::text {
namespace {

constexpr std::size_t most_segments = 40;

std::string rate_cell(double rate) {
    return rate > 0 ? share(rate) : "0 %";
}

/// "2/h": a table has no room for words.
std::string short_rate(std::string words) {
    constexpr std::string_view per_hour = " per hour";
    if (words.ends_with(per_hour))
        words.replace(words.size() - per_hour.size(), words.size(), "/h");
    return words;
}

std::string proven_cell(const Bounds& bounds) {
    return bounds.proves_upper() ? short_rate(rate_up(bounds.upper, bounds.per)) : "-";
}

std::string proof_word(Outcome outcome) {
    switch (outcome) {
        case Outcome::pass:
            return "proven";
        case Outcome::inconclusive:
            return "not yet";
        case Outcome::fail:
            return "broken";
    }
    return "";
}

/// The rows of one criterion: its counts, for a latency the estimated quantile as well.
void criterion_rows(Table& table, const View& view, const Criterion& criterion,
                    const Finding& total, std::size_t signal) {
    const auto legacy = baseline_rate(view, signal);
    const bool slower = criterion.signal.kind == Signal::Kind::slower;
    const bool seen = total.bounds.requests > 0;
    const Per per = total.bounds.per;
    if (per != Per::request) {
        table.row({"  " + criterion.name, seen ? text::seen(total.bounds.requests, per) : "-",
                   seen ? short_rate(rate(total.bounds.rate(), per)) : "-",
                   proven_cell(total.bounds), "-", short_rate(rate(total.limit, per)),
                   proof_word(total.outcome)});
        return;
    }
    table.row({"  " + criterion.name + (slower ? " over " + duration(criterion.signal.than) : ""),
               number(total.bounds.requests) + " req", seen ? rate_cell(total.bounds.rate()) : "-",
               proven_cell(total.bounds), legacy ? rate_cell(*legacy) : "-", share(total.limit),
               proof_word(total.outcome)});
    if (!slower) return;
    const double quantile = 1 - criterion.limit;
    const auto ours = view.rollout.canary.latency.quantile(quantile);
    const auto theirs = view.rollout.baseline.latency.quantile(quantile);
    table.row({"  p" + std::to_string(std::lround(100 * quantile)) + " (estimate)", "",
               ours ? latency(*ours) : "-", "", theirs ? latency(*theirs) : "-",
               latency(criterion.signal.than), ""});
}

/// A success rate is 1 - errors: the same stream, shown as both.
void success_row(Table& table, const View& view, const Criterion& criterion, const Finding& total,
                 std::size_t signal) {
    const auto legacy = baseline_rate(view, signal);
    table.row({"  " + criterion.name, "",
               total.bounds.requests > 0 ? share(1 - total.bounds.rate()) : "-", "",
               legacy ? share(1 - *legacy) : "-", share(1 - criterion.limit),
               "1 - " + (total.criterion == criterion.name ? "errors" : total.criterion)});
}

/// The first limit on failed requests: what the agents are shown by.
const Criterion* failing_criterion(const Policy& policy) {
    for (const Criterion& criterion : policy.criteria) {
        if (criterion.signal.kind == Signal::Kind::failed) return &criterion;
    }
    return nullptr;
}

std::string segment_note(const View& view, const SegmentState& state,
                         const std::vector<Finding>& found, const std::string& segment,
                         const Finding* finding) {
    double most = 0;
    for (const Finding& one : found) {
        if (one.segment == segment) most = std::max(most, one.harm);
    }
    if (most >= view.policy.suspicious * 100) return "suspicious, harm " + harm(most);
    if (!state.seen_enough(view.policy)) return "not seen enough";
    if (finding != nullptr && finding->bounds.upper > finding->limit) return "too few to prove";
    return "";
}

}  // namespace

std::string criteria_table(const View& view, const std::vector<Finding>& found,
                           const Paper& paper) {
    const auto limits = limits_of(view.policy);
    Table table("lrrrrrl");
    table.title("This step");
    table.row({"", "", "canary", "proven below", "legacy", "limit", ""});
    bool any = false;
    for (std::size_t i = 0; i < view.policy.criteria.size(); ++i) {
        const Criterion& criterion = view.policy.criteria[i];
        const auto at = limit_of(view.policy, criterion);
        if (!at) continue;
        const Limit& limit = limits[*at];
        const Finding* total = find(found, view.policy.criteria[limit.criterion].name, "");
        if (total == nullptr) continue;
        any = true;
        if (limit.criterion == i) {
            Criterion shown = criterion;
            if (criterion.metric == "success_rate") shown.name = "errors";
            criterion_rows(table, view, shown, *total, limit.signal);
        }
        if (criterion.metric == "success_rate") {
            success_row(table, view, criterion, *total, limit.signal);
        }
    }
    if (!any) return "";
    const std::string compared = comparison_words(view);
    return "\n" + table.draw(paper) +
           (compared.empty() ? "" : "  " + wrap(clean(compared), paper.width, 4) + "\n");
}

std::string segment_table(const View& view, const std::vector<Finding>& found, const Paper& paper) {
    const Policy& policy = view.policy;
    const auto& states = view.rollout.segments;
    if (policy.segments.empty() || states.empty()) return "";
    const Criterion* criterion = failing_criterion(policy);
    Table table("lrrrrrl");
    std::string title = policy.segment + "s";
    if (title[0] >= 'a' && title[0] <= 'z') title[0] = static_cast<char>(title[0] - 'a' + 'A');
    table.title(title);
    table.row({"", "req", "failed", "rate", "proven below", "last seen", ""});
    for (std::size_t i = 0; i < policy.segments.size() && i < states.size(); ++i) {
        if (i == most_segments) {
            table.row({"  and " + std::to_string(policy.segments.size() - i) + " more"});
            break;
        }
        const SegmentState& state = states[i];
        const Finding* finding =
            criterion == nullptr ? nullptr : find(found, criterion->name, policy.segments[i]);
        const double rate = state.requests > 0 ? static_cast<double>(state.events_failed) /
                                                     static_cast<double>(state.requests)
                                               : 0.0;
        table.row({"  " + policy.segments[i], number(state.requests), number(state.events_failed),
                   state.requests > 0 ? rate_cell(rate) : "-",
                   finding == nullptr ? "-" : proven_cell(finding->bounds),
                   state.last_request ? ago(view.now, *state.last_request) : "never",
                   segment_note(view, state, found, policy.segments[i], finding)});
    }
    return "\n" + table.draw(paper);
}

}  // namespace canaryd::text
