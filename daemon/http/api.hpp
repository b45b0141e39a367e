// The table of endpoints: what may be asked, by whom, with what, and who answers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "canaryd/controller.hpp"
#include "daemon/http/body.hpp"
#include "daemon/http/framing.hpp"
#include "daemon/http/reply.hpp"

namespace canaryd::http {

/// Who is at the other end of a connection.
struct Caller {
    bool local = false;     // by the Unix socket: may command
    std::uint32_t uid = 0;  // of the peer, when local
};

struct Endpoint;

/// A request that was admitted, with its body.
struct Request {
    const Endpoint* endpoint = nullptr;
    Head head;
    std::string rollout;  // the path's {rollout}, if it has one
    std::string body;
    Caller caller;
    std::string id;

    /// A query parameter, "" without it.
    [[nodiscard]] std::string parameter(std::string_view name) const;
    [[nodiscard]] bool wants_json() const;
};

/// One row of the table. A serve function may throw a Refusal.
struct Endpoint {
    Method method = Method::get;
    std::string_view path;        // {rollout} stands for one segment
    std::string_view parameters;  // of the query, separated by spaces
    Async<Reply> (*serve)(Controller&, Request) = nullptr;
    Wanted wanted = {};                         // POST: what the body may say
    What (*command)(const Command&) = nullptr;  // POST …/{rollout}/VERB
};

/// What is decided on the head alone: path, method, listener, origin, media type, length.
struct Admission {
    std::optional<Refusal> refusal;
    const Endpoint* endpoint = nullptr;  // null with no refusal: OPTIONS, answered by `allow`
    std::string rollout;
    std::string allow;
};
Admission admit(const Head& head, const Caller& caller, std::string_view listen_address);

/// Answers an admitted request; never throws.
Async<Reply> serve(Controller& controller, Request request);

// The rows' functions: pages.cpp reads, commands.cpp changes.
Async<Reply> serve_status(Controller& controller, Request request);
Async<Reply> serve_healthz(Controller& controller, Request request);
Async<Reply> serve_readyz(Controller& controller, Request request);
Async<Reply> serve_metrics(Controller& controller, Request request);
Async<Reply> serve_rollouts(Controller& controller, Request request);
Async<Reply> serve_rollout(Controller& controller, Request request);
Async<Reply> serve_explain(Controller& controller, Request request);
Async<Reply> serve_route(Controller& controller, Request request);
Async<Reply> serve_journal(Controller& controller, Request request);
Async<Reply> serve_start(Controller& controller, Request request);
Async<Reply> serve_command(Controller& controller, Request request);
Async<Reply> serve_notify_test(Controller& controller, Request request);

/// Of the rollout in the path (or of the name given); throws the Refusal that says which there are.
View view_or_refuse(const Controller& controller, const std::string& rollout);

}  // namespace canaryd::http
