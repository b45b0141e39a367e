// Triggers in a sentence, with the numbers that a person can check.
#include <algorithm>
#include <bit>

#include "canaryd/text.hpp"

namespace canaryd::text {

std::string trigger_rule(const Trigger& trigger) {
    std::string rule = trigger.metric + " " + trigger.as_written + " over " +
                       duration(trigger.over) + ", in " + std::to_string(trigger.needed) + " of " +
                       std::to_string(trigger.looks) + " looks";
    if (trigger.at_least > 0) {
        rule += ", at least ";
        switch (trigger.kind) {
            case Trigger::Kind::share:
                rule += counted(trigger.at_least, "failure", "failures");
                if (trigger.users > 1) rule += " from " + number(trigger.users) + " users";
                break;
            case Trigger::Kind::traffic:
                rule += counted(trigger.at_least, "request", "requests") + " expected";
                break;
            case Trigger::Kind::off_weight:
            case Trigger::Kind::number:
                rule += number(trigger.at_least);
                break;
        }
    }
    return rule;
}

int looks_fired(const Trigger& trigger, const TriggerState& state) {
    const std::uint32_t window =
        trigger.looks >= 32 ? ~0U
                            : (1U << static_cast<std::uint32_t>(std::max(trigger.looks, 0))) - 1U;
    return std::popcount(state.fired & window);
}

std::string trigger_line(const Trigger& trigger, const TriggerState& state,
                         const std::string& segment) {
    std::string line = trigger.name;
    if (!segment.empty()) line += " (" + segment + ")";
    line += ": ";
    const Window& window = state.last;
    if (window.to == TimePoint{} && window.from == TimePoint{}) {
        return line + "not looked at yet; rule: " + trigger_rule(trigger);
    }
    switch (trigger.kind) {
        case Trigger::Kind::share:
            line += number(window.failures) + " of " +
                    counted(window.requests, "request", "requests") +
                    (trigger.signal.kind == Signal::Kind::failed
                         ? " failed"
                         : " took over " + duration(trigger.signal.than));
            if (window.requests > 0) {
                line += " (" +
                        share(static_cast<double>(window.failures) /
                              static_cast<double>(window.requests)) +
                        ")";
            }
            if (window.failures > 0) line += " from " + counted(window.users, "user", "users");
            break;
        case Trigger::Kind::traffic:
            line += counted(window.requests, "request", "requests") + ", " + share(state.reached) +
                    " of what its share of all requests would be,";
            break;
        case Trigger::Kind::off_weight:
            line += counted(window.users, "user", "users") + " on the canary, " +
                    share(state.reached) + " off its weight,";
            break;
        case Trigger::Kind::number:
            line += trigger.metric + " ";
            if (window.value) {
                line +=
                    *window.value == static_cast<double>(static_cast<std::int64_t>(*window.value))
                        ? number(static_cast<std::int64_t>(*window.value))
                        : std::to_string(*window.value);
            } else {
                line += "unknown";
            }
            break;
    }
    return line + " from " + span(window.from, window.to) + "; rule: " + trigger_rule(trigger) +
           "; broken in " + std::to_string(looks_fired(trigger, state)) + " of the last " +
           std::to_string(trigger.looks) + " looks";
}

}  // namespace canaryd::text
