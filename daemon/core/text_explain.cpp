// Why it did not promote, why it rolled back, and a trigger's numbers to check by hand.
#include <algorithm>
#include <cmath>

#include "daemon/core/text_parts.hpp"

namespace canaryd::text {
namespace {

constexpr std::size_t most_lines = 12;

/// Sentences, one a line; a dozen at most.
class Lines {
public:
    void add(std::string_view sentence) {
        if (count_ == most_lines) return;
        page_ += clean(sentence) + "\n";
        ++count_;
    }
    [[nodiscard]] std::size_t room() const { return most_lines - count_; }
    [[nodiscard]] const std::string& page() const { return page_; }

private:
    std::string page_;
    std::size_t count_ = 0;
};

std::string finding_line(const View& view, const Finding& finding) {
    std::string words =
        stream_words(view.policy, finding) + ": " + counts_words(view.policy, finding);
    if (finding.bounds.lower > 0 && finding.bounds.lower > finding.limit) {
        words += ", proven above " + rate(finding.bounds.lower, finding.bounds.per);
    } else if (finding.bounds.proves_upper()) {
        words += ", proven below " + rate_up(finding.bounds.upper, finding.bounds.per);
    } else {
        words += ", nothing proven yet";
    }
    words += "; limit " + rate(finding.limit, finding.bounds.per) + ", harm " + harm(finding.harm) +
             " of 100.";
    return words + finding_odds(view, finding);
}

/// The comparisons under suspicion, the worst first.
std::vector<Comparison> suspects(const View& view) {
    std::vector<Comparison> all;
    for (const Comparison& one : comparisons(view)) {
        if (one.harm >= 100 * view.policy.suspicious) all.push_back(one);
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Comparison& a, const Comparison& b) { return a.harm > b.harm; });
    return all;
}

void comparison_sentences(const View& view, Lines& lines, std::size_t keep_free) {
    for (const Comparison& one : suspects(view)) {
        if (lines.room() <= keep_free) return;
        const std::string where =
            one.segment.empty() ? ", all together" : ", " + view.policy.segment + " " + one.segment;
        const double alpha =
            one.then == Action::hold ? view.policy.false_hold : view.policy.false_rollback;
        lines.add(one.criterion + where + ": " + compared_counts(view.policy, one) + "; allowed " +
                  margin(one.margin) + " of legacy's share, harm " + harm(one.harm) +
                  " of 100. If it were just at that margin, a sequence like this would be seen " +
                  once_in(std::log(one.harm / (100 * alpha))) + ".");
    }
}

std::string harm_sentence(const View& view) {
    std::string words = "Harm " + harm(harm_of_100(view.policy, view.rollout.ln_m)) +
                        " of 100 in all (" + harm(view.policy.suspicious * 100) +
                        " is suspicious, 100 rolls back).";
    if (view.rollout.ln_m >= std::log(2.0)) {
        words += " If every rate were at its limit, a rollout like this would be seen " +
                 once_in(view.rollout.ln_m) + ".";
    }
    const HoldLedger& hold = view.rollout.ledger.hold;
    if (hold.streams.empty()) return words;
    return words + " For what holds: " + harm(hold_of_100(view.policy, ln_m_of(hold))) + " of 100.";
}

void trigger_sentences(const View& view, Lines& lines, std::size_t keep_free) {
    const auto all = armed(view);
    bool any = false;
    for (const Armed& one : all) {
        if (!one.fired || lines.room() <= keep_free) continue;
        any = true;
        lines.add("Trigger " + trigger_line(*one.trigger, *one.state, one.segment) + ".");
    }
    if (any || all.empty()) return;
    const Armed* top = closest(all);
    lines.add(top == nullptr ? "Triggers: none of " + std::to_string(all.size()) + " fired."
                             : "Triggers: none fired. Closest: " +
                                   trigger_line(*top->trigger, *top->state, top->segment) + ".");
}

std::string explain_rolled_back(const View& view) {
    const Rollout& rollout = view.rollout;
    const auto found = findings(view);
    Lines lines;
    const std::size_t at = std::min(rollout.step, view.policy.steps.size() - 1);
    lines.add(rollout.id + " was rolled back from " + weight(rollout.rolled_back_from) + " (" +
              view.policy.steps[at].name + ") by " + rollout.changed_by + " on " +
              moment(rollout.rolled_back_at.value_or(rollout.changed_at)) + ".");
    lines.add("Why: " + rollout.reason);
    comparison_sentences(view, lines, 8);
    if (const Finding* top = worst(found); top != nullptr) {
        lines.add("Most harm: " + finding_line(view, *top));
        const Finding* total = find(found, top->criterion, "");
        if (!top->segment.empty() && total != nullptr) lines.add(finding_line(view, *total));
    }
    lines.add(harm_sentence(view));
    const auto signals = signals_of(view.policy);
    for (std::size_t i = 0; i < signals.size(); ++i) {
        const auto legacy = baseline_rate(view, i);
        if (!legacy || signals[i].kind != Signal::Kind::failed) continue;
        lines.add("Legacy at the same step: " + share(*legacy) + " of " +
                  counted(rollout.baseline.requests, "request", "requests") + " failed.");
    }
    trigger_sentences(view, lines, 2);
    lines.add(what_next(view));
    lines.add("It will not rise again. When it is fixed: canaryctl start " + rollout.name +
              " (the same users come first).");
    return lines.page();
}

/// The first four of what is missing; the rest is counted.
std::string missing_sentence(const std::vector<Missing>& missing, const std::string& goal) {
    if (missing.empty()) return "Nothing is missing: the next good look lets it " + goal + ".";
    constexpr std::size_t most = 4;
    std::string words = "To " + goal + ", this is missing: ";
    for (std::size_t i = 0; i < missing.size() && i < most; ++i) {
        words += (i > 0 ? "; " : "") + missing[i].what;
    }
    if (missing.size() > most) words += "; and " + std::to_string(missing.size() - most) + " more";
    return words + ".";
}

std::string explain_running(const View& view) {
    const Rollout& rollout = view.rollout;
    const bool last = rollout.step + 1 == view.policy.steps.size();
    const auto missing = missing_to_advance(rollout, view.policy, view.now);
    const std::string goal =
        last ? "be finished" : "go to " + weight(view.policy.steps[rollout.step + 1].weight);
    Lines lines;
    lines.add(rollout.id + " is at " + weight(rollout.desired) + " (" + step_words(view) +
              "), state " + state_word(view) + ". " + what_next(view));
    lines.add(missing_sentence(missing, goal));
    const auto found = findings(view);
    const Finding* top = worst(found);
    for (const Finding& finding : found) {
        if (finding.segment.empty() && lines.room() > 4) lines.add(finding_line(view, finding));
    }
    if (top != nullptr && !top->segment.empty() && lines.room() > 3) {
        lines.add("Most harm: " + finding_line(view, *top));
    }
    comparison_sentences(view, lines, 3);
    const std::string takes = what_it_takes(view);
    lines.add(harm_sentence(view) + (takes.empty() ? "" : " " + takes));
    trigger_sentences(view, lines, 1);
    if (!rollout.reason.empty()) {
        lines.add("Newest change: " + rollout.reason + " (" + rollout.changed_by + ", " +
                  time(rollout.changed_at) + ").");
    }
    return lines.page();
}

/// "looks, newest first: broken, fine, fine".
std::string looks_words(const Trigger& trigger, const TriggerState& state) {
    const auto known = std::min<std::uint32_t>(
        {state.seen, static_cast<std::uint32_t>(std::max(trigger.looks, 0)), 32});
    if (known == 0) return "  no look yet";
    std::string words = "  looks, newest first: ";
    for (std::uint32_t i = 0; i < known; ++i) {
        words +=
            std::string(i == 0 ? "" : ", ") + ((state.fired >> i & 1U) != 0 ? "broken" : "fine");
    }
    return words;
}

std::string then_words(const Trigger& trigger) {
    switch (trigger.then) {
        case Action::warn:
            return "tells people and does nothing else";
        case Action::hold:
            return "holds the step until a person resumes";
        case Action::rollback:
            return "rolls back at once";
    }
    return "";
}

std::string unknown_trigger(const View& view, const std::string& asked) {
    std::vector<std::string> names;
    for (const Trigger& trigger : view.policy.triggers) names.push_back(trigger.name);
    return "No trigger is called " + clean(asked).substr(0, 64) + ". " +
           (names.empty() ? std::string("The policy has none.")
                          : "There are: " + list(names) + ".") +
           "\n";
}

}  // namespace

std::string explain(const View& view) {
    if (view.policy.steps.empty()) return "";
    const Rollout& rollout = view.rollout;
    switch (rollout.status) {
        case Status::rolled_back:
            return explain_rolled_back(view);
        case Status::finished: {
            Lines lines;
            lines.add(rollout.id + " is finished: " + rollout.reason + " (" + rollout.changed_by +
                      ", " + moment(rollout.changed_at) + ").");
            lines.add("Soaked " + duration(rollout.soaked) + " at 100 %; " +
                      counted(rollout.overrides, "override", "overrides") + ".");
            for (const std::string& words : criteria_words(view)) lines.add(words + ".");
            return lines.page();
        }
        case Status::pending:
        case Status::progressing:
        case Status::finishing:
            break;
    }
    return explain_running(view);
}

std::string explain_trigger(const View& view, const std::string& trigger) {
    std::string page;
    for (const Armed& one : armed(view)) {
        const Trigger& rule = *one.trigger;
        if (rule.name != trigger) continue;
        if (page.empty()) {
            page = clean("Rule: " + trigger_rule(rule)) + "; it " + then_words(rule) + ".\n";
            if (rule.kind == Trigger::Kind::share && !view.policy.baseline.empty() &&
                view.policy.hold_on_shared_outage) {
                page += "When legacy breaks the same rule in the same window it holds instead.\n";
            }
        }
        page += clean(trigger_line(rule, *one.state, one.segment)) + "; " +
                std::to_string(rule.needed) +
                " needed: " + (one.fired ? "fires" : "does not fire") + ".\n" +
                looks_words(rule, *one.state) + "\n";
        const Window& window = one.state->last;
        if (window.to > window.from) {
            page += "  count by hand: " + iso(window.from) + " up to and without " +
                    iso(window.to) + "\n";
        }
    }
    return page.empty() ? unknown_trigger(view, trigger) : page;
}

}  // namespace canaryd::text
