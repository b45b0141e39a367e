// The page of a rollout that is over: rolled back, or finished.
#include <algorithm>

#include "daemon/core/text_parts.hpp"

namespace canaryd::text {
namespace {

/// What the evidence says of the stream that has the most harm in it, and of everybody else.
std::string evidence_lines(const View& view, const Paper& paper) {
    const auto found = findings(view);
    const Finding* top = worst(found);
    if (top == nullptr || top->harm < view.policy.suspicious * 100) return "";
    std::string page =
        continued(stream_words(view.policy, *top) + ": " + counts_words(view.policy, *top) +
                      " at this step, limit " + rate(top->limit, top->bounds.per) + ". Harm " +
                      harm(harm_of_100(view.policy, view.rollout.ln_m)) + " of 100.",
                  paper);
    if (top->segment.empty()) return page;
    const Finding* total = find(found, top->criterion, "");
    std::size_t suspects = 0;
    for (const std::string& segment : view.policy.segments) {
        const bool suspect = std::any_of(found.begin(), found.end(), [&](const Finding& finding) {
            return finding.segment == segment && finding.harm >= view.policy.suspicious * 100;
        });
        suspects += suspect ? 1 : 0;
    }
    std::string words;
    if (total != nullptr && total->bounds.requests > 0) {
        words = "All together: " + share(total->bounds.rate()) + ". ";
    }
    const std::size_t others = view.policy.segments.size() - suspects;
    words +=
        "The other " +
        counted(static_cast<std::int64_t>(others), view.policy.segment, view.policy.segment + "s") +
        ": no suspicion.";
    return page + continued(words, paper);
}

std::string error_lines(const View& view, const Paper& paper) {
    std::string page;
    for (const TopError& error : view.top_errors) {
        std::string words = number(error.times) + "x  " + error.message;
        for (const std::string& id : error.request_ids) words += "  req " + id;
        page += page.empty() ? labelled("Errors", words, paper) : continued(words, paper);
    }
    return page;
}

std::string legacy_words(const View& view) {
    std::string words;
    const auto signals = signals_of(view.policy);
    for (std::size_t i = 0; i < signals.size(); ++i) {
        const auto rate = baseline_rate(view, i);
        if (!rate) continue;
        if (!words.empty()) words += ", ";
        words += share(*rate) + (signals[i].kind == Signal::Kind::failed
                                     ? " errors"
                                     : " over " + duration(signals[i].than));
    }
    if (words.empty()) return "no request was seen there at this step";
    const auto p95 = view.rollout.baseline.latency.quantile(0.95);
    if (p95) words += ", p95 about " + latency(*p95);
    return words + " (" + counted(view.rollout.baseline.requests, "request", "requests") +
           " at this step)";
}

std::string route_lines(const View& view, const Paper& paper) {
    const Rollout& rollout = view.rollout;
    std::string page;
    if (rollout.applied == rollout.desired) {
        page =
            labelled("Traffic",
                     time_of_day(rollout.applied_since) + " UTC  " + weight(rollout.desired) +
                         " confirmed by the router" +
                         (rollout.rolled_back_at && rollout.applied_since > *rollout.rolled_back_at
                              ? ", " + duration(rollout.applied_since - *rollout.rolled_back_at) +
                                    " after the decision"
                              : ""),
                     paper);
    } else {
        page =
            labelled("Traffic", weight(rollout.desired) + " is ordered, not confirmed yet", paper);
    }
    if (view.served) {
        std::string words = "served " + weight(view.served->weight);
        if (view.served_at) words += " (read back " + ago(view.now, *view.served_at) + ")";
        page += continued(words, paper);
    }
    if (!view.router_error.empty()) page += continued("router: " + view.router_error, paper);
    return page;
}

std::string bake_words(const View& view) {
    const Rollout& rollout = view.rollout;
    std::string words;
    for (std::size_t i = 0; i < rollout.bake_seen.size() && i < view.policy.steps.size(); ++i) {
        words += view.policy.steps[i].name + " " + duration(rollout.bake_seen[i]) + ", ";
    }
    if (rollout.bake_seen.size() <= rollout.step && rollout.step < view.policy.steps.size()) {
        words += view.policy.steps[rollout.step].name + " " + duration(rollout.baked) + ", ";
    }
    return words.empty() ? "none" : words.substr(0, words.size() - 2);
}

}  // namespace

std::string over_page(const View& view, const Paper& paper) {
    const Rollout& rollout = view.rollout;
    const bool finished = rollout.status == Status::finished;
    const TimePoint at = rollout.rolled_back_at.value_or(rollout.changed_at);
    std::string page = heading(view, paper) + "\n" + way_back_lines(view);
    page += labelled("Why", rollout.reason, paper);
    if (!finished) page += evidence_lines(view, paper) + error_lines(view, paper);
    page += labelled("By",
                     rollout.changed_by + ", " + moment(at) + ", revision " +
                         number(static_cast<std::int64_t>(rollout.revision)),
                     paper);
    page += route_lines(view, paper);
    if (!finished) page += labelled("Legacy", legacy_words(view), paper);
    if (view.owed == 0 && view.notify_error.empty() && !view.policy.notify.empty()) {
        page += labelled("Told", "every message was delivered", paper);
    }
    page += asides(view, paper) + "\n";
    page += wrap(clean("Bake seen: " + bake_words(view) +
                       (rollout.overrides > 0
                            ? "; " + counted(rollout.overrides, "override", "overrides")
                            : "") +
                       "." + (finished ? "" : " This rollout is over; it will not rise again.")),
                 paper.width, 0) +
            "\n";
    if (!finished) {
        page += "When it is fixed (the same users come first):\n  canaryctl explain " +
                clean(rollout.id) + "\n  canaryctl start " + clean(rollout.name) + "\n";
    }
    return page + footing(view, paper);
}

}  // namespace canaryd::text
