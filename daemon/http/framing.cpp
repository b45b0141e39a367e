#include "daemon/http/framing.hpp"

#include <algorithm>
#include <array>
#include <boost/url/parse.hpp>
#include <charconv>

#include "daemon/log.hpp"
#include "daemon/utf8.hpp"

namespace canaryd::http {

namespace {

constexpr std::string_view token_extras = "!#$%&'*+-.^_`|~";
constexpr std::array<std::string_view, 5> known_but_unused{"PUT", "DELETE", "PATCH", "TRACE",
                                                           "CONNECT"};
/// Fields that are about this one request: a second one is a second opinion.
constexpr std::array<std::string_view, 8> single_fields{
    "host",   "content-length", "content-type",   "transfer-encoding",
    "origin", "authorization",  "sec-fetch-site", "expect"};

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_token(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return is_letter(c) || is_digit(c) || token_extras.find(c) != std::string_view::npos;
    });
}

bool is_visible_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return result;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

/// Decoded text that may stand in a path or a query: no control characters, valid UTF-8.
bool clean(std::string_view text) {
    return valid_utf8(text) && std::none_of(text.begin(), text.end(), [](char c) {
               return static_cast<unsigned char>(c) < 0x20 || c == '\x7f';
           });
}

/// The host of `authority` in lower case; nullopt when it is not a plain name or address with or
/// without a port. Stricter than the grammar, which allows commas and percent signs in a name.
std::optional<std::string> host_of(std::string_view authority) {
    if (authority.empty() || authority.size() > 255) return {};
    const bool literal = authority.front() == '[';
    const std::size_t bracket = authority.find(']');
    if (literal && bracket == std::string_view::npos) return {};
    const std::size_t size =
        literal ? bracket + 1 : std::min(authority.find(':'), authority.size());
    const std::string_view inside =
        literal ? authority.substr(1, bracket - 1) : authority.substr(0, size);
    const std::string_view port = authority.substr(size);
    const std::string_view extras = literal ? ":." : ".-_";
    const auto of_host = [&](char c) {
        return is_letter(c) || is_digit(c) || extras.find(c) != std::string_view::npos;
    };
    const bool good_port = port.empty() || (port.size() <= 6 && port.front() == ':' &&
                                            std::all_of(port.begin() + 1, port.end(), is_digit));
    if (inside.empty() || !std::all_of(inside.begin(), inside.end(), of_host) || !good_port) {
        return {};
    }
    return lower(authority.substr(0, size));
}

/// Fills path and query; false when the target does not parse or holds what may not be in it.
bool read_path(std::string_view origin_form, Head& head) {
    const auto parsed = boost::urls::parse_origin_form({origin_form.data(), origin_form.size()});
    if (!parsed) return false;
    for (const auto& segment : parsed->segments()) head.path.push_back(segment);
    for (const auto& param : parsed->params()) head.query.emplace_back(param.key, param.value);
    return std::all_of(head.path.begin(), head.path.end(), clean) &&
           std::all_of(head.query.begin(), head.query.end(),
                       [](const auto& pair) { return clean(pair.first) && clean(pair.second); });
}

}  // namespace

std::string in_quotes(std::string_view input) {
    constexpr std::size_t most = 64;
    std::string text = escaped(input.substr(0, most));
    const bool cut = input.size() > most || text.size() > most;
    text.resize(std::min(text.size(), most));
    // The cut may have split a character.
    while (!valid_utf8(text)) text.pop_back();
    return "\"" + text + (cut ? "…\"" : "\"");
}

bool valid_utf8(std::string_view text) {
    while (!text.empty()) {
        const Character character = first_character(text);
        if (!character.valid) return false;
        text.remove_prefix(character.bytes);
    }
    return true;
}

bool host_allowed(std::string_view host, std::string_view listen_address) {
    // HTTP/1.0 without Host: no browser sends that.
    if (host.empty() || host == "127.0.0.1" || host == "localhost" || host == "[::1]") return true;
    return host == listen_address || host == "[" + std::string(listen_address) + "]";
}

std::string_view Head::field(std::string_view lower_case_name) const {
    for (const auto& [name, value] : fields) {
        if (name == lower_case_name) return value;
    }
    return {};
}

HeadReader::State HeadReader::refuse(int status, std::string name, std::string detail) {
    refusal_ = {status, std::move(name), std::move(detail)};
    return state_ = State::refused;
}

HeadReader::State HeadReader::read(std::string_view bytes) {
    while (state_ == State::more) {
        const std::size_t i = at_ + seen_;
        if (i >= max_head) {
            if (!first_) return refuse(431, "head-too-large", "the head is larger than 8 KiB");
            return refuse(414, "target-too-long", "the request line is longer than 8 KiB");
        }
        if (i >= bytes.size()) return state_;
        const char c = bytes[i];
        if (c == '\n') return refuse(400, "bare-lf", "a line ends in LF without CR");
        if (c == '\r') {
            if (i + 1 >= bytes.size()) return state_;
            if (bytes[i + 1] != '\n') return refuse(400, "bare-cr", "CR without LF in the head");
            const std::string_view whole = bytes.substr(at_, seen_);
            at_ = i + 2;
            seen_ = 0;
            if (at_ > max_head) {
                return refuse(431, "head-too-large", "the head is larger than 8 KiB");
            }
            state_ = line(whole);
            continue;
        }
        if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == '\x7f') {
            return refuse(400, "control-character",
                          "control character " + in_quotes(bytes.substr(i, 1)) + " in the head");
        }
        ++seen_;
    }
    return state_;
}

HeadReader::State HeadReader::line(std::string_view line) {
    if (first_) {
        first_ = false;
        return request_line(line);
    }
    if (line.empty()) return finish();
    return field_line(line);
}

HeadReader::State HeadReader::request_line(std::string_view line) {
    const auto bad = [&](const std::string& why) {
        return refuse(400, "request-line", "request line " + in_quotes(line) + ": " + why);
    };
    const std::size_t first = line.find(' ');
    if (first == std::string_view::npos) return bad("want METHOD TARGET HTTP/1.1");
    const std::size_t second = line.find(' ', first + 1);
    if (second == std::string_view::npos) return bad("no HTTP version after the target");
    const std::string_view method = line.substr(0, first);
    const std::string_view target = line.substr(first + 1, second - first - 1);
    const std::string_view version = line.substr(second + 1);
    if (!is_token(method)) return bad("the method is no token");
    if (target.empty()) return bad("the target is empty");
    if (target.size() > max_target) {
        return refuse(414, "target-too-long", "the target is longer than 2 KiB");
    }
    if (!is_visible_ascii(target)) return bad("a character that must be percent-encoded");
    const bool a_version = version.size() == 8 && version.substr(0, 5) == "HTTP/" &&
                           is_digit(version[5]) && version[6] == '.' && is_digit(version[7]);
    if (!a_version) return bad("want one space and HTTP/1.1 after the target");
    if (version != "HTTP/1.1" && version != "HTTP/1.0") {
        return refuse(505, "version", std::string(version) + " is not spoken here; use HTTP/1.1");
    }
    head_.http_1_1 = version == "HTTP/1.1";
    head_.keep_alive = head_.http_1_1;
    head_.method_name = method;
    head_.target = target;
    if (method == "GET") {
        head_.method = Method::get;
    } else if (method == "HEAD") {
        head_.method = Method::head;
    } else if (method == "POST") {
        head_.method = Method::post;
    } else if (method == "OPTIONS") {
        head_.method = Method::options;
    } else {
        head_.method = Method::other;
        if (std::find(known_but_unused.begin(), known_but_unused.end(), method) ==
            known_but_unused.end()) {
            return refuse(501, "method", "method " + in_quotes(method) + " is not known here");
        }
    }
    if (method == "CONNECT" || (target == "*" && method == "OPTIONS")) return State::more;
    std::string_view rest = target;
    if (lower(rest.substr(0, 7)) == "http://") {
        rest.remove_prefix(7);
        authority_ = rest.substr(0, rest.find_first_of("/?"));
        rest.remove_prefix(authority_.size());
        if (!host_of(authority_)) return bad("the target's authority is no host");
    }
    const std::string origin_form = rest.substr(0, 1) == "/" ? std::string(rest)
                                    : authority_.empty()     ? std::string()
                                                             : "/" + std::string(rest);
    if (!read_path(origin_form, head_)) return bad("the target is no valid path");
    return State::more;
}

HeadReader::State HeadReader::field_line(std::string_view line) {
    if (line.front() == ' ' || line.front() == '\t') {
        return refuse(400, "folded-line", "a header line begins with a space; folding is obsolete");
    }
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
        return refuse(
            400, "field",
            "header line " + in_quotes(line) + ": want NAME: VALUE, no space before \":\"");
    }
    if (head_.fields.size() == max_fields) {
        return refuse(431, "too-many-fields", "more than 64 header fields");
    }
    head_.fields.emplace_back(lower(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
    return State::more;
}

HeadReader::State HeadReader::finish() {
    for (const std::string_view name : single_fields) {
        const auto same = [&](const auto& field) { return field.first == name; };
        const auto times = std::count_if(head_.fields.begin(), head_.fields.end(), same);
        // Two codings are two codings, not two opinions: 501 below.
        if (times > 1 && name != "transfer-encoding") {
            return refuse(400, "repeated-field", "more than one field " + std::string(name));
        }
    }
    if (const auto refused = check_length()) return *refused;
    if (const auto refused = check_host()) return *refused;
    if (const auto refused = check_connection()) return *refused;
    return State::complete;
}

std::optional<HeadReader::State> HeadReader::check_length() {
    const auto has = [&](std::string_view name) {
        return std::any_of(head_.fields.begin(), head_.fields.end(),
                           [&](const auto& field) { return field.first == name; });
    };
    const std::string_view length = head_.field("content-length");
    if (has("transfer-encoding")) {
        if (has("content-length")) {
            return refuse(400, "two-lengths", "Content-Length and Transfer-Encoding together");
        }
        if (!head_.http_1_1) {
            return refuse(400, "transfer-encoding", "Transfer-Encoding does not exist in HTTP/1.0");
        }
        std::string codings;
        for (const auto& [name, value] : head_.fields) {
            if (name == "transfer-encoding") codings += (codings.empty() ? "" : ",") + lower(value);
        }
        if (codings == "chunked") {
            return refuse(411, "length-required", "send Content-Length; chunks are not taken");
        }
        return refuse(501, "transfer-encoding",
                      "Transfer-Encoding " + in_quotes(codings) + " is not known here");
    }
    if (!has("content-length")) return {};
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), value);
    const bool number = !length.empty() && length.size() <= 19 &&
                        std::all_of(length.begin(), length.end(), is_digit) &&
                        error == std::errc{} && end == length.data() + length.size();
    if (!number) {
        return refuse(400, "content-length",
                      "Content-Length " + in_quotes(length) + " is no plain number");
    }
    head_.content_length = value;
    const bool no_body_wanted = head_.method != Method::post && head_.method != Method::other;
    if (value > 0 && no_body_wanted) {
        return refuse(400, "unexpected-body", head_.method_name + " has no body here");
    }
    return {};
}

std::optional<HeadReader::State> HeadReader::check_host() {
    const auto same = [](const auto& field) { return field.first == "host"; };
    const bool given = std::any_of(head_.fields.begin(), head_.fields.end(), same);
    if (!given) {
        if (head_.http_1_1) return refuse(400, "host", "no Host field");
    } else {
        const auto host = host_of(head_.field("host"));
        if (!host) {
            return refuse(400, "host",
                          "Host " + in_quotes(head_.field("host")) + " is no host name");
        }
        head_.host = *host;
    }
    // RFC 9112, 3.2.2: the target's own authority counts, whatever Host says.
    if (!authority_.empty()) head_.host = *host_of(authority_);
    return {};
}

std::optional<HeadReader::State> HeadReader::check_connection() {
    for (const auto& [name, value] : head_.fields) {
        if (name != "connection") continue;
        std::string_view rest = value;
        while (!rest.empty()) {
            const std::size_t comma = std::min(rest.find(','), rest.size());
            const std::string option = lower(trimmed(rest.substr(0, comma)));
            rest.remove_prefix(std::min(comma + 1, rest.size()));
            if (option == "close") {
                head_.keep_alive = false;
            } else if (option == "keep-alive" && !head_.http_1_1) {
                head_.keep_alive = true;
            }
        }
    }
    const std::string expect = lower(head_.field("expect"));
    if (!expect.empty()) {
        if (expect != "100-continue") {
            return refuse(417, "expectation",
                          "Expect " + in_quotes(expect) + " cannot be met; only 100-continue");
        }
        head_.expects_continue = head_.http_1_1;
    }
    return {};
}

}  // namespace canaryd::http
