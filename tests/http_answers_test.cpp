// What a command's body may say, and what is answered: problems, rollouts, journals, metrics.
#include <doctest/doctest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "canaryd/evidence.hpp"
#include "daemon/http/body.hpp"
#include "daemon/http/metrics.hpp"
#include "daemon/http/reply.hpp"
#include "daemon/http/view_json.hpp"

using namespace canaryd;
using namespace canaryd::http;

namespace {

Policy demo_policy() {
    Policy policy;
    policy.name = "demo";
    policy.canary = "new";
    policy.baseline = {"old"};
    policy.steps = {{"first", Weight{1000}, std::chrono::hours{24}},
                    {"all", everybody, std::chrono::hours{24}}};
    Criterion criterion;
    criterion.name = "errors";
    criterion.metric = "error_rate";
    criterion.limit = 0.01;
    policy.criteria = {criterion};
    policy.segment = "agent";
    policy.segments = {"rides", "jobs"};
    return policy;
}

View demo_view() {
    View view;
    view.policy = demo_policy();
    view.now = TimePoint{std::chrono::hours{500'000}};
    view.rollout.id = "demo-1";
    view.rollout.name = "demo";
    view.rollout.status = Status::progressing;
    view.rollout.desired = Weight{1000};
    view.rollout.applied = Weight{1000};
    view.rollout.revision = 7;
    view.rollout.started = view.now - std::chrono::hours{2};
    view.rollout.baked = std::chrono::hours{1};
    view.rollout.ledger = new_ledger(view.policy);
    view.rollout.segments.resize(2);
    view.rollout.canary.requests = 200;
    view.rollout.canary.events = {3};
    return view;
}

}  // namespace

TEST_SUITE("http") {
    TEST_CASE("a body says what the command knows, once, in plain text") {
        const Wanted promote{.reason = true, .needs_reason = true, .override_proof = true};
        const Wanted extend{.reason = true, .needs_reason = true, .by = true};
        const Wanted pause{.reason = true};
        const auto good = parse_command(R"({"reason":"checked","override":true})", promote);
        CHECK(good.bad_json.empty());
        CHECK(good.errors.empty());
        CHECK(good.command.reason == "checked");
        CHECK(good.command.override_proof);
        CHECK(parse_command("", pause).errors.empty());
        CHECK(parse_command("{}", promote).errors.size() == 1);
        CHECK(parse_command(R"({"reason":"  "})", promote).errors.size() == 1);
        CHECK(parse_command(R"({"reason":"x","override":"yes"})", promote).errors.size() == 1);
        CHECK(parse_command(R"({"reason":"x","weight":50})", promote).errors.size() == 1);
        const auto longer = parse_command(R"({"reason":"more traffic","by":"7d"})", extend);
        CHECK(longer.errors.empty());
        CHECK(longer.command.by == std::chrono::hours{7 * 24});
        for (const char* bad : {R"("7")", R"("-1d")", R"("0s")", "7", R"("9999999999d")", "null"}) {
            CAPTURE(bad);
            const std::string body = R"({"reason":"x","by":)" + std::string(bad) + "}";
            CHECK(parse_command(body, extend).errors.size() == 1);
        }
    }

    TEST_CASE("a body that is no JSON is no body") {
        const Wanted pause{.reason = true};
        for (const std::string& bad :
             {std::string("{"), std::string("{} {}"), std::string("\xef\xbb\xbf{}"),
              std::string("{/**/}"), std::string("[NaN]"), std::string("{'reason':'x'}"),
              std::string("{\"reason\":\"\xff\"}"), std::string(R"({"reason":"\ud800"})"),
              std::string(R"({"reason":"a","reason":"b"})"), std::string(R"({"a":{"b":1,"b":2}})"),
              std::string("[]"), std::string("7"), std::string(" "),
              std::string(10'000, '[') + std::string(10'000, ']'),
              std::string(17, '[') + std::string(17, ']')}) {
            CAPTURE(bad.substr(0, 40));
            CHECK_FALSE(parse_command(bad, pause).bad_json.empty());
        }
    }

    TEST_CASE("a reason forges nothing: one line of at most 500 characters") {
        CHECK(fault_of_reason("Bäume wachsen nicht in den Himmel").empty());
        CHECK(fault_of_reason(std::string(500, 'x')).empty());
        CHECK_FALSE(fault_of_reason(std::string(501, 'x')).empty());
        std::string wide;
        for (int i = 0; i < 500; ++i) wide += "ä";
        CHECK(fault_of_reason(wide).empty());
        for (const std::string& bad :
             {std::string("a\nb"), std::string("\x1b[31m"), std::string("a\0b", 3),
              std::string("\xff"), std::string("\xc2\x9b"), std::string("\xe2\x80\xae")}) {
            CHECK_FALSE(fault_of_reason(bad).empty());
        }
    }

    TEST_CASE("an error is a problem document") {
        const Reply reply = problem({404, "not-found", "no \"x\""}, "id-1", true);
        CHECK(reply.close);
        CHECK(reply.type == "application/problem+json");
        const auto document = boost::json::parse(reply.body).as_object();
        CHECK(document.at("type").as_string() == "urn:canaryd:problem:not-found");
        CHECK(document.at("title").as_string() == "Not Found");
        CHECK(document.at("status").as_int64() == 404);
        CHECK(document.at("detail").as_string() == "no \"x\"");
        CHECK(document.at("instance").as_string() == "id-1");
        CHECK(http_date(TimePoint{std::chrono::seconds{784'111'777}}) ==
              "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    TEST_CASE(
        "a rollout as JSON holds weights in percent, durations in seconds, null for unknown") {
        View view = demo_view();
        view.router_error = "bad bytes \xff";
        const auto json = boost::json::parse(view_json(view)).as_object();
        CHECK(json.at("id").as_string() == "demo-1");
        CHECK(json.at("status").as_string() == "progressing");
        CHECK(json.at("desired").to_number<double>() == 10);
        CHECK(json.at("served").is_null());
        CHECK(json.at("bake").at("seen_s").as_int64() == 3600);
        CHECK(json.at("bake").at("of_s").as_int64() == 86'400);
        CHECK(json.at("bake").at("not_counted").at("unconfirmed").as_int64() == 0);
        CHECK(json.at("canary").at("failed").as_int64() == 3);
        CHECK(json.at("criteria").as_array().size() == 3);
        CHECK(json.at("criteria").at(0).at("proven_below").is_null());
        CHECK(json.at("segments").as_array().size() == 2);
        CHECK(json.at("missing").as_array().size() > 0);
        CHECK(json.at("router_error").as_string() == "bad bytes \\xff");
        CHECK(json.at("by_hand").as_array().empty());
        view.by_hand = {"select canaryd.rollback('why');"};
        CHECK(boost::json::parse(view_json(view)).at("by_hand").as_array().size() == 1);
        view.served = Served{Weight{5}, 7, "canaryd", ""};
        CHECK(boost::json::parse(view_json(view)).at("served").at("weight").as_double() == 0.05);
    }

    TEST_CASE("a long list leaves the bounds out, one rollout has them") {
        const std::vector<View> few(most_with_criteria, demo_view());
        const std::vector<View> many(most_with_criteria + 1, demo_view());
        CHECK(boost::json::parse(views_json(few)).at(0).as_object().contains("criteria"));
        CHECK_FALSE(boost::json::parse(views_json(many)).at(0).as_object().contains("criteria"));
    }

    TEST_CASE("a user's route is the one readers are served") {
        View view = demo_view();
        view.served = Served{everybody, 7, "canaryd", ""};
        auto json = boost::json::parse(route_json(view, "u"));
        CHECK(json.at("route").as_string() == "canary");
        CHECK(json.at("served_by").at(0).as_string() == "new");
        view.served->weight = nobody;
        json = boost::json::parse(route_json(view, "u"));
        CHECK(json.at("route").as_string() == "baseline");
        CHECK(json.at("served_by").at(0).as_string() == "old");
    }

    TEST_CASE("a journal's event keeps its bytes where the chain is checked") {
        JournalEntry entry;
        entry.rollout = "demo-1";
        entry.revision = 3;
        entry.event = {TimePoint{}, "alice", "operator", event::Pause{"tea \"time\""}};
        entry.hash = "abc";
        const auto text = boost::json::parse(journal_json({entry}, true)).at(0);
        CHECK(text.at("event").is_string());
        CHECK(text.at("hash").as_string() == "abc");
        CHECK(boost::json::parse(text.at("event").as_string()).at("reason").as_string() ==
              "tea \"time\"");
        const auto object = boost::json::parse(journal_json({entry, entry}, false));
        CHECK(object.as_array().size() == 2);
        CHECK(object.at(1).at("event").is_object());
        CHECK(journal_json({}, true) == "[]");
    }

    TEST_CASE("a page of a journal ends before it is too large, and is never empty") {
        JournalEntry entry;
        entry.event = {TimePoint{}, "alice", "operator",
                       event::Pause{std::string(std::size_t{5} * 1024 * 1024, 'x')}};
        CHECK(boost::json::parse(journal_json({entry, entry}, false)).as_array().size() == 1);
    }

    TEST_CASE("metrics carry the rollout's name and small words only") {
        View over = demo_view();
        over.rollout.id = "demo-0";
        over.rollout.started -= std::chrono::hours{100};
        over.rollout.desired = nobody;
        View view = demo_view();
        view.rollout.holds.push_back({Hold::Kind::blind, "", view.now, "no metrics"});
        view.rollout.blind_since = view.now - std::chrono::seconds{90};
        Health health;
        health.ready = true;
        const std::string page = metrics_page({over, view}, health, 3);
        const auto has = [&](const std::string& line) {
            return page.find(line + "\n") != std::string::npos;
        };
        CHECK(has("canaryd_weight_desired_ratio{rollout=\"demo\"} 0.1"));
        CHECK(has("canaryd_held{kind=\"blind\",rollout=\"demo\"} 1"));
        CHECK(has("canaryd_held{kind=\"drift\",rollout=\"demo\"} 0"));
        CHECK(has("canaryd_blind_seconds{rollout=\"demo\"} 90"));
        CHECK(has("canaryd_step_requests{population=\"canary\",rollout=\"demo\"} 200"));
        CHECK(has("canaryd_step_failures{population=\"canary\",rollout=\"demo\"} 3"));
        CHECK(has("canaryd_baked_seconds{rollout=\"demo\"} 3600"));
        CHECK(has("canaryd_log_lines_dropped 3"));
        CHECK(page.find("demo-0") == std::string::npos);
        CHECK(page.find("canaryd_hold_harm_ratio") == std::string::npos);
        view.rollout.ledger.hold.streams.resize(1);
        CHECK(metrics_page({view}, health, 3).find("canaryd_hold_harm_ratio{rollout=\"demo\"} ") !=
              std::string::npos);
    }
}
