#include "daemon/notifiers/slack_message.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <boost/url.hpp>
#include <charconv>
#include <stdexcept>

#include "canaryd/text.hpp"
#include "daemon/utf8.hpp"

namespace canaryd::slack {
namespace {

namespace json = boost::json;

// Slack takes 50 blocks, 3,000 characters a section and about 13,000 in all. Counted here in bytes
// of JSON, which are at least as many.
constexpr std::size_t longest_section = 2'900;
constexpr std::size_t longest_body = 9'000;
constexpr std::size_t longest_headline = 600;
constexpr std::size_t most_blocks = 40;
constexpr Duration late{std::chrono::minutes{2}};
constexpr Duration longest_wait{std::chrono::minutes{15}};
constexpr Duration usual_wait{std::chrono::seconds{30}};

/// One character as Slack and JSON get it: the three that would make a mention or a link are
/// escaped, what cannot be shown is left out.
std::string escaped_for_slack(std::string_view text, const Character& character) {
    if (!character.valid) return "\xEF\xBF\xBD";  // U+FFFD
    if (character.code == '&') return "&amp;";
    if (character.code == '<') return "&lt;";
    if (character.code == '>') return "&gt;";
    if (character.code == '\t') return " ";
    if (character.code != '\n' && is_control(character.code)) return {};
    return std::string(text.substr(0, character.bytes));
}

std::size_t size_in_json(std::string_view escaped) {
    const auto doubled = [](char c) { return c == '"' || c == '\\' || c == '\n'; };
    return escaped.size() +
           static_cast<std::size_t>(std::count_if(escaped.begin(), escaped.end(), doubled));
}

/// Takes whole characters from the front of `text`, escaped, at most `limit` long.
std::string take(std::string_view& text, std::size_t limit) {
    std::string out;
    std::size_t size = 0;
    while (!text.empty()) {
        const Character character = first_character(text);
        const std::string piece = escaped_for_slack(text, character);
        size += size_in_json(piece);
        if (size > limit) break;
        out += piece;
        text.remove_prefix(character.bytes);
    }
    return out;
}

std::string trimmed(std::string text) {
    const auto first = text.find_first_not_of(" \n");
    if (first == std::string::npos) return {};
    return text.substr(first, text.find_last_not_of(" \n") + 1 - first);
}

std::string_view emoji(Severity severity) {
    switch (severity) {
        case Severity::info:
            return ":large_green_circle:";
        case Severity::warning:
            return ":large_yellow_circle:";
        case Severity::critical:
            return ":red_circle:";
    }
    return ":red_circle:";
}

struct Parts {
    std::string headline;  // escaped, one line, never empty
    std::string_view rest;
};

Parts split(const Notice& notice) {
    std::string_view rest = notice.text;
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t\r\n"), rest.size()));
    std::string_view first = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(first.size());
    Parts parts{trimmed(take(first, longest_headline)), rest};
    if (!first.empty()) parts.headline += "…";
    if (parts.headline.empty()) parts.headline = text::name(notice.kind);
    return parts;
}

/// "sent 00:12, happened 23:41 UTC"; with dates when they differ. Empty when it is not late.
std::string lateness(TimePoint happened, TimePoint sent) {
    if (sent - happened <= late) return {};
    const bool same_day = std::chrono::floor<std::chrono::days>(happened) ==
                          std::chrono::floor<std::chrono::days>(sent);
    if (!same_day && sent - happened > std::chrono::hours{24}) {
        return "sent " + text::time(sent) + ", happened " + text::time(happened);
    }
    return "sent " + text::time_of_day(sent).substr(0, 5) + ", happened " +
           text::time_of_day(happened).substr(0, 5) + " UTC";
}

/// Rollout and revision, by which a person sees that a message came twice.
std::string footer(const Message& message, TimePoint sent) {
    std::string_view rollout = message.rollout;
    std::string line = take(rollout, 200) + " · rev " + std::to_string(message.revision);
    const std::string when = lateness(message.at, sent);
    if (!when.empty()) line += " · " + when;
    return line;
}

/// `verbatim`: Slack turns no name or address in it into a mention or a link.
json::object mrkdwn(std::string text) {
    return {{"type", "mrkdwn"}, {"text", std::move(text)}, {"verbatim", true}};
}

json::object section(std::string text) {
    return {{"type", "section"}, {"text", mrkdwn(std::move(text))}};
}

/// Sections that end at a line's end where there is one in the second half.
std::string take_section(std::string_view& rest, std::size_t limit) {
    std::string_view after = rest;
    std::string text = take(after, limit);
    const auto line_end = text.rfind('\n');
    if (!after.empty() && line_end != std::string::npos && line_end > text.size() / 2) {
        const auto lines =
            std::count(text.begin(), text.begin() + static_cast<long>(line_end) + 1, '\n');
        for (auto line = lines; line > 0; --line) rest.remove_prefix(rest.find('\n') + 1);
        text.resize(line_end);
        return text;
    }
    rest = after;
    return text;
}

bool is_loopback(const boost::urls::url_view& url) {
    switch (url.host_type()) {
        case boost::urls::host_type::ipv4:
            return url.host_ipv4_address().is_loopback();
        case boost::urls::host_type::ipv6:
            return url.host_ipv6_address().is_loopback();
        case boost::urls::host_type::name:
            return url.host() == "localhost";
        case boost::urls::host_type::none:
        case boost::urls::host_type::ipvfuture:
            return false;
    }
    return false;
}

bool is_port(std::string_view digits) {
    std::uint16_t port = 0;
    const char* const end = digits.data() + digits.size();
    const auto [read_to, error] = std::from_chars(digits.data(), end, port);
    return error == std::errc{} && read_to == end && port != 0;
}

/// The words by which Slack says that this webhook will never take a message again.
constexpr std::array<std::string_view, 13> for_good{
    "no_service",        "no_service_id",     "no_active_hooks",
    "no_team",           "team_disabled",     "invalid_token",
    "token_revoked",     "account_inactive",  "channel_is_archived",
    "channel_not_found", "action_prohibited", "posting_to_general_channel_denied",
    "user_not_found"};
/// The words for a message that Slack cannot read or will not show.
constexpr std::array<std::string_view, 8> bad_form{
    "invalid_payload", "invalid_blocks",      "invalid_blocks_format", "no_text",
    "msg_too_long",    "msg_blocks_too_long", "too_many_attachments",  "invalid_attachments"};

/// The word if it is one of `words`: a body is never quoted, it could repeat the secret.
template <std::size_t N>
std::string_view known_word(const std::array<std::string_view, N>& words, std::string_view body) {
    while (!body.empty() && (body.back() == '\n' || body.back() == '\r')) body.remove_suffix(1);
    const auto found = std::find(words.begin(), words.end(), body);
    return found == words.end() ? std::string_view{} : *found;
}

Duration wait_of(std::string_view retry_after) {
    std::int64_t seconds = 0;
    const auto [end, error] =
        std::from_chars(retry_after.data(), retry_after.data() + retry_after.size(), seconds);
    const bool whole = end == retry_after.data() + retry_after.size();
    const bool digits = !retry_after.empty() && retry_after.front() != '-' && whole;
    if (digits && error == std::errc::result_out_of_range) return longest_wait;
    if (!digits || error != std::errc{} || seconds == 0) return usual_wait;
    return std::min<Duration>(std::chrono::seconds{std::min<std::int64_t>(seconds, 3'600)},
                              longest_wait);
}

bool looks_like_html(std::string_view body) {
    const auto first = body.find_first_not_of(" \t\r\n");
    return first != std::string_view::npos && body[first] == '<';
}

}  // namespace

std::string Webhook::authority() const {
    const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
    const bool usual = port == (tls ? "443" : "80");
    return usual ? name : name + ":" + port;
}

Webhook parse_webhook(std::string_view url) {
    const auto refuse = [](const char* why) {
        return std::invalid_argument(std::string("slack webhook: ") + why +
                                     "; it looks like https://hooks.slack.com/services/T…/B…/…");
    };
    const auto parsed = boost::urls::parse_uri(url);
    if (parsed.has_error()) throw refuse("not a URL");
    const boost::urls::url_view& view = *parsed;
    if (view.has_userinfo()) throw refuse("a user name in the URL");
    if (view.has_fragment()) throw refuse("a fragment (#) in the URL");
    if (view.host().empty()) throw refuse("no host in the URL");
    Webhook webhook;
    switch (view.scheme_id()) {
        case boost::urls::scheme::https:
            break;
        case boost::urls::scheme::http:
            if (!is_loopback(view)) throw refuse("plain http outside this machine");
            webhook.tls = false;
            break;
        default:
            throw refuse("neither https nor http");
    }
    webhook.host = view.host_type() == boost::urls::host_type::ipv6
                       ? view.host_ipv6_address().to_string()
                       : view.host();
    if (view.has_port() && !is_port(view.port())) throw refuse("no such port");
    webhook.port = view.has_port() ? std::string(view.port()) : webhook.tls ? "443" : "80";
    const auto target = view.encoded_target();
    webhook.target = target.empty() ? "/" : std::string(target);
    if (webhook.target.front() != '/') webhook.target.insert(0, "/");
    return webhook;
}

std::string payload(const Message& message, TimePoint sent) {
    const auto [headline, all_of_rest] = split(message.notice);
    std::string_view rest = all_of_rest;
    const std::string mark(emoji(message.notice.severity));
    json::array blocks{section(mark + " *" + headline + "*")};
    std::size_t left = longest_body;
    while (!rest.empty() && left > 0 && blocks.size() < most_blocks - 2) {
        const std::string text = take_section(rest, std::min(left, longest_section));
        if (text.empty() && !rest.empty() && trimmed(std::string(rest)).empty()) break;
        left -= std::min(left, std::max<std::size_t>(size_in_json(text), 1));
        const std::string shown = trimmed(text);
        if (!shown.empty()) blocks.emplace_back(section(shown));
    }
    json::array foot{mrkdwn(footer(message, sent))};
    if (!trimmed(std::string(rest)).empty()) {
        foot.emplace_back(mrkdwn("cut here; the whole text: `canaryctl history`"));
    }
    blocks.emplace_back(json::object{{"type", "context"}, {"elements", std::move(foot)}});
    const json::object whole{{"text", mark + " " + headline},
                             {"blocks", std::move(blocks)},
                             {"unfurl_links", false},
                             {"unfurl_media", false}};
    return json::serialize(whole);
}

std::string plain_payload(const Message& message, TimePoint sent) {
    const json::object whole{{"text", std::string(emoji(message.notice.severity)) + " " +
                                          split(message.notice).headline + "\n" +
                                          footer(message, sent)}};
    return json::serialize(whole);
}

bool refuses_form(const Answer& answer) {
    return answer.status >= 400 && answer.status < 500 &&
           (!known_word(bad_form, answer.body).empty() || answer.status == 413);
}

Sent outcome_of(const Answer& answer, const std::string& host) {
    const std::string who = "slack " + host + ": ";
    const std::string status = "HTTP " + std::to_string(answer.status);
    if (answer.status == 200 && answer.body == "ok") return {};
    if (answer.status == 429) {
        const Duration wait = wait_of(answer.retry_after);
        return {Sent::Kind::later, wait, who + "busy, asks for " + text::duration(wait)};
    }
    if (looks_like_html(answer.body)) {
        throw std::runtime_error(who + status + ", answered HTML, not ok: a proxy or login page?");
    }
    const std::string_view word = known_word(for_good, answer.body);
    if (!word.empty() && answer.status < 500) {
        return {Sent::Kind::never, {}, who + std::string(word) + " (" + status + ")"};
    }
    if (answer.status == 403 || answer.status == 404 || answer.status == 410) {
        return {Sent::Kind::never, {}, who + status + ": this webhook is gone or forbidden"};
    }
    if (refuses_form(answer)) {
        return {Sent::Kind::never, {}, who + "refuses the form of this message (" + status + ")"};
    }
    if (answer.status >= 300 && answer.status < 400) {
        throw std::runtime_error(who + status + ": a redirect, which is not followed");
    }
    throw std::runtime_error(who + status + ", and the body is not ok");
}

}  // namespace canaryd::slack
