// The head of a request, read strictly: what does not have exactly one meaning is refused.
//
// Beast's parser is lenient where two programs may disagree on where a request ends (two equal
// lengths, folded lines, odd transfer codings), so requests are read here. Pure, no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace canaryd::http {

inline constexpr std::size_t max_head = 8 * 1024;
inline constexpr std::size_t max_fields = 64;
inline constexpr std::size_t max_target = 2 * 1024;

/// Why a request is not served: becomes a problem document.
struct Refusal {
    int status = 400;
    std::string name;    // of the problem type: urn:canaryd:problem:NAME
    std::string detail;  // input in it is already cut and escaped
    std::vector<std::pair<std::string, std::string>> fields = {};  // extra response fields
};

enum class Method { get, head, post, options, other };

/// A request's head that has passed every check.
struct Head {
    Method method = Method::get;
    std::string method_name;
    std::string target;  // as written
    bool http_1_1 = true;
    std::string host;  // lower case, without the port; empty: HTTP/1.0 without one
    std::vector<std::pair<std::string, std::string>> fields;  // names in lower case
    std::optional<std::uint64_t> content_length;
    bool keep_alive = true;
    bool expects_continue = false;

    std::vector<std::string> path;                           // segments, decoded
    std::vector<std::pair<std::string, std::string>> query;  // decoded, in order

    /// The only field of this name, "" without one.
    [[nodiscard]] std::string_view field(std::string_view lower_case_name) const;
};

/// Reads a head as its bytes arrive, so that rubbish is refused when it is seen and not when the
/// time is over. Give it everything that has come so far each time.
class HeadReader {
public:
    enum class State { more, complete, refused };
    State read(std::string_view bytes);
    /// Bytes of the head with its blank line; what follows is body.
    [[nodiscard]] std::size_t size() const { return at_; }
    [[nodiscard]] const Head& head() const { return head_; }
    [[nodiscard]] const Refusal& refusal() const { return refusal_; }

private:
    State line(std::string_view line);
    State request_line(std::string_view line);
    State field_line(std::string_view line);
    State finish();
    State refuse(int status, std::string name, std::string detail);
    std::optional<State> check_length();
    std::optional<State> check_host();
    std::optional<State> check_connection();

    std::size_t at_ = 0;    // start of the first line that is not complete yet
    std::size_t seen_ = 0;  // bytes of it already looked at
    bool first_ = true;
    State state_ = State::more;
    Head head_;
    std::string authority_;  // of a target in absolute form
    Refusal refusal_;
};

/// Input as it may be repeated: at most 64 characters, escaped, in quotes.
std::string in_quotes(std::string_view input);
bool valid_utf8(std::string_view text);

/// Loopback names, which no web page can make a browser send for a name of its own.
bool host_allowed(std::string_view host, std::string_view listen_address);

}  // namespace canaryd::http
