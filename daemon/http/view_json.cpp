#include "daemon/http/view_json.hpp"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "canaryd/analysis.hpp"
#include "canaryd/text.hpp"
#include "daemon/codec_words.hpp"
#include "daemon/http/json_values.hpp"

namespace canaryd::http {

namespace json = boost::json;

namespace {

std::string_view word(Outcome outcome) {
    switch (outcome) {
        case Outcome::pass:
            return "pass";
        case Outcome::inconclusive:
            return "inconclusive";
        case Outcome::fail:
            return "fail";
    }
    return "";
}

std::string_view word(Uncounted kind) {
    switch (kind) {
        case Uncounted::blind:
            return "blind";
        case Uncounted::down:
            return "down";
        case Uncounted::paused:
            return "paused";
        case Uncounted::held:
            return "held";
        case Uncounted::suspicious:
            return "suspicious";
        case Uncounted::unconfirmed:
            return "unconfirmed";
    }
    return "";
}

json::object step_of(const View& view) {
    const std::size_t index = view.rollout.step;
    json::object step{{"index", index}, {"of", view.policy.steps.size()}};
    if (index < view.policy.steps.size()) {
        step["name"] = text_of(view.policy.steps[index].name);
        step["weight"] = percent(view.policy.steps[index].weight);
    }
    return step;
}

json::value served_of(const View& view) {
    if (!view.served) return nullptr;
    return json::object{{"weight", percent(view.served->weight)},
                        {"revision", view.served->revision},
                        {"by", text_of(view.served->by)},
                        {"reason", text_of(view.served->reason)},
                        {"at", time(view.served_at)}};
}

json::object bake_of(const View& view) {
    const Rollout& rollout = view.rollout;
    json::object not_counted;
    constexpr std::array<Uncounted, uncounted_kinds> kinds{
        Uncounted::blind, Uncounted::down,       Uncounted::paused,
        Uncounted::held,  Uncounted::suspicious, Uncounted::unconfirmed};
    for (const Uncounted kind : kinds) {
        not_counted[word(kind)] = seconds(rollout.uncounted[static_cast<std::size_t>(kind)]);
    }
    return {{"seen_s", seconds(rollout.baked)},
            {"of_s", seconds(bake_wanted(rollout, view.policy))},
            {"extended_s", seconds(rollout.extended)},
            {"not_counted", std::move(not_counted)}};
}

json::array criteria_of(const View& view) {
    json::array criteria;
    for (const Finding& finding : findings_of(view.policy, view.rollout.ledger)) {
        const Bounds& bounds = finding.bounds;
        const bool hourly = bounds.per == Per::hour, clusters = bounds.per == Per::cluster;
        const auto count = [&](std::int64_t n) {
            return number(static_cast<double>(n) / unit_of(bounds.per));
        };
        criteria.push_back(json::object{
            {"criterion", text_of(finding.criterion)},
            {"segment", text_of(finding.segment)},
            {"outcome", word(finding.outcome)},
            {"limit", number(finding.limit)},
            {"per", hourly     ? "hour"
                    : clusters ? "cluster"
                               : "request"},
            {hourly     ? "watched_s"
             : clusters ? "clusters"
                        : "requests",
             hourly ? seconds(Duration(bounds.requests)) : count(bounds.requests)},
            {"events", count(bounds.events)},
            {"rate", bounds.requests > 0 ? number(bounds.rate()) : json::value(nullptr)},
            {"proven_below", bounds.proves_upper() ? number(bounds.upper) : json::value(nullptr)},
            {"then", text::name(finding.then)},
            {"harm", number(finding.harm)}});
    }
    return criteria;
}

json::array comparisons_of(const View& view) {
    json::array comparisons;
    for (const Comparison& one : canaryd::comparisons_of(view.policy, view.rollout.ledger)) {
        comparisons.push_back(json::object{{"criterion", text_of(one.criterion)},
                                           {"segment", text_of(one.segment)},
                                           {"times", number(one.margin.times)},
                                           {"plus", number(one.margin.plus)},
                                           {"then", text::name(one.then)},
                                           {"active", one.active},
                                           {"worse", one.worse},
                                           {"requests", one.requests},
                                           {"events", one.events},
                                           {"baseline_requests", one.baseline_requests},
                                           {"baseline_events", one.baseline_events},
                                           {"harm", number(one.harm)}});
    }
    return comparisons;
}

json::array segments_of(const View& view) {
    json::array segments;
    const std::size_t known = std::min(view.policy.segments.size(), view.rollout.segments.size());
    for (std::size_t i = 0; i < known; ++i) {
        const SegmentState& seen = view.rollout.segments[i];
        segments.push_back(json::object{{"name", text_of(view.policy.segments[i])},
                                        {"requests", seen.requests},
                                        {"failed", seen.events_failed},
                                        {"users", seen.users.size()},
                                        {"seen_enough", seen.seen_enough(view.policy)},
                                        {"last_request", time(seen.last_request)}});
    }
    return segments;
}

json::object trigger_of(const Trigger& trigger, const TriggerState& state,
                        const std::string& segment) {
    const int fired = text::looks_fired(trigger, state);
    return {{"name", text_of(trigger.name)},
            {"segment", text_of(segment)},
            {"rule", text_of(text::trigger_rule(trigger))},
            {"then", text::name(trigger.then)},
            {"fired", fired >= trigger.needed},
            {"fired_looks", fired},
            {"of_looks", trigger.looks},
            {"needs", trigger.needed},
            {"line", text_of(text::trigger_line(trigger, state, segment))}};
}

json::array triggers_of(const View& view) {
    json::array triggers;
    for (const Trigger& trigger : view.policy.triggers) {
        const std::string prefix = trigger.name + "/";
        bool any = false;
        for (const auto& [key, state] : view.rollout.triggers) {
            const bool whole = key == trigger.name;
            if (!whole && key.compare(0, prefix.size(), prefix) != 0) continue;
            any = true;
            triggers.push_back(
                trigger_of(trigger, state, whole ? std::string() : key.substr(prefix.size())));
        }
        // Armed, not looked at yet.
        if (!any) triggers.push_back(trigger_of(trigger, TriggerState{}, ""));
    }
    return triggers;
}

json::array holds_of(const Rollout& rollout) {
    json::array holds;
    for (const Hold& hold : rollout.holds) {
        holds.push_back(json::object{{"kind", codec::word(hold.kind)},
                                     {"name", text_of(hold.name)},
                                     {"since", time(hold.since)},
                                     {"why", text_of(hold.why)},
                                     {"heals", hold.heals()}});
    }
    return holds;
}

std::string_view word(Missing::Kind kind) {
    switch (kind) {
        case Missing::Kind::not_running:
            return "not_running";
        case Missing::Kind::paused:
            return "paused";
        case Missing::Kind::held:
            return "held";
        case Missing::Kind::alarm:
            return "alarm";
        case Missing::Kind::raise:
            return "raise";
        case Missing::Kind::bake:
            return "bake";
        case Missing::Kind::proof:
            return "proof";
        case Missing::Kind::suspicion:
            return "suspicion";
        case Missing::Kind::segments:
            return "segments";
        case Missing::Kind::stale:
            return "stale";
        case Missing::Kind::nobody_hears:
            return "nobody_hears";
        case Missing::Kind::soak:
            return "soak";
    }
    return "";
}

json::array missing_of(const View& view) {
    json::array result;
    for (const Missing& missing : missing_to_advance(view.rollout, view.policy, view.now)) {
        result.push_back(
            json::object{{"kind", word(missing.kind)}, {"what", text_of(missing.what)}});
    }
    return result;
}

/// Counts of the step; failed is null where the criteria do not ask for failures.
json::object seen_of(const View& view, const Seen& seen) {
    json::value failed = nullptr;
    const std::vector<Signal> signals = signals_of(view.policy);
    for (std::size_t i = 0; i < std::min(signals.size(), seen.events.size()); ++i) {
        if (signals[i].kind == Signal::Kind::failed) failed = seen.events[i];
    }
    return {{"requests", seen.requests}, {"failed", failed}};
}

json::value paused_of(const Rollout& rollout) {
    if (!rollout.paused) return nullptr;
    return json::object{{"by", text_of(rollout.paused->by)},
                        {"at", time(rollout.paused->at)},
                        {"reason", text_of(rollout.paused->reason)}};
}

json::value rolled_back_of(const Rollout& rollout) {
    if (!rollout.rolled_back_at) return nullptr;
    return json::object{{"at", time(rollout.rolled_back_at)},
                        {"from", percent(rollout.rolled_back_from)}};
}

json::object source_of(const View& view) {
    return {{"last_look", time(view.rollout.last_look)},
            {"peeked_at", time(view.peeked_at)},
            {"blind_since", time(view.rollout.blind_since)},
            {"blind_why", text_of(view.rollout.blind_why)},
            {"error", text_of(view.source_error)},
            {"remarks", texts(view.remarks)}};
}

json::object policy_of(const Policy& policy) {
    return {{"hash", policy.hash},
            {"canary", text_of(policy.canary)},
            {"baseline", texts(policy.baseline)}};
}

json::object object_of(const View& view, bool with_criteria) {
    const Rollout& rollout = view.rollout;
    json::object object;
    object["id"] = text_of(rollout.id);
    object["name"] = text_of(rollout.name);
    object["status"] = codec::word(rollout.status);
    object["state"] = text::state_word(view);
    object["exit_code"] = text::exit_code(view);
    object["next"] = text_of(text::what_next(view));
    object["revision"] = rollout.revision;
    object["reason"] = text_of(rollout.reason);
    object["changed"] =
        json::object{{"by", text_of(rollout.changed_by)}, {"at", time(rollout.changed_at)}};
    object["step"] = step_of(view);
    object["desired"] = percent(rollout.desired);
    object["applied"] = rollout.applied ? percent(*rollout.applied) : json::value(nullptr);
    object["served"] = served_of(view);
    object["route_progress"] = text_of(view.route_progress);
    json::array errors;
    for (const TopError& error : view.top_errors) {
        json::array ids;
        for (const std::string& id : error.request_ids) ids.emplace_back(text_of(id));
        errors.push_back(json::object{{"message", text_of(error.message)},
                                      {"times", error.times},
                                      {"request_ids", std::move(ids)}});
    }
    object["top_errors"] = std::move(errors);
    object["router_error"] = text_of(view.router_error);
    object["store_trouble"] = text_of(view.store_trouble);
    object["by_hand"] = texts(text::way_back(view));
    object["bake"] = bake_of(view);
    object["soak"] =
        json::object{{"seen_s", seconds(rollout.soaked)}, {"of_s", seconds(view.policy.soak)}};
    if (with_criteria) {
        object["criteria"] = criteria_of(view);
        object["comparisons"] = comparisons_of(view);
    }
    object["segments"] = segments_of(view);
    object["harm"] = number(harm_of_100(view.policy, rollout.ln_m));
    object["hold_harm"] =
        rollout.ledger.hold.streams.empty()
            ? json::value(nullptr)
            : json::value(number(hold_of_100(view.policy, ln_m_of(rollout.ledger.hold))));
    object["suspicious"] = rollout.suspicious;
    object["proven"] = rollout.proven;
    object["triggers"] = triggers_of(view);
    object["holds"] = holds_of(rollout);
    object["paused"] = paused_of(rollout);
    object["missing"] = missing_of(view);
    object["source"] = source_of(view);
    object["canary"] = seen_of(view, rollout.canary);
    object["baseline"] = seen_of(view, rollout.baseline);
    object["notices"] = json::object{{"owed", view.owed}, {"error", text_of(view.notify_error)}};
    object["rolled_back"] = rolled_back_of(rollout);
    object["acknowledged_by"] = text_of(rollout.acknowledged_by);
    object["policy"] = policy_of(view.policy);
    object["started"] = time(rollout.started);
    object["now"] = time(view.now);
    return object;
}

json::array array_of(const std::vector<View>& views) {
    json::array array;
    for (const View& view : views) {
        array.push_back(object_of(view, views.size() <= most_with_criteria));
    }
    return array;
}

}  // namespace

std::string view_json(const View& view) {
    return json::serialize(object_of(view, true));
}

std::string views_json(const std::vector<View>& views) {
    return json::serialize(array_of(views));
}

std::string status_json(const std::vector<View>& views, const Health& health) {
    int exit_code = 0;
    for (const View& view : views) exit_code = std::max(exit_code, text::exit_code(view));
    const json::object state{{"ready", health.ready},
                             {"role", health.standby.empty() ? "active" : "standby"},
                             {"standby", text_of(health.standby)},
                             {"lateness_s", seconds(health.latest_lateness)},
                             {"busy_s", seconds(health.busy)},
                             {"rollouts", health.rollouts},
                             {"paused", health.paused},
                             {"held", health.held},
                             {"blind", health.blind},
                             {"owed", health.owed},
                             {"last_look", time(health.last_look)},
                             {"store_trouble", text_of(health.store_trouble)}};
    const json::object status{
        {"exit_code", exit_code}, {"health", state}, {"rollouts", array_of(views)}};
    return json::serialize(status);
}

}  // namespace canaryd::http
