// One decision as one JSON document: canaryd.commit() writes it down in one transaction.
#include <boost/json.hpp>
#include <utility>

#include "daemon/codec.hpp"
#include "daemon/codec_words.hpp"
#include "daemon/postgres_user_tables.hpp"
#include "daemon/stores/postgres.hpp"

namespace canaryd::store_postgres {

namespace {

namespace json = boost::json;
using user_tables::without_nul;

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
    if (route && orders) out["route"] = route_of(event, next, *route);
    if (route && user_tables::concerned(event, transition))
        out["user_tables"] = user_tables::after(event, transition, route->migration);
    return json::serialize(out);
}

}  // namespace canaryd::store_postgres
