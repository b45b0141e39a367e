#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "canaryd/routing.hpp"
#include "canaryd/text.hpp"
#include "daemon/codec.hpp"
#include "daemon/codec_words.hpp"
#include "daemon/http/json_values.hpp"
#include "daemon/http/view_json.hpp"

namespace canaryd::http {

namespace json = boost::json;

namespace {

constexpr std::size_t max_page = std::size_t{4} * 1024 * 1024;

std::string quoted_json(std::string_view text) {
    return json::serialize(text_of(text));
}

}  // namespace

Weight weight_of_readers(const View& view) {
    return view.served ? view.served->weight : view.rollout.applied.value_or(nobody);
}

std::string route_json(const View& view, const std::string& user) {
    const Weight weight = weight_of_readers(view);
    const bool canary = on_canary(view.policy.name, user, weight);
    json::object route{{"user", text_of(user)},
                       {"bucket", bucket_of(view.policy.name, user)},
                       {"weight", percent(weight)},
                       {"route", canary ? "canary" : "baseline"}};
    if (canary) {
        route["served_by"] = json::array{text_of(view.policy.canary)};
    } else {
        route["served_by"] = texts(view.policy.baseline);
    }
    return json::serialize(route);
}

std::string text_json(const std::string& text) {
    return json::serialize(json::object{{"text", text_of(text)}});
}

std::string lines_json(const std::vector<std::string>& lines) {
    return json::serialize(json::object{{"lines", texts(lines)}});
}

std::string journal_json(const std::vector<JournalEntry>& entries, bool event_as_text) {
    std::string page = "[";
    for (const JournalEntry& entry : entries) {
        if (page.size() > max_page) break;
        const std::string event = codec::to_json(entry.event);
        const json::object fields{
            {"rollout", text_of(entry.rollout)}, {"revision", entry.revision},
            {"at", text::iso(entry.event.at)},   {"by", text_of(entry.event.by)},
            {"role", text_of(entry.event.role)}, {"reason", text_of(entry.reason)},
            {"refused", entry.refused},          {"state_hash", entry.state_hash},
            {"previous", entry.previous},        {"hash", entry.hash}};
        std::string line = json::serialize(fields);
        line.pop_back();
        page += page.size() > 1 ? ",\n" : "";
        page += line + ",\"event\":" + (event_as_text ? quoted_json(event) : event) + "}";
    }
    return page + "]";
}

std::string started_json(const Transition& transition) {
    return json::serialize(
        json::object{{"id", text_of(transition.next.id)}, {"reason", text_of(transition.reason)}});
}

std::string done_json(const Transition& transition) {
    return json::serialize(json::object{{"id", text_of(transition.next.id)},
                                        {"revision", transition.next.revision},
                                        {"status", codec::word(transition.next.status)},
                                        {"desired", percent(transition.next.desired)},
                                        {"reason", text_of(transition.reason)}});
}

}  // namespace canaryd::http
