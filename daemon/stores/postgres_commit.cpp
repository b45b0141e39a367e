// One decision as one JSON document: canaryd.commit() writes it down in one transaction.
#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <utility>

#include "daemon/codec.hpp"
#include "daemon/codec_words.hpp"
#include "daemon/stores/postgres.hpp"

namespace canaryd::store_postgres {

namespace {

namespace json = boost::json;

/// PostgreSQL's text has no NUL: people see U+2400 in its place.
std::string without_nul(const std::string& text) {
    std::string shown;
    for (const char c : text) {
        if (c == '\0') {
            shown += "\xE2\x90\x80";
        } else {
            shown += c;
        }
    }
    return shown;
}

std::string hex(const std::string& bytes) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        text += {digits[byte >> 4U], digits[byte & 0xFU]};
    }
    return text;
}

std::int64_t ms(TimePoint at) {
    return at.time_since_epoch().count();
}

bool rolls_back(const Event& event, const Rollout& next) {
    return next.status == Status::rolled_back && next.rolled_back_at == event.at;
}

json::object route_of(const Event& event, const Rollout& next, const Route& route) {
    json::object row{{"weight", next.desired.basis_points},
                     {"seen", route.seen},
                     {"valid_until", nullptr},
                     {"by", "canaryd"},
                     {"reason", next.id + " revision " + std::to_string(next.ordered)}};
    if (route.readers) row["readers"] = *route.readers;
    if (route.exposure_lease && next.desired > nobody)
        row["valid_until"] = ms(event.at + *route.exposure_lease);
    return row;
}

json::object phase(const std::string& name, Weight weight) {
    return {{"phase", name}, {"percentage", weight.basis_points / 100}};
}

json::object reset(const std::string& name) {
    return {{"phase", name}, {"reset", true}};
}

/// What migration_status has to say after this order: one row a phase, of the newest rollout.
json::array phases_of(const Event& event, const Rollout& next, const std::vector<Weight>& weights,
                      const std::vector<std::string>& phases) {
    json::array rows;
    const std::string& now = phases.at(next.step);
    const bool has_next = next.step + 1 < phases.size() && phases[next.step + 1] != now;
    if (next.revision == 1) {
        for (const std::string& name : phases) rows.push_back(reset(name));
    }
    if (rolls_back(event, next)) {
        json::object row = phase(now, nobody);
        row["completed_at"] = ms(event.at);
        row["met"] = false;
        row["notes"] = without_nul(next.reason);
        rows.push_back(std::move(row));
        if (has_next) rows.push_back(reset(phases[next.step + 1]));
        return rows;
    }
    if (next.desired > weights.at(next.step) && next.step + 1 < phases.size()) {
        if (has_next) {
            json::object done = phase(now, weights[next.step]);
            done["completed_at"] = ms(event.at);
            done["met"] = next.proven;  // an override past an unproven verdict is none
            rows.push_back(std::move(done));
        }
        json::object begun = phase(phases[next.step + 1], next.desired);
        if (has_next) begun["started_at"] = ms(event.at);
        rows.push_back(std::move(begun));
        return rows;
    }
    json::object row = phase(now, next.desired);
    if (next.revision == 1) row["started_at"] = ms(event.at);
    row["reopen"] = true;
    rows.push_back(std::move(row));
    if (has_next) rows.push_back(reset(phases[next.step + 1]));
    return rows;
}

json::value share_failed(const Seen& seen) {
    if (seen.requests <= 0 || seen.events.empty()) return nullptr;
    const double percent =
        100.0 * static_cast<double>(seen.events.front()) / static_cast<double>(seen.requests);
    return std::round(percent * 100) / 100;
}

json::object rollback_of(const Event& event, const Rollout& next, const Route& route) {
    json::object row{{"phase", route.phases.at(next.step)},
                     {"error_rate", share_failed(next.canary)},
                     {"by", without_nul(codec::valid_utf8(event.by))},
                     {"since", ms(next.started)},
                     {"at", ms(event.at)}};
    if (const auto* read = std::get_if<event::RouteRead>(&event.what)) {
        row["by"] = without_nul(codec::valid_utf8(read->served.by));
        row["by_hand"] = true;
    }
    return row;
}

json::object user_tables_of(const Event& event, const Rollout& next, const Route& route,
                            const std::vector<Weight>& weights) {
    json::object tables;
    if (next.ordered == next.revision) {
        tables["phases"] = phases_of(event, next, weights, route.phases);
    } else {
        json::object end = phase(route.phases.at(next.step), next.desired);
        end["completed_at"] = ms(event.at);
        end["met"] = next.proven;
        tables["phases"] = json::array{std::move(end)};
    }
    if (rolls_back(event, next)) tables["rollback"] = rollback_of(event, next, route);
    return tables;
}

}  // namespace

std::string decision_json(const Fence& fence, const Event& event, const Transition& transition,
                          const std::string& state, const record::Row& entry,
                          const std::vector<Owed>& owed, const std::optional<Route>& route) {
    const Rollout& next = transition.next;
    json::object out{{"epoch", fence.epoch},
                     {"nonce", fence.nonce},
                     {"id", next.id},
                     {"name", next.name},
                     {"status", codec::word(next.status)},
                     {"revision", next.revision},
                     {"state", state},
                     {"seq", entry.seq},
                     {"at", ms(entry.at)},
                     {"by", without_nul(entry.by)},
                     {"role", without_nul(entry.role)},
                     {"event", entry.event},
                     {"reason", without_nul(entry.reason)},
                     {"refused", entry.refused},
                     {"state_hash", entry.state_hash},
                     {"previous", entry.previous},
                     {"hash", entry.hash}};
    if (entry.reason.find('\0') != std::string::npos) out["reason_bytes"] = hex(entry.reason);
    const auto* started = std::get_if<event::Started>(&event.what);
    if (started != nullptr && !transition.refused) {
        out["started"] = json::object{{"policy_text", started->policy_text},
                                      {"policy_file", without_nul(started->policy_file)},
                                      {"policy_hash", next.policy_hash}};
    }
    json::array notices;
    for (const Owed& one : owed) {
        notices.push_back(json::object{{"id", one.message.id},
                                       {"rollout", one.message.rollout},
                                       {"revision", one.message.revision},
                                       {"channel", one.channel},
                                       {"notice", codec::to_json(one.message.notice)},
                                       {"at", ms(one.message.at)}});
    }
    out["owed"] = std::move(notices);
    const bool orders = next.ordered == next.revision && !transition.refused;
    const bool finishes = std::holds_alternative<event::Finish>(event.what) && !transition.refused;
    if (route && orders) out["route"] = route_of(event, next, *route);
    if (route && (orders || finishes)) {
        out["user_tables"] = user_tables_of(event, next, *route, route->weights);
    }
    return json::serialize(out);
}

TimePoint fault_began(const Event& event, const Transition& transition) {
    const Look* look = nullptr;
    if (const auto* looked = std::get_if<event::Looked>(&event.what)) look = &looked->look;
    if (const auto* peeked = std::get_if<event::Peeked>(&event.what)) look = &peeked->look;
    // A person saw it: the last quarter of an hour before.
    if (look == nullptr) return event.at - std::chrono::minutes{15};
    TimePoint from = look->from;
    for (const Window& window : look->windows) {
        const std::string trigger = "trigger " + window.trigger;
        if (window.who == Population::canary && transition.reason.starts_with(trigger))
            from = std::min(from, window.from);
    }
    return from;
}

}  // namespace canaryd::store_postgres
