// Ink, tables and the numbers that several pages share.
#include "daemon/core/text_parts.hpp"

#include <algorithm>
#include <cmath>

#include "daemon/utf8.hpp"

namespace canaryd::text {
namespace {

constexpr int label_width = 9;

std::string padded(const std::string& cell, int width, bool right) {
    const auto gap = static_cast<std::size_t>(std::max(0, width - columns(cell)));
    return right ? std::string(gap, ' ') + cell : cell + std::string(gap, ' ');
}

double closeness(const Trigger& trigger, const TriggerState& state) {
    const double reached = state.reached;
    if (state.seen == 0 || !std::isfinite(reached)) return 0;
    if (trigger.kind == Trigger::Kind::traffic || !trigger.above) {
        return reached > 0 ? trigger.threshold / reached : 0;
    }
    return trigger.threshold > 0 ? reached / trigger.threshold : 0;
}

}  // namespace

std::string inked(const Paper& paper, Ink ink, const std::string& words) {
    if (!paper.colour) return words;
    const char* code = "";
    switch (ink) {
        case Ink::plain:
            return words;
        case Ink::green:
            code = "\x1b[1;32m";
            break;
        case Ink::yellow:
            code = "\x1b[1;33m";
            break;
        case Ink::red:
            code = "\x1b[1;31m";
            break;
        case Ink::dim:
            code = "\x1b[2m";
            break;
    }
    return code + words + "\x1b[0m";
}

std::string one_line(std::string_view words) {
    return with_words_for('\n', "; ", words);
}

std::string clean(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const Character next = first_character(text);
        if (next.valid && !is_control(next.code)) {
            out += text.substr(0, next.bytes);
        } else {
            out += '?';
        }
        text.remove_prefix(next.bytes);
    }
    return out;
}

int columns(std::string_view text) {
    return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    }));
}

std::string cut(const std::string& text, int width) {
    if (columns(text) <= width) return text;
    const int keep = std::max(width - 2, 0);
    std::string out;
    int used = 0;
    for (const char c : text) {
        const bool begins = (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
        if (begins && ++used > keep) break;
        out += c;
    }
    return out + "..";
}

std::string labelled(std::string_view label, std::string_view words, const Paper& paper) {
    // The label is padded with what wrap() cannot break: it sees one word.
    const std::string head = padded(std::string(label), label_width, false);
    const std::string body = wrap(clean(words), paper.width, label_width);
    return head + body + "\n";
}

std::string continued(std::string_view words, const Paper& paper) {
    return labelled("", words, paper);
}

void Table::row(std::vector<std::string> cells) {
    for (std::string& cell : cells) cell = clean(cell);
    cells.resize(alignment_.size());
    rows_.push_back(std::move(cells));
}

std::string Table::draw(const Paper& paper) const {
    std::vector<int> widths(alignment_.size(), 0);
    for (const auto& cells : rows_) {
        for (std::size_t i = 0; i < cells.size(); ++i) {
            widths[i] = std::max(widths[i], columns(cells[i]));
        }
    }
    int total = -2;
    for (const int width : widths) total += width + 2;
    const auto shrink = [&](int& column, int least) {
        const int by = std::min(std::max(total - paper.width, 0), std::max(column - least, 0));
        column -= by;
        total -= by;
    };
    shrink(widths.front(), 10);
    shrink(widths.back(), 4);
    std::string page;
    bool first = true;
    for (const auto& cells : rows_) {
        std::string line;
        for (std::size_t i = 0; i < cells.size(); ++i) {
            if (i > 0) line += "  ";
            line += padded(cut(cells[i], widths[i]), widths[i], alignment_[i] == 'r');
        }
        if (first && !title_.empty()) {
            const auto over = std::min(title_.size(), line.size());
            line.replace(0, over, title_);
        }
        first = false;
        line.erase(line.find_last_not_of(' ') + 1);
        page += cut(line, paper.width) + "\n";
    }
    return page;
}

bool fits(const Policy& policy, const Ledger& ledger) {
    const std::size_t scopes = policy.segments.size() + 1;
    return ledger.streams.size() == claims_of(policy, Action::rollback).size() * scopes &&
           ledger.hold.streams.size() == claims_of(policy, Action::hold).size() * scopes;
}

std::vector<Finding> findings(const View& view) {
    if (!fits(view.policy, view.rollout.ledger)) return {};
    return findings_of(view.policy, view.rollout.ledger);
}

std::vector<Comparison> comparisons(const View& view) {
    if (!fits(view.policy, view.rollout.ledger)) return {};
    return comparisons_of(view.policy, view.rollout.ledger);
}

const Finding* find(const std::vector<Finding>& findings, const std::string& criterion,
                    const std::string& segment) {
    for (const Finding& finding : findings) {
        if (finding.criterion == criterion && finding.segment == segment) return &finding;
    }
    return nullptr;
}

const Finding* worst(const std::vector<Finding>& findings) {
    const Finding* top = nullptr;
    for (const Finding& finding : findings) {
        if (finding.harm <= 0) continue;
        // Shown harm is capped: among those past the cap the highest rate is the culprit.
        if (top == nullptr || finding.harm > top->harm ||
            (finding.harm == top->harm && finding.bounds.rate() > top->bounds.rate())) {
            top = &finding;
        }
    }
    return top;
}

std::optional<double> baseline_rate(const View& view, std::size_t signal) {
    const Seen& seen = view.rollout.baseline;
    const auto signals = signals_of(view.policy);
    if (signal < signals.size() && signals[signal].kind == Signal::Kind::counted)
        return std::nullopt;
    if (seen.requests <= 0 || signal >= seen.events.size()) return std::nullopt;
    return static_cast<double>(seen.events[signal]) / static_cast<double>(seen.requests);
}

std::optional<std::size_t> limit_of(const Policy& policy, const Criterion& criterion) {
    const auto signals = signals_of(policy);
    const auto limits = limits_of(policy);
    for (std::size_t i = 0; i < limits.size(); ++i) {
        if (signals[limits[i].signal] == criterion.signal && limits[i].p0 == criterion.limit) {
            return i;
        }
    }
    return std::nullopt;
}

std::string stream_words(const Policy& policy, const Finding& finding) {
    if (finding.segment.empty()) return finding.criterion + ", all together";
    return finding.criterion + ", " + policy.segment + " " + finding.segment;
}

std::string counts_words(const Policy& policy, const Finding& finding) {
    std::string did = " failed";
    std::string number_of;
    for (const Criterion& criterion : policy.criteria) {
        if (criterion.name != finding.criterion) continue;
        number_of = criterion.signal.number;
        if (criterion.signal.kind == Signal::Kind::slower) {
            did = " took over " + duration(criterion.signal.than);
        }
    }
    const Bounds& bounds = finding.bounds;
    if (bounds.per != Per::request) {
        if (bounds.requests == 0) return "not counted yet";
        return of_query(number_of, bounds.requests, bounds.events, bounds.per) + " (" +
               rate(bounds.rate(), bounds.per) + ")";
    }
    if (bounds.requests == 0) return "no request yet";
    return number(bounds.events) + " of " + counted(bounds.requests, "request", "requests") + did +
           " (" + share(bounds.rate()) + ")";
}

std::string step_words(const View& view) {
    const std::size_t at = std::min(view.rollout.step, view.policy.steps.size() - 1);
    return view.policy.steps[at].name + ", step " + std::to_string(at + 1) + " of " +
           std::to_string(view.policy.steps.size());
}

std::string uncounted_words(const Rollout& rollout) {
    std::string words;
    for (std::size_t i = 0; i < uncounted_kinds; ++i) {
        if (rollout.uncounted[i] < std::chrono::seconds{1}) continue;
        if (!words.empty()) words += ", ";
        words += duration(std::chrono::floor<std::chrono::seconds>(rollout.uncounted[i])) + " " +
                 std::string(name(static_cast<Uncounted>(i)));
    }
    return words;
}

std::vector<std::string> criteria_words(const View& view) {
    const auto signals = signals_of(view.policy);
    const bool known = fits(view.policy, view.rollout.ledger);
    const auto found = known ? totals_of(view.policy, view.rollout.ledger) : std::vector<Finding>{};
    std::vector<std::string> all;
    for (const Limit& limit : limits_of(view.policy)) {
        const Criterion& criterion = view.policy.criteria[limit.criterion];
        const Finding* total = find(found, criterion.name, "");
        if (total == nullptr) continue;
        std::string words = criterion.name + ": " + counts_words(view.policy, *total);
        words += total->bounds.proves_upper()
                     ? ", proven below " + rate_up(total->bounds.upper, limit.per)
                     : ", nothing proven yet";
        words += ", limit " + rate(limit.p0, limit.per);
        const auto legacy = baseline_rate(view, limit.signal);
        if (legacy) words += "; legacy " + share(*legacy);
        if (signals[limit.signal].kind == Signal::Kind::slower) {
            const auto estimate = view.rollout.canary.latency.quantile(1 - limit.p0);
            if (estimate) {
                words += "; p" + std::to_string(std::lround(100 * (1 - limit.p0))) + " about " +
                         latency(*estimate);
            }
        }
        all.push_back(std::move(words));
    }
    const std::string compared = known ? comparison_words(view) : "";
    if (!compared.empty()) all.push_back(compared);
    return all;
}

std::string compared_counts(const Policy& policy, const Comparison& one) {
    const auto rate = [](std::int64_t k, std::int64_t n) {
        return n > 0 ? share(static_cast<double>(k) / static_cast<double>(n)) : "-";
    };
    Finding ours;
    ours.criterion = one.criterion;
    ours.bounds.requests = one.requests;
    ours.bounds.events = one.events;
    return counts_words(policy, ours) + ", legacy " + number(one.baseline_events) + " of " +
           number(one.baseline_requests) + " (" + rate(one.baseline_events, one.baseline_requests) +
           ")";
}

std::string comparison_words(const View& view) {
    const auto compared = comparisons(view);
    if (compared.empty()) return "";
    if (!compared.front().active) return "Against legacy: nothing to compare with at this weight";
    std::vector<std::string> fine, worse;
    for (const Comparison& one : compared) {
        const std::string where =
            one.criterion +
            (one.segment.empty() ? "" : ", " + view.policy.segment + " " + one.segment);
        if (one.harm >= view.policy.suspicious * 100) {
            worse.push_back(where + " " + (one.worse ? "proven worse" : "suspicious") + " (" +
                            compared_counts(view.policy, one) + "; allowed " + margin(one.margin) +
                            ", harm " + harm(one.harm) + " of 100)");
        } else if (one.segment.empty()) {
            fine.push_back(one.criterion + " (" + margin(one.margin) + ")");
        }
    }
    std::string words = "Against legacy: ";
    for (std::size_t i = 0; i < worse.size() && i < 3; ++i) words += (i > 0 ? "; " : "") + worse[i];
    if (fine.empty()) return words;
    return words + (worse.empty() ? "" : "; ") + list(fine) + " not proven worse";
}

std::vector<std::string> unseen_segments(const View& view) {
    std::vector<std::string> unseen;
    const auto& states = view.rollout.segments;
    for (std::size_t i = 0; i < view.policy.segments.size(); ++i) {
        if (i >= states.size() || !states[i].seen_enough(view.policy)) {
            unseen.push_back(view.policy.segments[i]);
        }
    }
    return unseen;
}

std::vector<Armed> armed(const View& view) {
    static const TriggerState nothing_seen;
    std::vector<Armed> all;
    const auto& states = view.rollout.triggers;
    const auto add = [&](const Trigger& trigger, const std::string& segment) {
        const auto known =
            states.find(segment.empty() ? trigger.name : trigger.name + "/" + segment);
        const TriggerState& state = known == states.end() ? nothing_seen : known->second;
        all.push_back({&trigger, &state, segment, looks_fired(trigger, state) >= trigger.needed,
                       closeness(trigger, state)});
    };
    for (const Trigger& trigger : view.policy.triggers) {
        if (!trigger.each_segment) {
            add(trigger, "");
            continue;
        }
        for (const std::string& segment : view.policy.segments) add(trigger, segment);
    }
    return all;
}

const Armed* closest(const std::vector<Armed>& all) {
    const Armed* top = nullptr;
    for (const Armed& one : all) {
        if (one.closeness > (top == nullptr ? 0.0 : top->closeness)) top = &one;
    }
    return top;
}

}  // namespace canaryd::text
