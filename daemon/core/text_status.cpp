// The page of `canaryctl status` while a rollout runs, or is finished.
#include <algorithm>
#include <cmath>

#include "daemon/core/text_parts.hpp"

namespace canaryd::text {
namespace {

constexpr int bar_width = 22;

double part(Duration seen, Duration of) {
    if (of <= Duration{0}) return 1;
    return static_cast<double>(seen.count()) / static_cast<double>(of.count());
}

std::string bake_lines(const View& view, const Paper& paper) {
    const Rollout& rollout = view.rollout;
    const Duration wanted = bake_wanted(rollout, view.policy);
    std::string words = bar(part(rollout.baked, wanted), bar_width) + " " +
                        duration(rollout.baked) + " of " + duration(wanted);
    if (rollout.extended > Duration{0}) words += " (" + duration(rollout.extended) + " added)";
    if (rollout.applied == rollout.desired && rollout.status != Status::pending) {
        words += ", since " + time(rollout.applied_since);
    }
    std::string page = labelled("Bake", words, paper);
    if (rollout.step + 1 == view.policy.steps.size() && rollout.desired == everybody) {
        page += labelled("Soak",
                         bar(part(rollout.soaked, view.policy.soak), bar_width) + " " +
                             duration(rollout.soaked) + " of " + duration(view.policy.soak),
                         paper);
    }
    const std::string lost = uncounted_words(rollout);
    if (!lost.empty()) page += continued("not counted: " + lost, paper);
    return page;
}

std::string traffic_lines(const View& view, const Paper& paper) {
    const Rollout& rollout = view.rollout;
    std::string words = "wanted " + weight(rollout.desired);
    if (view.served) {
        words += ", served " + weight(view.served->weight);
        if (view.served_at) words += " (read back " + ago(view.now, *view.served_at) + ")";
    } else {
        words += ", not read back yet";
    }
    const auto all = rollout.canary.requests + rollout.baseline.requests;
    if (all > 0 && rollout.baseline.requests > 0) {
        words += ", requests seen " +
                 share(static_cast<double>(rollout.canary.requests) / static_cast<double>(all));
    }
    std::string page = labelled("Traffic", words, paper);
    if (rollout.raise_expires && rollout.applied != rollout.desired) {
        page += continued(
            "the raise lapses unless confirmed by " + time_of_day(*rollout.raise_expires) + " UTC",
            paper);
    }
    if (!view.route_progress.empty()) page += continued(view.route_progress, paper);
    if (!view.router_error.empty()) page += continued("router: " + view.router_error, paper);
    return page;
}

std::string look_lines(const View& view, const Paper& paper) {
    const Rollout& rollout = view.rollout;
    if (rollout.status == Status::pending) return labelled("Looked", "not yet", paper);
    std::string words = ago(view.now, rollout.last_look) + " (full)";
    if (view.peeked_at) words += ", " + ago(view.now, *view.peeked_at) + " (peek)";
    words += "; metrics complete to " + time_of_day(rollout.last_look) + " UTC";
    if (rollout.last_canary_request) {
        words += "; last request on " + view.policy.canary + " " +
                 ago(view.now, *rollout.last_canary_request);
    }
    std::string page = labelled("Looked", words, paper);
    if (!view.source_error.empty()) page += continued("source: " + view.source_error, paper);
    return page;
}

std::string harm_lines(const View& view, const std::vector<Finding>& found, const Paper& paper) {
    const double value = harm_of_100(view.policy, view.rollout.ln_m);
    std::string words = harm(value) + " of 100   (" + harm(view.policy.suspicious * 100) +
                        " = suspicious, promotion waits; 100 = roll back)";
    std::string page = labelled("Harm", words, paper);
    const Finding* top = worst(found);
    if (view.rollout.suspicious && top != nullptr) {
        page += continued(
            "most from " + stream_words(view.policy, *top) + ": " + counts_words(view.policy, *top),
            paper);
    }
    const HoldLedger& hold = view.rollout.ledger.hold;
    if (!hold.streams.empty()) {
        page += continued(harm(hold_of_100(view.policy, ln_m_of(hold))) +
                              " of 100 by the criteria that hold (100 = held)",
                          paper);
    }
    return page;
}

std::string trigger_lines(const View& view, const Paper& paper) {
    const auto all = armed(view);
    if (all.empty()) return labelled("Triggers", "none in the policy", paper);
    const auto fired =
        std::count_if(all.begin(), all.end(), [](const Armed& a) { return a.fired; });
    std::string words =
        std::to_string(all.size()) + " armed, " +
        (fired == 0 ? std::string("none fired") : std::to_string(fired) + " fired") + ".";
    std::string page;
    if (const Armed* top = closest(all); top != nullptr && fired == 0) {
        const Trigger& trigger = *top->trigger;
        const bool number_of = trigger.kind == Trigger::Kind::number;
        const auto value = [&](double v) {
            return number_of ? number(static_cast<std::int64_t>(std::llround(v))) : share(v);
        };
        words += " Closest: " + trigger.name +
                 (top->segment.empty() ? "" : " (" + top->segment + ")") + " at " +
                 value(top->state->reached) + ", rule " + trigger.as_written + " (" +
                 time_of_day(top->state->last.to) + ")";
    }
    page += labelled("Triggers", words, paper);
    for (const Armed& one : all) {
        if (one.fired)
            page += continued(trigger_line(*one.trigger, *one.state, one.segment), paper);
    }
    return page;
}

std::string checklist(const View& view, const Paper& paper) {
    const Rollout& rollout = view.rollout;
    const bool last = rollout.step + 1 == view.policy.steps.size();
    const auto missing = missing_to_advance(rollout, view.policy, view.now);
    const auto lacks = [&](Missing::Kind kind) {
        return std::any_of(missing.begin(), missing.end(),
                           [&](const Missing& one) { return one.kind == kind; });
    };
    const auto box = [](bool done, const std::string& words) {
        // One word for wrap(): a box is not torn from what it ticks.
        return (done ? "[x] " : "[ ] ") + words;
    };
    std::vector<std::string> boxes;
    const Duration left = bake_wanted(rollout, view.policy) - rollout.baked;
    boxes.push_back(box(!lacks(Missing::Kind::bake), left > Duration{0}
                                                         ? "bake " + duration(left) + " to go"
                                                         : "bake complete"));
    boxes.push_back(box(rollout.proven, "criteria proven"));
    if (!view.policy.segments.empty() && view.policy.segment_ask) {
        const auto all = view.policy.segments.size();
        const auto unseen = unseen_segments(view).size();
        boxes.push_back(box(
            unseen == 0, unseen == 0
                             ? "all " + std::to_string(all) + " " + view.policy.segment + "s seen"
                             : std::to_string(all - unseen) + " of " + std::to_string(all) + " " +
                                   view.policy.segment + "s seen"));
    }
    boxes.push_back(box(!rollout.suspicious, "no suspicion"));
    boxes.push_back(box(!lacks(Missing::Kind::stale), "fresh metrics"));
    boxes.push_back(box(rollout.holds.empty() && !rollout.paused && !lacks(Missing::Kind::alarm),
                        "no hold, no pause"));
    if (last) {
        const Duration soak = view.policy.soak - rollout.soaked;
        boxes.push_back(box(soak <= Duration{0}, soak > Duration{0}
                                                     ? "soak " + duration(soak) + " to go"
                                                     : "soak complete"));
    }
    if (lacks(Missing::Kind::nobody_hears)) boxes.push_back(box(false, "a channel that works"));
    std::string page = last ? "To finish  " : "To promote ";
    int used = columns(page);
    for (const std::string& words : boxes) {
        if (used + 2 + columns(words) > paper.width) {
            page += "\n           ";
            used = 11;
        }
        page += (used == 11 ? " " : "  ") + words;
        used += 2 + columns(words);
    }
    return "\n" + page + "\n";
}

Ink ink_of(const View& view, const std::string& word) {
    if (word == "ROLLED BACK" || word == "WAITING") return Ink::red;
    if (exit_code(view) != 0 || word == "BLIND" || word == "SUSPICIOUS") return Ink::yellow;
    return word == "HEALTHY" || word == "FINISHED" ? Ink::green : Ink::plain;
}

}  // namespace

std::string heading(const View& view, const Paper& paper) {
    const Rollout& rollout = view.rollout;
    const std::string word = state_word(view);
    std::string rest = "   " + weight(rollout.desired) + " on " + view.policy.canary + "   ";
    if (rollout.status == Status::rolled_back) {
        const std::size_t at = std::min(rollout.step, view.policy.steps.size() - 1);
        rest += "was " + weight(rollout.rolled_back_from) + ", " + view.policy.steps[at].name;
    } else {
        rest += step_words(view);
    }
    const std::string line = clean(rollout.name) + "   " + inked(paper, ink_of(view, word), word);
    const int used = columns(clean(rollout.name)) + 3 + columns(word);
    // The state is never cut; what does not fit beside it goes below it.
    const bool fits = used + columns(rest) <= paper.width;
    return line + (fits ? clean(rest) : "\n" + cut(clean(rest.substr(3)), paper.width)) + "\n" +
           wrap(clean(what_next(view)), paper.width, 0) + "\n";
}

std::string way_back_lines(const View& view) {
    const auto ways = way_back(view);
    if (ways.empty()) return "";
    // Not wrapped: they are to be copied.
    std::string lines = "Everybody to legacy past canaryd, by any of:\n";
    for (const std::string& way : ways) lines += "  " + clean(way) + "\n";
    return lines + "\n";
}

std::string asides(const View& view, const Paper& paper) {
    std::string page;
    if (!view.store_trouble.empty()) {
        page += labelled("Store",
                         "NOT WRITABLE, nothing rises; a rollback is carried out all the same: " +
                             view.store_trouble,
                         paper);
    }
    if (view.owed == 0 && !view.notify_error.empty()) {
        page += labelled("Told", "NOT everybody: " + view.notify_error, paper);
    }
    if (view.owed > 0) {
        page += labelled("Told",
                         counted(static_cast<std::int64_t>(view.owed), "message", "messages") +
                             " not delivered yet" +
                             (view.notify_error.empty() ? "" : ": " + view.notify_error),
                         paper);
    }
    for (std::size_t i = 0; i < view.remarks.size() && i < 3; ++i) {
        page += labelled("Remark", view.remarks[i], paper);
    }
    return page;
}

std::string footing(const View& view, const Paper& paper) {
    const Rollout& rollout = view.rollout;
    std::string ways;
    switch (rollout.status) {
        case Status::rolled_back:
        case Status::finished:
            ways = "explain | history";
            break;
        case Status::finishing:
            ways = "finish | rollback | pause | explain | history";
            break;
        case Status::pending:
        case Status::progressing:
            ways = rollout.paused || rollout.needs_a_person()
                       ? "resume | rollback | explain | history"
                       : "rollback | pause | explain | history";
            break;
    }
    return "\n" + labelled("Ways in", "canaryctl " + ways, paper) +
           labelled("Record",
                    rollout.id + ", revision " +
                        number(static_cast<std::int64_t>(rollout.revision)) + ", started " +
                        time(rollout.started),
                    paper);
}

std::string status_page(const View& view, const Paper& asked) {
    Paper paper = asked;
    paper.width = std::clamp(paper.width, 40, 400);
    if (view.policy.steps.empty()) return clean(view.rollout.name) + "   no policy\n";
    if (view.rollout.over()) return over_page(view, paper);
    const auto found = findings(view);
    std::string page = heading(view, paper) + "\n" + way_back_lines(view);
    // Every hold has its own line: the second line of the page shows the first one only.
    for (const Hold& hold : view.rollout.holds) {
        const std::string label = hold.name.empty() ? std::string(name(hold.kind)) : hold.name;
        if (view.rollout.holds.size() == 1 && !view.rollout.paused) break;
        page += labelled("Held",
                         label + " since " + time(hold.since) + ": " + hold.why +
                             (hold.heals() ? " (ends by itself)" : " (waits for a person)"),
                         paper);
    }
    page += bake_lines(view, paper) + traffic_lines(view, paper) + look_lines(view, paper);
    page += criteria_table(view, found, paper) + segment_table(view, found, paper);
    page += "\n" + harm_lines(view, found, paper) + trigger_lines(view, paper);
    if (view.rollout.status != Status::pending) page += checklist(view, paper);
    const std::string beside = asides(view, paper);
    if (!beside.empty()) page += "\n" + beside;
    return page + footing(view, paper);
}

}  // namespace canaryd::text
