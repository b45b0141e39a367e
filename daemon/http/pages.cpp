// What can be read. None of it waits, but for the journals.
#include <algorithm>
#include <charconv>

#include "canaryd/text.hpp"
#include "daemon/http/api.hpp"
#include "daemon/http/metrics.hpp"
#include "daemon/http/view_json.hpp"
#include "daemon/log.hpp"

namespace canaryd::http {

namespace {

/// A query parameter as a whole number in [least, most].
std::uint64_t number_of(const Request& request, std::string_view name, std::uint64_t otherwise,
                        std::uint64_t least, std::uint64_t most) {
    const std::string written = request.parameter(name);
    const bool given = std::any_of(request.head.query.begin(), request.head.query.end(),
                                   [&](const auto& pair) { return pair.first == name; });
    if (!given) return otherwise;
    std::uint64_t value = 0;
    const char* const end = written.data() + written.size();
    const auto [stop, error] = std::from_chars(written.data(), end, value);
    if (error != std::errc{} || stop != end || value < least || value > most) {
        throw Refusal{400, "query",
                      std::string(name) + "=" + in_quotes(written) + ": want a whole number from " +
                          std::to_string(least) + " to " + std::to_string(most)};
    }
    return value;
}

std::string status_text(const std::vector<View>& views, const text::Paper& paper) {
    if (views.empty()) return "No rollout yet. Begin one: canaryctl start POLICY.yaml\n";
    if (views.size() == 1) return text::status_page(views.front(), paper);
    std::string lines, pages;
    std::size_t drawn = 0;
    for (const View& view : views) {
        std::string line = text::status_line(view, paper);
        if (line.empty() || line.back() != '\n') line += '\n';
        lines += line;
        if (view.rollout.over() || drawn == most_with_criteria) continue;
        ++drawn;
        pages += "\n" + text::status_page(view, paper);
    }
    return lines + pages;
}

/// Before any page, since what follows is another daemon's.
std::string standby_line(const Health& health) {
    return health.standby.empty() ? "" : "STANDBY: " + escaped(health.standby) + ".\n\n";
}

Refusal not_ready(const Health& health) {
    if (!health.standby.empty()) return {503, "standby", escaped(health.standby)};
    if (!health.store_trouble.empty()) {
        return {503, "store", "the store cannot be read: " + escaped(health.store_trouble)};
    }
    return {503, "not-ready", "the store and the routes are being read; ask again in a moment"};
}

}  // namespace

View view_or_refuse(const Controller& controller, const std::string& rollout) {
    if (auto view = controller.view(rollout)) return *view;
    const Health health = controller.health();
    if (!health.ready && health.standby.empty()) throw not_ready(health);
    std::string names;
    std::size_t named = 0;
    for (const View& view : controller.views()) {
        if (++named > 10) {
            names += ", …";
            break;
        }
        names += (names.empty() ? "" : ", ") + view.rollout.id;
    }
    throw Refusal{404, "unknown-rollout",
                  "no rollout " + in_quotes(rollout) +
                      (names.empty() ? "; there is none yet" : "; there are " + names)};
}

Async<Reply> serve_status(Controller& controller, Request request) {
    text::Paper paper;
    paper.width = static_cast<int>(number_of(request, "width", 80, 40, 200));
    paper.colour = number_of(request, "colour", 0, 0, 1) == 1;
    const std::string rollout = request.parameter("rollout");
    const Health health = controller.health();
    std::vector<View> views;
    if (rollout.empty()) {
        views = controller.views();
        if (views.empty() && !health.ready && health.standby.empty()) throw not_ready(health);
    } else {
        views.push_back(view_or_refuse(controller, rollout));
    }
    if (!request.wants_json()) {
        co_return text_reply(standby_line(health) + status_text(views, paper));
    }
    co_return json_reply(status_json(views, health));
}

Async<Reply> serve_healthz(Controller&, Request) {
    co_return text_reply("ok\n");
}

Async<Reply> serve_readyz(Controller& controller, Request) {
    const Health health = controller.health();
    if (!health.ready) throw not_ready(health);
    if (!health.store_trouble.empty()) {
        throw Refusal{503, "store",
                      "the store cannot be written, so only lowering is done: " +
                          escaped(health.store_trouble)};
    }
    co_return text_reply("ready\n");
}

Async<Reply> serve_metrics(Controller& controller, Request) {
    Reply reply =
        text_reply(metrics_page(controller.views(), controller.health(), dropped_log_lines()));
    reply.type = "text/plain; version=0.0.4; charset=utf-8";
    co_return reply;
}

Async<Reply> serve_rollouts(Controller& controller, Request) {
    co_return json_reply(views_json(controller.views()));
}

Async<Reply> serve_rollout(Controller& controller, Request request) {
    co_return json_reply(view_json(view_or_refuse(controller, request.rollout)));
}

Async<Reply> serve_explain(Controller& controller, Request request) {
    const View view = view_or_refuse(controller, request.rollout);
    const std::string trigger = request.parameter("trigger");
    std::string names;
    bool known = trigger.empty();
    for (const Trigger& candidate : view.policy.triggers) {
        known = known || candidate.name == trigger;
        names += (names.empty() ? "" : ", ") + candidate.name;
    }
    if (!known) {
        throw Refusal{404, "unknown-trigger",
                      "no trigger " + in_quotes(trigger) +
                          (names.empty() ? "; the policy has none" : "; there are " + names)};
    }
    const std::string maths = request.parameter("maths");
    if (!maths.empty() && (maths != "1" || !trigger.empty())) {
        throw Refusal{400, "query", "want maths=1, and no trigger beside it"};
    }
    std::string text = !trigger.empty() ? text::explain_trigger(view, trigger)
                       : !maths.empty() ? text::explain_maths(view)
                                        : text::explain(view);
    if (request.wants_json()) co_return json_reply(text_json(text));
    if (text.empty() || text.back() != '\n') text += '\n';
    co_return text_reply(std::move(text));
}

Async<Reply> serve_route(Controller& controller, Request request) {
    const View view = view_or_refuse(controller, request.rollout);
    const std::string user = request.parameter("user");
    if (user.empty()) throw Refusal{400, "query", "want user=ID: whose route?"};
    co_return json_reply(route_json(view, user));
}

Async<Reply> serve_journal(Controller& controller, Request request) {
    constexpr std::uint64_t last = 9'000'000'000'000'000'000;
    const std::uint64_t after = number_of(request, "after", 0, 0, last);
    const auto limit = static_cast<std::size_t>(number_of(request, "limit", 100, 1, 1000));
    const bool of_all = request.rollout.empty();
    // The journal is by id; a name stands for its newest rollout.
    const std::string id =
        of_all ? std::string() : view_or_refuse(controller, request.rollout).rollout.id;
    const std::vector<JournalEntry> entries = co_await controller.journal(id, after, limit);
    co_return json_reply(journal_json(entries, of_all));
}

}  // namespace canaryd::http
