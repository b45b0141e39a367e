// What changes something: by the Unix socket only, acknowledged when it is durable.
#include <pwd.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "daemon/http/api.hpp"
#include "daemon/http/view_json.hpp"
#include "daemon/log.hpp"

namespace canaryd::http {

namespace {

/// The journal names people by their login, as the peer's credentials say.
Actor actor_of(const Caller& caller) {
    std::array<char, 16 * 1024> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    const int error = getpwuid_r(caller.uid, &entry, buffer.data(), buffer.size(), &found);
    const bool named = error == 0 && found != nullptr && found->pw_name != nullptr;
    return {named ? escaped(found->pw_name) : "uid-" + std::to_string(caller.uid), "operator"};
}

/// What the body says; throws when it is no JSON. The errors are the caller's to answer.
ParsedCommand parsed(const Request& request) {
    ParsedCommand result = parse_command(request.body, request.endpoint->wanted);
    if (!result.bad_json.empty()) throw Refusal{400, "json", result.bad_json};
    return result;
}

Reply unprocessable(const Request& request, const std::vector<FieldError>& errors) {
    std::string detail;
    for (const FieldError& error : errors) {
        detail += (detail.empty() ? "" : "; ") + error.pointer.substr(1) + ": " + error.message;
        if (detail.size() > 1000) break;
    }
    return problem({422, "body", detail}, request.id, errors);
}

}  // namespace

Async<Reply> serve_start(Controller& controller, Request request) {
    const ParsedCommand said = parsed(request);
    if (!said.errors.empty()) co_return unprocessable(request, said.errors);
    const std::string& text = said.command.policy_text;
    const std::string& file = said.command.policy_file;
    const ParsedPolicy policy = parse_policy(text, file);
    if (!policy.problems.empty()) {
        const Refusal mistakes{422, "policy",
                               file + " has " + std::to_string(policy.problems.size()) +
                                   (policy.problems.size() == 1 ? " mistake" : " mistakes")};
        co_return problem(mistakes, request.id, policy.problems);
    }
    std::string unfit;
    try {
        const Transition transition =
            co_await controller.start(text, file, actor_of(request.caller));
        if (transition.refused) throw Refusal{409, "refused", transition.reason};
        Reply reply = json_reply(started_json(transition), 201);
        reply.fields.emplace_back("Location", "/api/v1/rollouts/" + transition.next.id);
        co_return reply;
    } catch (const std::invalid_argument& error) {
        unfit = error.what();
    }
    throw Refusal{422, "policy", unfit};
}

Async<Reply> serve_command(Controller& controller, Request request) {
    const ParsedCommand said = parsed(request);
    view_or_refuse(controller, request.rollout);
    if (!said.errors.empty()) co_return unprocessable(request, said.errors);
    const What what = request.endpoint->command(said.command);
    const Actor actor = actor_of(request.caller);
    const Transition transition = co_await controller.submit(request.rollout, what, actor);
    if (transition.refused) throw Refusal{409, "refused", transition.reason};
    co_return json_reply(done_json(transition));
}

Async<Reply> serve_notify_test(Controller& controller, Request request) {
    const ParsedCommand said = parsed(request);
    view_or_refuse(controller, request.rollout);
    if (!said.errors.empty()) co_return unprocessable(request, said.errors);
    const Actor actor = actor_of(request.caller);
    const std::vector<std::string> lines = co_await controller.notify_test(request.rollout, actor);
    co_return json_reply(lines_json(lines));
}

}  // namespace canaryd::http
