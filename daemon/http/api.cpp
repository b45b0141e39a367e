#include "daemon/http/api.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "daemon/log.hpp"

namespace canaryd::http {

namespace {

constexpr std::uint64_t max_body = std::uint64_t{64} * 1024;
constexpr std::uint64_t max_policy_body = std::uint64_t{600} * 1024;  // 256 KiB and its escapes

constexpr Wanted a_policy{.policy = true};
constexpr Wanted maybe_a_reason{.reason = true};
constexpr Wanted a_reason{.reason = true, .needs_reason = true};
constexpr Wanted a_promotion{.reason = true, .needs_reason = true, .override_proof = true};
constexpr Wanted an_extension{.reason = true, .needs_reason = true, .by = true};

What pause(const Command& command) {
    return event::Pause{command.reason};
}
What resume(const Command& command) {
    return event::Resume{command.reason};
}
What promote(const Command& command) {
    return event::Promote{command.override_proof, command.reason};
}
What roll_back(const Command& command) {
    return event::RollBack{command.reason};
}
What extend(const Command& command) {
    return event::Extend{command.by, command.reason};
}
What finish(const Command& command) {
    return event::Finish{command.reason};
}
What acknowledge(const Command& command) {
    return event::Acknowledge{command.reason};
}

constexpr auto get = Method::get;
constexpr auto post = Method::post;
// clang-format off
constexpr Endpoint table[] = {
    {get,  "/status",                                 "rollout width colour", serve_status},
    {get,  "/healthz",                                "",                     serve_healthz},
    {get,  "/readyz",                                 "",                     serve_readyz},
    {get,  "/metrics",                                "",                     serve_metrics},
    {get,  "/api/v1/journal",                         "after limit",          serve_journal},
    {get,  "/api/v1/rollouts",                        "",                     serve_rollouts},
    {get,  "/api/v1/rollouts/{rollout}",              "",                     serve_rollout},
    {get,  "/api/v1/rollouts/{rollout}/journal",      "after limit",          serve_journal},
    {get,  "/api/v1/rollouts/{rollout}/explain",      "trigger maths",        serve_explain},
    {get,  "/api/v1/rollouts/{rollout}/route",        "user",                 serve_route},
    {post, "/api/v1/rollouts",                        "", serve_start,       a_policy},
    {post, "/api/v1/rollouts/{rollout}/pause",        "", serve_command,     maybe_a_reason, pause},
    {post, "/api/v1/rollouts/{rollout}/rollback",     "", serve_command,     maybe_a_reason, roll_back},
    {post, "/api/v1/rollouts/{rollout}/acknowledge",  "", serve_command,     maybe_a_reason, acknowledge},
    {post, "/api/v1/rollouts/{rollout}/resume",       "", serve_command,     a_reason,       resume},
    {post, "/api/v1/rollouts/{rollout}/promote",      "", serve_command,     a_promotion,    promote},
    {post, "/api/v1/rollouts/{rollout}/extend",       "", serve_command,     an_extension,   extend},
    {post, "/api/v1/rollouts/{rollout}/finish",       "", serve_command,     a_reason,       finish},
    {post, "/api/v1/rollouts/{rollout}/notify-test",  "", serve_notify_test, maybe_a_reason},
};
// clang-format on

/// A rollout's id or name; nothing else is looked up.
bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_' || c == '.';
    });
}

/// Whether `path` is `pattern`; then `rollout` is its {rollout}.
bool matches(std::string_view pattern, const std::vector<std::string>& path, std::string& rollout) {
    std::string found;
    for (const std::string& segment : path) {
        if (pattern.empty()) return false;
        pattern.remove_prefix(1);
        const std::string_view wanted = pattern.substr(0, pattern.find('/'));
        pattern.remove_prefix(wanted.size());
        if (wanted == "{rollout}") {
            if (!is_name(segment)) return false;
            found = segment;
        } else if (wanted != segment) {
            return false;
        }
    }
    if (!pattern.empty() || path.empty()) return false;
    rollout = found;
    return true;
}

bool lists(std::string_view words, std::string_view word) {
    while (!words.empty()) {
        const std::size_t space = std::min(words.find(' '), words.size());
        if (words.substr(0, space) == word) return true;
        words.remove_prefix(std::min(space + 1, words.size()));
    }
    return false;
}

std::optional<Refusal> fault_of_query(const Head& head, const Endpoint& endpoint) {
    for (auto pair = head.query.begin(); pair != head.query.end(); ++pair) {
        const std::string& key = pair->first;
        if (!lists(endpoint.parameters, key)) {
            const std::string known = endpoint.parameters.empty()
                                          ? "it takes none"
                                          : "it takes " + std::string(endpoint.parameters);
            return Refusal{400, "query",
                           "unknown query parameter " + in_quotes(key) + "; " + known};
        }
        if (std::any_of(head.query.begin(), pair, [&](const auto& p) { return p.first == key; })) {
            return Refusal{400, "query", "query parameter " + in_quotes(key) + " is there twice"};
        }
    }
    return {};
}

bool is_json(std::string_view media_type) {
    std::string type(media_type.substr(0, media_type.find(';')));
    while (!type.empty() && type.back() == ' ') type.pop_back();
    std::transform(type.begin(), type.end(), type.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return type == "application/json";
}

/// Browsers say where a request comes from; a page of somebody else may not command.
std::optional<Refusal> fault_of_origin(const Head& head) {
    const std::string_view site = head.field("sec-fetch-site");
    if (!site.empty() && site != "same-origin" && site != "none") {
        return Refusal{403, "cross-site", "commands from another site's page are not taken"};
    }
    const std::string_view origin = head.field("origin");
    if (!origin.empty() && origin != "http://" + std::string(head.field("host"))) {
        return Refusal{403, "cross-site",
                       "commands of origin " + in_quotes(origin) + " are not taken"};
    }
    return {};
}

std::optional<Refusal> fault_of_command(const Head& head, const Caller& caller,
                                        const Endpoint& endpoint) {
    if (auto refusal = fault_of_origin(head)) return refusal;
    if (!caller.local) {
        return Refusal{403, "read-only",
                       "TCP is for reading; commands go by the Unix socket: canaryctl, or "
                       "curl --unix-socket"};
    }
    if (!is_json(head.field("content-type"))) {
        return Refusal{415, "media-type", "send Content-Type: application/json"};
    }
    if (!head.content_length) {
        return Refusal{411, "length-required", "send Content-Length, 0 without a body"};
    }
    const std::uint64_t most = endpoint.wanted.policy ? max_policy_body : max_body;
    if (*head.content_length > most) {
        return Refusal{413, "too-large",
                       "the body may have " + std::to_string(most / 1024) + " KiB here"};
    }
    return {};
}

}  // namespace

std::string Request::parameter(std::string_view name) const {
    for (const auto& [key, value] : head.query) {
        if (key == name) return value;
    }
    return {};
}

bool Request::wants_json() const {
    return head.field("accept").find("application/json") != std::string_view::npos;
}

Admission admit(const Head& head, const Caller& caller, std::string_view listen_address) {
    Admission admission;
    if (!caller.local && !host_allowed(head.host, listen_address)) {
        admission.refusal = Refusal{
            421, "host",
            "this is not " + in_quotes(head.host) + "; ask for 127.0.0.1, localhost or [::1]"};
        return admission;
    }
    const Method wanted = head.method == Method::head ? Method::get : head.method;
    const bool of_server = head.target == "*" || head.method_name == "CONNECT";
    bool gets = of_server;
    bool posts = of_server;
    for (const Endpoint& endpoint : table) {
        if (!matches(endpoint.path, head.path, admission.rollout)) continue;
        (endpoint.method == Method::get ? gets : posts) = true;
        if (endpoint.method == wanted) admission.endpoint = &endpoint;
    }
    if (!gets && !posts) {
        admission.refusal =
            Refusal{404, "not-found", in_quotes(head.target) + " is not here; try /status"};
        return admission;
    }
    admission.allow = gets && posts ? "GET, HEAD, POST, OPTIONS"
                      : gets        ? "GET, HEAD, OPTIONS"
                                    : "POST, OPTIONS";
    if (head.method == Method::options) return admission;
    if (admission.endpoint == nullptr) {
        admission.refusal =
            Refusal{405,
                    "method",
                    head.method_name + " is not for this; it takes " + admission.allow,
                    {{"Allow", admission.allow}}};
        return admission;
    }
    if (wanted == Method::post) {
        admission.refusal = fault_of_command(head, caller, *admission.endpoint);
    }
    if (!admission.refusal) admission.refusal = fault_of_query(head, *admission.endpoint);
    return admission;
}

Async<Reply> serve(Controller& controller, Request request) {
    const std::string id = request.id;
    const bool changes = request.endpoint->method == Method::post;
    Refusal refusal;
    try {
        Reply reply = co_await request.endpoint->serve(controller, std::move(request));
        co_return reply;
    } catch (const Refusal& refused) {
        refusal = refused;
    } catch (const StandingBy& error) {
        refusal = {409, "standby", escaped(error.what())};
    } catch (const std::out_of_range&) {
        refusal = {404, "unknown-rollout", "there is no such rollout any more"};
    } catch (const std::exception& error) {
        log(Level::error, "request " + id + ": " + error.what());
        const std::string what = escaped(std::string_view(error.what()).substr(0, 300));
        refusal = {503, changes ? "unknown-outcome" : "unavailable",
                   what + (changes ? "; whether it was recorded is not known: ask status first"
                                   : "; ask again")};
    }
    co_return problem(refusal, id, false);
}

}  // namespace canaryd::http
