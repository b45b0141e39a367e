#include "daemon/http/body.hpp"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <set>

#include "daemon/units.hpp"
#include "daemon/utf8.hpp"

namespace canaryd::http {

namespace json = boost::json;

namespace {

constexpr std::size_t max_depth = 16;
constexpr std::size_t max_reason = 500;  // characters

/// Walks a document for the one thing that json::parse() takes in silence: a repeated key.
struct KeyWatch {
    static constexpr std::size_t max_object_size = 1'000'000;
    static constexpr std::size_t max_array_size = 1'000'000;
    static constexpr std::size_t max_key_size = 1'000'000;
    static constexpr std::size_t max_string_size = 1'000'000;

    std::vector<std::set<std::string>> open;
    std::string key, repeated;

    using error_code = boost::system::error_code;
    using string_view = boost::json::string_view;
    bool on_document_begin(error_code&) { return true; }
    bool on_document_end(error_code&) { return true; }
    bool on_object_begin(error_code&) {
        open.emplace_back();
        return true;
    }
    bool on_object_end(std::size_t, error_code&) {
        open.pop_back();
        return true;
    }
    bool on_array_begin(error_code&) { return true; }
    bool on_array_end(std::size_t, error_code&) { return true; }
    bool on_key_part(string_view part, std::size_t, error_code&) {
        key.append(part.data(), part.size());
        return true;
    }
    bool on_key(string_view part, std::size_t, error_code&) {
        key.append(part.data(), part.size());
        if (!open.back().insert(key).second && repeated.empty()) repeated = in_quotes(key);
        key.clear();
        return true;
    }
    bool on_string_part(string_view, std::size_t, error_code&) { return true; }
    bool on_string(string_view, std::size_t, error_code&) { return true; }
    bool on_number_part(string_view, error_code&) { return true; }
    bool on_int64(std::int64_t, string_view, error_code&) { return true; }
    bool on_uint64(std::uint64_t, string_view, error_code&) { return true; }
    bool on_double(double, string_view, error_code&) { return true; }
    bool on_bool(bool, error_code&) { return true; }
    bool on_null(error_code&) { return true; }
    bool on_comment_part(string_view, error_code&) { return true; }
    bool on_comment(string_view, error_code&) { return true; }
};

/// Why `body` is no JSON; empty when it is.
std::string fault_of_json(std::string_view body) {
    json::parse_options options;
    options.max_depth = max_depth;
    json::basic_parser<KeyWatch> parser(options);
    boost::system::error_code error;
    const std::size_t used = parser.write_some(false, body.data(), body.size(), error);
    if (error) return "no JSON at byte " + std::to_string(used) + ": " + error.message();
    if (used < body.size()) return "text after the JSON at byte " + std::to_string(used);
    if (!parser.handler().repeated.empty()) {
        return "key " + parser.handler().repeated + " is there twice";
    }
    return {};
}

class Reader {
public:
    Reader(const json::object& object, ParsedCommand& result) : object_(object), result_(result) {}

    std::optional<std::string> text(const char* key) {
        const json::value* value = find(key);
        if (value == nullptr) return {};
        if (!value->is_string()) {
            fault(key, "want a text");
            return {};
        }
        return std::string(value->get_string().c_str(), value->get_string().size());
    }
    bool has(const char* key) { return find(key) != nullptr; }
    bool flag(const char* key) {
        const json::value* value = find(key);
        if (value == nullptr) return false;
        if (!value->is_bool()) fault(key, "want true or false");
        return value->is_bool() && value->get_bool();
    }
    void fault(const std::string& key, const std::string& message) {
        result_.errors.push_back({"/" + key, message});
    }
    void refuse_unknown() {
        for (const auto& [key, value] : object_) {
            const std::string name(key);
            if (known_.count(name) != 0) continue;
            std::string names;
            for (const std::string& known : known_) names += (names.empty() ? "" : ", ") + known;
            const std::string shown = in_quotes(name);
            fault(shown.substr(1, shown.size() - 2),
                  "unknown field; known here: " + (names.empty() ? "none" : names));
        }
    }

private:
    const json::value* find(const char* key) {
        known_.insert(key);
        return object_.if_contains(key);
    }

    const json::object& object_;
    ParsedCommand& result_;
    std::set<std::string> known_;
};

void read_reason(Reader& reader, const Wanted& wanted, Command& command) {
    const auto reason = reader.text("reason");
    const bool blank = !reason || reason->find_first_not_of(' ') == std::string::npos;
    if (blank && wanted.needs_reason) {
        reader.fault("reason", "a reason is needed: a sentence that people will read");
    }
    if (!reason) return;
    if (const std::string why = fault_of_reason(*reason); !why.empty()) {
        reader.fault("reason", why);
    }
    command.reason = *reason;
}

void read_policy(Reader& reader, Command& command) {
    constexpr std::size_t max_name = 255;
    const auto text = reader.text("policy_text");
    if (!reader.has("policy_text")) reader.fault("policy_text", "want the policy file's text");
    command.policy_text = text.value_or("");
    command.policy_file = reader.text("policy_file").value_or("policy");
    if (command.policy_file.empty() || command.policy_file.size() > max_name ||
        !fault_of_reason(command.policy_file).empty()) {
        reader.fault("policy_file", "want a file's name of at most 255 bytes, for messages");
    }
}

}  // namespace

std::string fault_of_reason(std::string_view reason) {
    std::size_t characters = 0;
    while (!reason.empty()) {
        const Character character = first_character(reason);
        if (!character.valid) return "is no valid UTF-8";
        if (is_control(character.code)) {
            return "holds a control character; write one line of plain text";
        }
        reason.remove_prefix(character.bytes);
        ++characters;
    }
    if (characters > max_reason) {
        return "has " + std::to_string(characters) + " characters; at most 500 are kept";
    }
    return {};
}

ParsedCommand parse_command(std::string_view body, const Wanted& wanted) {
    ParsedCommand result;
    if (body.empty()) body = "{}";
    result.bad_json = fault_of_json(body);
    if (!result.bad_json.empty()) return result;
    const json::value value = json::parse(json::string_view(body.data(), body.size()));
    if (!value.is_object()) {
        result.bad_json = "want a JSON object";
        return result;
    }
    Reader reader(value.get_object(), result);
    if (wanted.policy) read_policy(reader, result.command);
    if (wanted.reason) read_reason(reader, wanted, result.command);
    if (wanted.override_proof) result.command.override_proof = reader.flag("override");
    if (wanted.by) {
        const auto written = reader.text("by");
        const Read<Duration> span = read_duration(written.value_or(""), "d");
        if (!written && !reader.has("by")) {
            reader.fault("by", "want a duration with its unit, such as 7d");
        } else if (written && !span.value) {
            reader.fault("by", in_quotes(*written) + span.fault);
        } else if (written && *span.value <= Duration{0}) {
            reader.fault("by", in_quotes(*written) + " is no time at all; write 1d");
        }
        result.command.by = span.value.value_or(Duration{0});
    }
    reader.refuse_unknown();
    return result;
}

}  // namespace canaryd::http
