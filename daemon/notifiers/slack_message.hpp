// What Slack is sent and what its answers mean. Pure: no network, no clock.
#pragma once

#include <string>
#include <string_view>

#include "canaryd/ports.hpp"

namespace canaryd::slack {

/// Where a webhook is. Everything but the host is a secret.
struct Webhook {
    bool tls = true;
    std::string host;                             // "hooks.slack.com": what errors may name
    std::string port;                             // "443"
    std::string target;                           // "/services/…"
    [[nodiscard]] std::string authority() const;  // for the Host field
};

/// Reads a webhook's URL: https, or plain http on loopback. Throws std::invalid_argument, which
/// says what is wrong and never quotes the URL.
Webhook parse_webhook(std::string_view url);

/// The JSON for an incoming webhook: blocks, and a text for clients that show none. Text is data:
/// escaped, without control characters, cut to what Slack takes. `sent` is the time of sending,
/// said beside the time of the decision when it is late.
std::string payload(const Message& message, TimePoint sent);
/// The same in one line without blocks, for a Slack that refused the form of the first.
std::string plain_payload(const Message& message, TimePoint sent);

/// A webhook's answer, as far as it means anything.
struct Answer {
    int status = 0;
    std::string retry_after;  // the field's value; empty: absent
    std::string body;
};

/// Slack refused the form of the message, not the message's sender.
bool refuses_form(const Answer& answer);

/// What became of the message. Only 200 with a body of exactly `ok` is delivered. Throws
/// std::runtime_error, which names the host, for what may pass: 5xx, a proxy's page, a redirect.
Sent outcome_of(const Answer& answer, const std::string& host);

}  // namespace canaryd::slack
