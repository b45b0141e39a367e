// The state in a word, what comes next, the periodic report.
#include "canaryd/text.hpp"

#include <algorithm>

#include "daemon/core/text_parts.hpp"

namespace canaryd::text {
namespace {

bool needs_resume(const Hold& hold) {
    return !hold.heals();
}

const Hold* first_hold(const Rollout& rollout, bool heals) {
    for (const Hold& hold : rollout.holds) {
        if (hold.heals() == heals) return &hold;
    }
    return nullptr;
}

bool last_step(const View& view) {
    return view.rollout.step + 1 >= view.policy.steps.size();
}

std::string when(TimePoint at, TimePoint now) {
    return time(at) + " (" + ago(now, at) + ")";
}

std::string reason_words(const std::string& reason) {
    return reason.empty() ? "" : ": " + reason;
}

std::string held_words(const View& view, const Hold& hold) {
    return "Held since " + when(hold.since, view.now) + ": " + hold.why + ". " + way_out(hold);
}

std::string blind_words(const View& view) {
    const Rollout& rollout = view.rollout;
    const Hold* hold = rollout.hold(Hold::Kind::blind);
    if (!rollout.blind_since) return held_words(view, *hold);
    std::string words = "No fresh metrics since " + when(*rollout.blind_since, view.now) +
                        reason_words(rollout.blind_why) + ". Nothing needs you: ";
    if (hold == nullptr) {
        words += "held from " + time(*rollout.blind_since + view.policy.blind_hold_after) + " on, ";
    }
    words += "it resumes by itself when metrics are back.";
    if (view.policy.blind_rollback_after) {
        words += " Blind for " + duration(*view.policy.blind_rollback_after) + " rolls back.";
    }
    return words;
}

std::string rolled_back_words(const View& view) {
    const std::string& by = view.rollout.acknowledged_by;
    return who_is_back(view) +
           (by.empty() ? " Acknowledge: canaryctl ack" : " Acknowledged by " + by + ".");
}

std::string waiting_words(const View& view) {
    const Waiting& waiting = *view.rollout.ledger.waiting;
    return "An alarm waits for its confirmation since " + when(waiting.since, view.now) + ": " +
           stream_name(view.policy, waiting.stream) + ". The next " +
           duration(view.policy.confirm_without_baseline) + " seen, to " +
           time(waiting.since + view.policy.confirm_without_baseline) +
           " at the earliest, roll back or hold. Do not want to wait? canaryctl rollback";
}

/// What the next step waits for, without what only time brings.
std::string missing_words(const View& view) {
    std::string words;
    for (const Missing& one : missing_to_advance(view.rollout, view.policy, view.now)) {
        if (one.kind == Missing::Kind::soak || one.kind == Missing::Kind::bake) continue;
        words += (words.empty() ? "" : "; ") + one.what;
    }
    return words;
}

std::string next_words(const View& view) {
    const Rollout& rollout = view.rollout;
    const std::size_t next = last_step(view) ? 0 : rollout.step + 1;
    const Duration left = next == 0 ? std::max(view.policy.soak - rollout.soaked,
                                               bake_wanted(rollout, view.policy) - rollout.baked)
                                    : bake_wanted(rollout, view.policy) - rollout.baked;
    const std::string what = next == 0 ? "ready to finish" : weight(view.policy.steps[next].weight);
    if (rollout.applied != rollout.desired) {
        return "Next: the router confirms " + weight(rollout.desired) +
               reason_words(view.router_error) + ".";
    }
    if (left > Duration{0}) {
        return "Next: " + what + ", not before " + time(view.now + left) + " (in " +
               duration(left) + ").";
    }
    const std::string missing = missing_words(view);
    return "Next: " + what +
           (missing.empty() ? ", at the next good look." : ". Missing: " + missing + ".");
}

/// A view of the state alone: nothing of what the controller knows beside it.
View bare_view(const Rollout& rollout, const Policy& policy, TimePoint now) {
    View view;
    view.rollout = rollout;
    view.policy = policy;
    view.now = now;
    return view;
}

}  // namespace

std::string way_out(const Hold& hold) {
    switch (hold.kind) {
        case Hold::Kind::blind:
            if (!hold.name.empty()) {
                return "Find out why its requests do not come; it resumes by itself when they do.";
            }
            return "Nothing needs you: it resumes by itself when metrics are back.";
        case Hold::Kind::shared_outage:
            return "Nothing needs you: it resumes by itself when legacy is well again.";
        case Hold::Kind::unproven:
            return "Decide: canaryctl extend DURATION --reason WHY, promote or rollback.";
        case Hold::Kind::drift:
        case Hold::Kind::unconfirmed:
        case Hold::Kind::store_went_back:
            return "Order the traffic again: canaryctl resume --reason WHY; else: canaryctl "
                   "rollback.";
        case Hold::Kind::trigger:
        case Hold::Kind::confirmation:
        case Hold::Kind::criterion:
            return "When it is understood: canaryctl resume --reason WHY; else: canaryctl "
                   "rollback.";
    }
    return "";
}

std::string who_is_back(const View& view) {
    const Rollout& rollout = view.rollout;
    if (view.served && view.served->weight > nobody) {
        return "Users are NOT all on legacy yet: the router serves " + weight(view.served->weight) +
               reason_words(view.router_error) + ".";
    }
    if (rollout.applied == nobody) {
        return "Users are on legacy since " + time_of_day(rollout.applied_since) + " UTC.";
    }
    return "0 % is ordered; the router has not confirmed it yet" + reason_words(view.router_error) +
           ".";
}

std::string state_word(const View& view) {
    const Rollout& rollout = view.rollout;
    switch (rollout.status) {
        case Status::rolled_back:
            return "ROLLED BACK";
        case Status::finished:
            return "FINISHED";
        case Status::pending:
        case Status::progressing:
        case Status::finishing:
            break;
    }
    if (rollout.ledger.waiting) return "WAITING";
    if (rollout.paused) return "PAUSED";
    if (std::any_of(rollout.holds.begin(), rollout.holds.end(), needs_resume)) return "HELD";
    if (rollout.blind_since || rollout.hold(Hold::Kind::blind) != nullptr) return "BLIND";
    if (!rollout.holds.empty()) return "HELD";
    if (rollout.suspicious) return "SUSPICIOUS";
    if (rollout.status == Status::finishing) return "FINISHING";
    // Nothing is healthy by default: the first step has to have been seen.
    const bool unseen = rollout.step == 0 && rollout.canary.requests == 0;
    if (rollout.status == Status::pending || unseen) return "STARTING";
    if (!rollout.proven && rollout.baked >= bake_wanted(rollout, view.policy)) return "UNPROVEN";
    return "HEALTHY";
}

int exit_code(const View& view) {
    const Rollout& rollout = view.rollout;
    switch (rollout.status) {
        case Status::rolled_back:
            return 3;
        case Status::finished:
            return 0;
        case Status::finishing:
            return 4;
        case Status::pending:
        case Status::progressing:
            break;
    }
    return rollout.paused || !rollout.holds.empty() || rollout.ledger.waiting ? 4 : 0;
}

std::string what_next(const View& view) {
    const Rollout& rollout = view.rollout;
    switch (rollout.status) {
        case Status::rolled_back:
            return rolled_back_words(view);
        case Status::finished:
            return "Everybody is on " + view.policy.canary + " since " + time(rollout.changed_at) +
                   ". Nothing needs you.";
        case Status::pending:
        case Status::progressing:
        case Status::finishing:
            break;
    }
    if (rollout.ledger.waiting) return waiting_words(view);
    if (rollout.paused) {
        return "Paused by " + rollout.paused->by + " since " + when(rollout.paused->at, view.now) +
               reason_words(rollout.paused->reason) +
               ". The watch goes on. Go on: canaryctl resume --reason WHY";
    }
    if (const Hold* hold = first_hold(rollout, false)) return held_words(view, *hold);
    if (rollout.blind_since || rollout.hold(Hold::Kind::blind) != nullptr) return blind_words(view);
    if (const Hold* hold = first_hold(rollout, true)) return held_words(view, *hold);
    if (rollout.suspicious) {
        const double hold = hold_of_100(view.policy, ln_m_of(rollout.ledger.hold));
        const double all = harm_of_100(view.policy, rollout.ln_m);
        const bool holds = all < 100 * view.policy.suspicious && hold > all;
        return "Nothing needs you. Promotion waits: harm " + harm(holds ? hold : all) +
               " of 100 is suspicious. It clears by good looks, or " +
               (holds ? "holds" : "rolls back") + " at 100.";
    }
    if (rollout.status == Status::finishing) {
        return "The soak of " + duration(rollout.soaked) +
               " is complete, the watch goes on. Finish: canaryctl finish --reason WHY";
    }
    return "Nothing needs you. " + next_words(view);
}

std::string status_line(const View& view, const Paper& paper) {
    const std::string word = state_word(view);
    const std::string head = cut(clean(view.rollout.name), 30) + "  ";
    const std::string rest = "  " + weight(view.rollout.desired) + "  " + clean(what_next(view));
    const int room = paper.width - columns(head) - columns(word);
    const Ink ink = word == "ROLLED BACK"                     ? Ink::red
                    : exit_code(view) != 0                    ? Ink::yellow
                    : word == "HEALTHY" || word == "FINISHED" ? Ink::green
                                                              : Ink::plain;
    return head + inked(paper, ink, word) + cut(rest, std::max(room, 8)) + "\n";
}

std::string where_users_are(const Rollout& rollout, const Policy& policy) {
    const Weight on = rollout.applied.value_or(nobody);
    std::string words = on == nobody      ? "Everybody is on legacy"
                        : on == everybody ? "Everybody is on " + policy.canary
                                          : weight(on) + " of users are on " + policy.canary;
    if (on != rollout.desired) words += ", " + weight(rollout.desired) + " is ordered";
    return words + ".";
}

std::string outlook(const Rollout& rollout, const Policy& policy, TimePoint now) {
    return where_users_are(rollout, policy) + " " + what_next(bare_view(rollout, policy, now));
}

std::string report(const Rollout& rollout, const Policy& policy, TimePoint now) {
    const View view = bare_view(rollout, policy, now);
    std::string word = state_word(view);
    std::transform(word.begin(), word.end(), word.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    const auto day = (now - rollout.applied_since) / std::chrono::hours{24} + 1;
    const std::size_t at = std::min(rollout.step, policy.steps.size() - 1);
    std::string page = policy.name + ": " + word + " at " + weight(rollout.desired) + " (" +
                       policy.steps[at].name + ", day " + std::to_string(day) + ")\n";
    page += "Bake " + duration(rollout.baked) + " of " + duration(bake_wanted(rollout, policy));
    if (last_step(view))
        page += ", soak " + duration(rollout.soaked) + " of " + duration(policy.soak);
    page += ". " + what_next(view) + "\n";
    for (const std::string& line : criteria_words(view)) page += line + "\n";
    if (!policy.segments.empty()) {
        const auto unseen = unseen_segments(view);
        page += unseen.empty() ? "All " + std::to_string(policy.segments.size()) + " " +
                                     policy.segment + "s seen"
                               : "Not seen enough yet: " + list(unseen);
        const auto quietest = std::min_element(
            rollout.segments.begin(), rollout.segments.end(),
            [](const SegmentState& a, const SegmentState& b) { return a.requests < b.requests; });
        if (quietest != rollout.segments.end()) {
            const auto index = static_cast<std::size_t>(quietest - rollout.segments.begin());
            page += "; quietest: " + policy.segments[index] + ", " +
                    counted(quietest->requests, "request", "requests");
        }
        page += "\n";
    }
    const std::string lost = uncounted_words(rollout);
    if (!lost.empty()) page += "Not counted as bake: " + lost + "\n";
    page += "Harm " + harm(harm_of_100(policy, rollout.ln_m)) +
            " of 100. What could stop it: a breach; each hour not seen moves it by an hour.\n";
    const Duration every = day <= 1   ? policy.report_day_1
                           : day <= 3 ? policy.report_day_2_and_3
                                      : policy.report_later;
    return page + "Revision " + number(static_cast<std::int64_t>(rollout.revision)) +
           "; next report " + time(now + every);
}

}  // namespace canaryd::text
