// The body of a command: a small flat JSON object, read strictly.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "canaryd/policy.hpp"
#include "daemon/http/reply.hpp"

namespace canaryd::http {

/// Which fields a command knows, and whether it wants a reason.
struct Wanted {
    bool reason = false;  // may be there
    bool needs_reason = false;
    bool override_proof = false;
    bool by = false;
    bool policy = false;
};

struct Command {
    std::string reason;
    bool override_proof = false;
    Duration by{0};
    std::string policy_text, policy_file;
};

/// What a body says, or why it says nothing: `bad_json` (400), or `errors` (422).
struct ParsedCommand {
    Command command;
    std::string bad_json;
    std::vector<FieldError> errors;
};
/// No body at all is an empty object. Depth at most 16; a repeated key is no JSON here.
ParsedCommand parse_command(std::string_view body, const Wanted& wanted);

/// Why `reason` cannot be recorded; empty when it can.
std::string fault_of_reason(std::string_view reason);

}  // namespace canaryd::http
