#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <stdexcept>
#include <string>

#include "daemon/notifiers/notifiers.hpp"
#include "daemon/notifiers/slack_message.hpp"
#include "daemon/utf8.hpp"

namespace {

namespace json = boost::json;
namespace slack = canaryd::slack;
using canaryd::Message;
using canaryd::Sent;
using canaryd::Severity;
using canaryd::TimePoint;
using namespace std::chrono_literals;

constexpr TimePoint happened{std::chrono::sys_days{std::chrono::year{2026} / 1 / 22} + 23h + 41min};

Message rolled_back(std::string text) {
    Message message;
    message.id = "unified-webhook-1/1873/0/0:slack";
    message.rollout = "unified-webhook-1";
    message.revision = 1873;
    message.at = happened;
    message.notice = {canaryd::Notice::Kind::rolled_back, Severity::critical, std::move(text)};
    return message;
}

json::array blocks_of(const std::string& payload) {
    return json::parse(payload).as_object().at("blocks").as_array();
}

std::string text_of(const json::value& block) {
    const auto& fields = block.as_object();
    if (const auto* text = fields.if_contains("text")) {
        return text->as_object().at("text").as_string().c_str();
    }
    std::string all;
    for (const auto& element : fields.at("elements").as_array()) {
        all += std::string(element.as_object().at("text").as_string()) + "\n";
    }
    return all;
}

std::string shown(const std::string& payload) {
    std::string all;
    for (const auto& block : blocks_of(payload)) all += text_of(block) + "\n";
    return all;
}

slack::Answer answered(int status, std::string body, std::string retry_after = {}) {
    return {status, std::move(retry_after), std::move(body)};
}

/// What is thrown, as text; empty: nothing was.
template <class Call>
std::string thrown_by(Call call) {
    try {
        call();
    } catch (const std::exception& error) {
        return error.what();
    }
    return {};
}

std::string retried(const slack::Answer& answer) {
    return thrown_by([&] { slack::outcome_of(answer, "hooks.slack.com"); });
}

std::string refused(std::string_view url) {
    return thrown_by([&] { slack::parse_webhook(url); });
}

}  // namespace

TEST_SUITE("notifier") {
    TEST_CASE("a notice is a bold headline with its colour, the rest below, and its revision") {
        const std::string payload = slack::payload(
            rolled_back("unified-webhook: ROLLED BACK from 50 % to 0 %\nUsers are safe on legacy.\n"
                        "Acknowledge: canaryctl ack unified-webhook"),
            happened + 1s);
        const json::array blocks = blocks_of(payload);
        REQUIRE(blocks.size() == 3);
        CHECK(text_of(blocks[0]) == ":red_circle: *unified-webhook: ROLLED BACK from 50 % to 0 %*");
        CHECK(text_of(blocks[1]) ==
              "Users are safe on legacy.\nAcknowledge: canaryctl ack unified-webhook");
        CHECK(text_of(blocks[2]) == "unified-webhook-1 · rev 1873\n");
        CHECK(json::parse(payload).as_object().at("text").as_string() ==
              ":red_circle: unified-webhook: ROLLED BACK from 50 % to 0 %");
    }
    TEST_CASE("the statement that goes back by hand comes through as it has to be typed") {
        const std::string line = "Past canaryd: select canaryd.rollback('why');";
        const json::array blocks =
            blocks_of(slack::payload(rolled_back("ROLLED BACK\n" + line), happened));
        REQUIRE(blocks.size() == 3);
        CHECK(text_of(blocks[1]) == line);
    }
    TEST_CASE("the colour says how bad it is") {
        Message message = rolled_back("healthy at 10 %");
        message.notice.severity = Severity::info;
        CHECK(
            shown(slack::payload(message, happened)).starts_with(":large_green_circle: *healthy"));
        message.notice.severity = Severity::warning;
        CHECK(shown(slack::payload(message, happened)).starts_with(":large_yellow_circle: *"));
    }
    TEST_CASE("a message that is sent late says when it happened") {
        const Message message = rolled_back("rolled back");
        CHECK(shown(slack::payload(message, happened + 2min)).find("sent") == std::string::npos);
        CHECK(shown(slack::payload(message, happened + 31min))
                  .find("rev 1873 · sent 00:12, happened 23:41 UTC") != std::string::npos);
        CHECK(shown(slack::payload(message, happened + 72h))
                  .find("sent Sun 25 Jan 23:41 UTC, happened Thu 22 Jan 23:41 UTC") !=
              std::string::npos);
        CHECK(slack::plain_payload(message, happened + 31min).find("happened 23:41") !=
              std::string::npos);
    }
    TEST_CASE("text from users calls nobody and links nowhere") {
        const std::string payload = slack::payload(
            rolled_back("agent <!channel> & co\nreason: <http://evil.example|click> <@U123>"),
            happened);
        const std::string text = shown(payload);
        CHECK(text.find("*agent &lt;!channel&gt; &amp; co*") != std::string::npos);
        CHECK(text.find("&lt;http://evil.example|click&gt; &lt;@U123&gt;") != std::string::npos);
        CHECK(payload.find('<') == std::string::npos);
        for (const auto& block : blocks_of(payload)) {
            if (const auto* part = block.as_object().if_contains("text")) {
                CHECK(part->as_object().at("verbatim").as_bool());
            }
        }
    }
    TEST_CASE("characters that cannot be shown are left out, bytes that are no text replaced") {
        const std::string text = shown(slack::payload(rolled_back("a\x1b[1mb\x07"
                                                                  "c\xE2\x80\xAE"
                                                                  "d\tz\nx\r\ny\xFFz"),
                                                      happened));
        CHECK(text.find("*a[1mbcd z*\n") != std::string::npos);
        CHECK(text.find("x\ny\xEF\xBF\xBDz") != std::string::npos);
    }
    TEST_CASE("a notice without text still has a headline, and no block is empty") {
        for (const char* text : {"", "\n \n", "\x01\n\x02", "only a headline\n\n \n"}) {
            const std::string payload = slack::payload(rolled_back(text), happened);
            const json::array blocks = blocks_of(payload);
            CHECK(blocks.size() == 2);
            CHECK(text_of(blocks[0]).find("**") == std::string::npos);
        }
    }
    TEST_CASE("whatever its length, a message keeps to Slack's limits and says that it was cut") {
        std::string lines;
        for (int i = 0; i < 3000; ++i) lines += "line " + std::to_string(i) + "\n";
        const std::string texts[] = {
            std::string(60'000, 'x'),
            std::string(60'000, '\n') + "end",
            "headline\n" + std::string(60'000, '<'),
            "headline\n" + std::string(60'000, '"'),
            "headline\n" + std::string(60'000, '\x01') + std::string(20'000, '\xFF'),
            "headline\n" + lines,
        };
        for (const std::string& text : texts) {
            const std::string payload = slack::payload(rolled_back(text), happened + 96h);
            CHECK(payload.size() <= 12'000);
            const json::array blocks = blocks_of(payload);
            CHECK(blocks.size() <= 40);
            for (const auto& block : blocks) {
                CHECK(text_of(block).size() <= 2'950);
                CHECK_FALSE(text_of(block).empty());
            }
        }
        const std::string cut = shown(slack::payload(rolled_back(texts[5]), happened));
        CHECK(cut.find("cut here") != std::string::npos);
        CHECK(cut.find("line 900\n") != std::string::npos);
        // Sections end where lines end: none is lost between two of them.
        for (int i = 0; i <= 900; ++i) {
            REQUIRE(cut.find("line " + std::to_string(i) + "\n") != std::string::npos);
        }
        CHECK(shown(slack::payload(rolled_back("short"), happened)).find("cut") ==
              std::string::npos);
    }
    TEST_CASE("cutting breaks no character and no escape") {
        std::string text = "x";
        for (int i = 0; i < 9000; ++i) text += "é&";
        for (const auto& block : blocks_of(slack::payload(rolled_back("h\n" + text), happened))) {
            const std::string shown_text = text_of(block);
            std::string_view rest = shown_text;
            while (!rest.empty()) {
                const auto character = canaryd::first_character(rest);
                REQUIRE(character.valid);
                if (character.code == '&') REQUIRE(rest.starts_with("&amp;"));
                rest.remove_prefix(character.bytes);
            }
        }
    }

    TEST_CASE("only 200 with exactly ok is delivered") {
        CHECK(slack::outcome_of(answered(200, "ok"), "h").kind == Sent::Kind::delivered);
        for (const char* body : {"", "OK", "ok\n", " ok", "okay", "{\"ok\":false}"}) {
            CHECK(retried(answered(200, body)).find("HTTP 200, and the body is not ok") !=
                  std::string::npos);
        }
        CHECK_FALSE(retried(answered(201, "ok")).empty());
        CHECK_FALSE(retried(answered(204, "")).empty());
    }
    TEST_CASE("429 waits as long as it asks for, within reason, and is no attempt") {
        const auto wait = [](std::string retry_after) {
            const Sent sent = slack::outcome_of(answered(429, "", std::move(retry_after)), "h");
            CHECK(sent.kind == Sent::Kind::later);
            return *sent.wait;
        };
        CHECK(wait("1") == 1s);
        CHECK(wait("45") == 45s);
        CHECK(wait("3600") == 15min);
        CHECK(wait("99999999999999999999999") == 15min);
        for (const char* bad :
             {"", "soon", "-5", "0", "1.5", "30 ", "Wed, 21 Oct 2026 07:28:00 GMT"}) {
            CHECK(wait(bad) == 30s);
        }
    }
    TEST_CASE("a webhook that Slack has closed is given up with Slack's word for it") {
        for (const char* word : {"no_service", "invalid_token", "channel_is_archived",
                                 "action_prohibited", "user_not_found"}) {
            for (const int status : {403, 404, 410}) {
                const Sent sent = slack::outcome_of(answered(status, word), "hooks.slack.com");
                CHECK(sent.kind == Sent::Kind::never);
                CHECK(sent.why.find(std::string("slack hooks.slack.com: ") + word) == 0);
            }
        }
        CHECK(slack::outcome_of(answered(404, ""), "h").kind == Sent::Kind::never);
        CHECK(slack::outcome_of(answered(410, "whatever"), "h").kind == Sent::Kind::never);
        CHECK(slack::outcome_of(answered(403, ""), "h").kind == Sent::Kind::never);
    }
    TEST_CASE("what may pass is thrown, to be tried again") {
        CHECK(retried(answered(503, "")) ==
              "slack hooks.slack.com: HTTP 503, and the body is not ok");
        CHECK_FALSE(retried(answered(500, "no_service")).empty());
        CHECK(retried(answered(302, "")).find("redirect") != std::string::npos);
        const std::string html = "\n <!DOCTYPE html><title>Sign in</title>";
        for (const int status : {200, 403, 404, 502}) {
            CHECK(retried(answered(status, html)).find("a proxy or login page?") !=
                  std::string::npos);
        }
    }
    TEST_CASE("an answer is never quoted: it could repeat the secret") {
        const std::string secret = "T000/B000/XXXX";
        for (const int status : {200, 302, 400, 500}) {
            CHECK(retried(answered(status, secret)).find(secret) == std::string::npos);
        }
        CHECK(slack::outcome_of(answered(404, secret), "h").why.find(secret) == std::string::npos);
    }
    TEST_CASE("a refused form is told from a refused sender, and is given up") {
        CHECK(slack::refuses_form(answered(400, "invalid_blocks")));
        CHECK(slack::refuses_form(answered(413, "")));
        CHECK_FALSE(slack::refuses_form(answered(404, "no_service")));
        CHECK_FALSE(slack::refuses_form(answered(200, "ok")));
        CHECK(slack::outcome_of(answered(400, "invalid_payload"), "h").kind == Sent::Kind::never);
    }

    TEST_CASE("a webhook is https, or plain http on this machine") {
        const auto usual = slack::parse_webhook("https://hooks.slack.com/services/T0/B0/secret");
        CHECK(usual.tls);
        CHECK(usual.authority() == "hooks.slack.com");
        CHECK(usual.port == "443");
        CHECK(usual.target == "/services/T0/B0/secret");
        const auto local = slack::parse_webhook("http://127.0.0.1:8099/hook?x=1");
        CHECK_FALSE(local.tls);
        CHECK(local.authority() == "127.0.0.1:8099");
        CHECK(local.target == "/hook?x=1");
        CHECK(slack::parse_webhook("http://[::1]:80").authority() == "[::1]");
        CHECK(slack::parse_webhook("http://localhost").target == "/");
    }
    TEST_CASE("any other webhook is refused, and never quoted") {
        const char* const bad[] = {"",
                                   "hooks.slack.com/services/secret",
                                   "http://hooks.slack.com/services/secret",
                                   "http://169.254.169.254/secret",
                                   "http://[::ffff:10.0.0.1]/secret",
                                   "http://localhost.evil.example/secret",
                                   "ftp://hooks.slack.com/secret",
                                   "file:///secret",
                                   "https://user@hooks.slack.com/secret",
                                   "https://user:pw@hooks.slack.com/secret",
                                   "https:///secret",
                                   "https://hooks.slack.com/secret#part",
                                   "https://hooks.slack.com:0/secret",
                                   "https://hooks.slack.com:99999/secret",
                                   "https://hooks.slack.com:/secret",
                                   "https://hooks.slack.com/sec ret",
                                   "https://hooks.slack.com/secret\r\nHost: evil",
                                   "https://hooks.slack.com/%zzsecret"};
        for (const char* url : bad) {
            CAPTURE(std::string(url));
            const std::string why = refused(url);
            CHECK(why.starts_with("slack webhook: "));
            CHECK(why.find("secret") == std::string::npos);
        }
    }

    TEST_CASE("an unknown kind or connection is named with what is known") {
        const boost::asio::any_io_executor nowhere;
        canaryd::Settings settings;
        settings.connections["ops"] = {"ops", "slack", "", "slack_webhook", ""};
        settings.connections["metrics"] = {"metrics", "sqlite", "/m.db", "", ""};
        settings.connections["empty"] = {"empty", "slack", "", "", ""};
        settings.connections["wide"] = {"wide", "slack", "", "", "http://example.com/secret"};
        const auto why = [&](const char* kind, const char* connection) {
            return thrown_by([&] {
                canaryd::make_notifier({kind, connection, ""}, settings, nowhere);
            });
        };
        CHECK(why("slack", "ops").empty());
        CHECK(why("log", "").empty());
        CHECK(why("pager", "ops") == "notify: unknown kind \"pager\"; known: slack, log");
        CHECK(why("slack", "opps").find("no connection \"opps\"") != std::string::npos);
        CHECK(why("slack", "metrics").find("is of kind sqlite, not slack") != std::string::npos);
        CHECK(why("slack", "empty").find("webhook: {credential: NAME}") != std::string::npos);
        CHECK(why("slack", "wide").find("plain http outside this machine") != std::string::npos);
    }
}
