// What is answered: a reply, and the one form of every error (RFC 9457).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "canaryd/policy.hpp"
#include "daemon/http/framing.hpp"

namespace canaryd::http {

struct Reply {
    int status = 200;
    std::string type;  // media type; empty: no body
    std::string body;
    std::vector<std::pair<std::string, std::string>> fields = {};
    bool close = false;
};

/// One entry of a problem's errors[]: a place in the body (JSON pointer) or in a policy.
struct FieldError {
    std::string pointer;
    std::string message;
};

Reply text_reply(std::string text);
Reply json_reply(std::string json, int status = 200);
/// `close`: the request's body, if any, was not read.
Reply problem(const Refusal& refusal, std::string_view request_id, bool close);
Reply problem(const Refusal& refusal, std::string_view request_id,
              const std::vector<FieldError>& errors);
Reply problem(const Refusal& refusal, std::string_view request_id,
              const std::vector<Problem>& mistakes);
/// "Unprocessable Content" and so on: the title of a problem and the reason phrase.
std::string_view phrase(int status);
/// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string http_date(TimePoint at);

}  // namespace canaryd::http
