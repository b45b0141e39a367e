// Talking to the daemon by its Unix socket.
#include <cstdlib>

#include "daemon/ctl/ctl.hpp"
#include "daemon/http/client.hpp"
#include "daemon/log.hpp"

namespace canaryd::ctl {
namespace {

constexpr const char* default_socket = "/run/canaryd/canaryd.sock";
constexpr const char* api = "/api/v1/rollouts";

json::value parsed(const std::string& body) {
    json::error_code error;
    json::value document = json::parse(body, error);
    if (error) throw Refused("canaryd's answer is no JSON: " + error.message());
    return document;
}

const json::value* field_of(const json::value& document, std::string_view field) {
    const json::object* object = document.if_object();
    return object == nullptr ? nullptr : object->if_contains(field);
}

std::string text_or_empty(const json::value& document, std::string_view field) {
    const json::value* value = field_of(document, field);
    const json::string* text = value == nullptr ? nullptr : value->if_string();
    return text == nullptr ? "" : std::string(text->data(), text->size());
}

std::int64_t whole_or_0(const json::value& document, std::string_view field) {
    const json::value* value = field_of(document, field);
    json::error_code no_number;
    return value == nullptr ? 0 : value->to_number<std::int64_t>(no_number);
}

/// One mistake as it stands in a problem document: a policy's, or a command's.
std::string mistake(const json::value& error) {
    Problem problem;
    problem.file = text_or_empty(error, "file");
    problem.line = static_cast<int>(whole_or_0(error, "line"));
    problem.column = static_cast<int>(whole_or_0(error, "column"));
    problem.field = text_or_empty(error, "field");
    problem.message = text_or_empty(error, "message");
    return to_string(problem);
}

[[noreturn]] void refuse(const http::Answer& answer) {
    json::error_code error;
    const json::value document = json::parse(answer.body, error);
    std::string words = error ? "" : text_or_empty(document, "detail");
    if (words.empty()) words = "canaryd answered " + std::to_string(answer.status);
    const json::value* errors = error ? nullptr : field_of(document, "errors");
    if (errors != nullptr && errors->is_array()) {
        for (const json::value& one : errors->get_array()) {
            if (!text_or_empty(one, "file").empty()) words += "\n" + mistake(one);
        }
    }
    throw Refused(words);
}

http::Answer ask(const Options& options, const std::string& method, const std::string& target,
                 const std::string& accept, const std::string& body) {
    http::Answer answer = http::request(socket_of(options), method, target, accept, body);
    if (answer.status < 200 || answer.status > 299) refuse(answer);
    return answer;
}

bool is_over(const json::value& rollout) {
    const std::string status = string_of(rollout, "status");
    return status == "rolled_back" || status == "finished";
}

bool needs_acknowledgement(const json::value& rollout) {
    return string_of(rollout, "status") == "rolled_back" &&
           string_of(rollout, "acknowledged_by").empty();
}

/// The newest by its start; times are ISO 8601, so that text compares as time.
const json::value* newest(const json::array& rollouts) {
    const json::value* found = nullptr;
    for (const json::value& rollout : rollouts) {
        if (found == nullptr ||
            text_or_empty(rollout, "started") > text_or_empty(*found, "started")) {
            found = &rollout;
        }
    }
    return found;
}

std::string listed(const std::vector<std::string>& ids) {
    return escaped(text::list(ids));
}

}  // namespace

std::string socket_of(const Options& options) {
    if (!options.socket.empty()) return options.socket;
    const char* named = std::getenv("CANARYD_SOCKET");
    if (named != nullptr && *named != '\0') return named;
    return options.config.empty() ? default_socket : load_settings(options).socket;
}

std::string url_encoded(std::string_view text) {
    static constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
        if (plain) {
            out += c;
        } else {
            out += {'%', digits[byte >> 4U], digits[byte & 0xFU]};
        }
    }
    return out;
}

std::string get_text(const Options& options, const std::string& target) {
    return ask(options, "GET", target, "text/plain", "").body;
}

json::value get_json(const Options& options, const std::string& target) {
    return parsed(ask(options, "GET", target, "application/json", "").body);
}

json::value post(const Options& options, const std::string& target, const json::object& body) {
    return parsed(ask(options, "POST", target, "application/json", json::serialize(body)).body);
}

std::string string_of(const json::value& document, std::string_view field) {
    const json::value* value = field_of(document, field);
    if (value == nullptr || !value->is_string()) {
        throw Refused("canaryd's answer has no \"" + std::string(field) + "\"; another version?");
    }
    return text_or_empty(document, field);
}

std::int64_t whole_of(const json::value& document, std::string_view field) {
    const json::value* value = field_of(document, field);
    if (value == nullptr || !value->is_number()) {
        throw Refused("canaryd's answer has no \"" + std::string(field) + "\"; another version?");
    }
    return whole_or_0(document, field);
}

std::string rollout_of(const Options& options, const std::string& given, Meant meant) {
    if (!given.empty()) return given;
    const json::value document = get_json(options, api);
    const json::array* all = document.if_array();
    if (all == nullptr) throw Refused("canaryd's answer is no list of rollouts; another version?");
    std::vector<std::string> running, unacknowledged;
    for (const json::value& rollout : *all) {
        const std::string id = string_of(rollout, "id");
        if (!is_over(rollout)) running.push_back(id);
        if (needs_acknowledgement(rollout)) unacknowledged.push_back(id);
    }
    if (meant == Meant::needs_someone && !unacknowledged.empty()) {
        if (unacknowledged.size() == 1) return unacknowledged.front();
        throw Refused("say which rollout: " + listed(unacknowledged) + " were rolled back");
    }
    if (running.size() == 1) return running.front();
    if (running.size() > 1) {
        throw Refused("say which rollout: " + listed(running) + " are running");
    }
    if (all->empty()) throw Refused("there is no rollout yet; begin one: canaryctl start FILE");
    if (meant == Meant::newest) return string_of(*newest(*all), "id");
    throw Refused("no rollout is running; the newest is " +
                  escaped(string_of(*newest(*all), "id")) + ", " +
                  escaped(string_of(*newest(*all), "state")));
}

}  // namespace canaryd::ctl
