// What a request's head says, and who may do what, decided on it alone. The rows are those of the
// table of bad requests in tests/http_test.py, which sends them to the daemon itself.
#include <doctest/doctest.h>

#include <string>

#include "daemon/http/api.hpp"
#include "daemon/http/framing.hpp"

using namespace canaryd;
using namespace canaryd::http;
using State = HeadReader::State;

namespace {

/// 0: more is wanted; 200: complete; else the status of the refusal.
int status_of(const HeadReader& reader, State state) {
    switch (state) {
        case State::more:
            return 0;
        case State::complete:
            return 200;
        case State::refused:
            return reader.refusal().status;
    }
    return -1;
}

/// The verdict on a head, which must not depend on how its bytes arrive.
int verdict(const std::string& raw) {
    HeadReader whole;
    const int status = status_of(whole, whole.read(raw));
    HeadReader dripped;
    State state = State::more;
    for (std::size_t n = 0; n <= raw.size(); ++n) state = dripped.read(raw.substr(0, n));
    CHECK(status_of(dripped, state) == status);
    CHECK(dripped.size() == whole.size());
    if (raw.size() < 400) {
        for (std::size_t cut = 0; cut < raw.size(); ++cut) {
            HeadReader split;
            split.read(raw.substr(0, cut));
            CHECK_MESSAGE(status_of(split, split.read(raw)) == status, "split at " << cut);
        }
    }
    return status;
}

std::string get(const std::string& fields, const std::string& target = "/status") {
    return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n";
}
std::string post(const std::string& fields) {
    return "POST /api/v1/rollouts HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n";
}

Head head_of(const std::string& raw) {
    HeadReader reader;
    REQUIRE(reader.read(raw) == State::complete);
    return reader.head();
}

constexpr Caller operator_{true, 0};
constexpr Caller on_tcp{};

int admitted(const std::string& raw, const Caller& caller) {
    const Admission admission = admit(head_of(raw), caller, "127.0.0.1");
    if (admission.refusal) return admission.refusal->status;
    return admission.endpoint == nullptr ? 204 : 200;
}

std::string command(const std::string& path, const std::string& fields) {
    return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n";
}

const std::string as_json = "Content-Type: application/json\r\nContent-Length: 2\r\n";

}  // namespace

TEST_SUITE("http") {
    TEST_CASE("a plain request is understood, however its bytes arrive") {
        CHECK(verdict(get("")) == 200);
        CHECK(verdict(get("Accept: */*\r\nX-Empty:\r\n")) == 200);
        CHECK(verdict("GET /healthz HTTP/1.0\r\n\r\n") == 200);
        CHECK(verdict(post("Content-Length: 2\r\n")) == 200);
        const Head head = head_of(get("ACCEPT:\t a/b \r\n", "/status?width=80&rollout=a%2Db"));
        CHECK(head.method == Method::get);
        CHECK(head.host == "localhost");
        CHECK(head.field("accept") == "a/b");
        CHECK(head.path == std::vector<std::string>{"status"});
        REQUIRE(head.query.size() == 2);
        CHECK(head.query[1].second == "a-b");
        CHECK(head.keep_alive);
        CHECK_FALSE(head_of(get("Connection: x, Close\r\n")).keep_alive);
        CHECK_FALSE(head_of("GET / HTTP/1.0\r\n\r\n").keep_alive);
        CHECK(head_of("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
    }

    TEST_CASE("what follows the head is not part of it") {
        HeadReader reader;
        const std::string head = post("Content-Length: 5\r\n");
        CHECK(reader.read(head + "hello GET / HTTP/1.1\r\n") == State::complete);
        CHECK(reader.size() == head.size());
        CHECK(reader.head().content_length == 5);
    }

    TEST_CASE("rows 1 to 4: two lengths, or a length that is no number, end the connection") {
        const std::string te = "Transfer-Encoding: chunked\r\n";
        const std::string five = "Content-Length: 5\r\n";
        CHECK(verdict(post(te + five)) == 400);
        CHECK(verdict(post(five + te)) == 400);
        CHECK(verdict(post(five + "Content-Length: 6\r\n")) == 400);
        CHECK(verdict(post(five + five)) == 400);
        for (const char* bad : {"5, 5", "+5", "-1", "0x5", "", " ", "5 5", "5.0", "1e3", "٥",
                                "18446744073709551621", "99999999999999999999"}) {
            CAPTURE(bad);
            CHECK(verdict(post("Content-Length: " + std::string(bad) + "\r\n")) == 400);
        }
    }

    TEST_CASE("rows 5 to 11: no transfer coding is ever taken, whatever it is called") {
        const auto coding = [](const std::string& value) {
            return verdict(post("Transfer-Encoding: " + value + "\r\n"));
        };
        CHECK(coding("chunked") == 411);
        CHECK(coding("Chunked") == 411);
        for (const char* other : {"xchunked", "identity", "chunked, identity", "chunked, chunked",
                                  "gzip, chunked", "\"chunked\"", "chunked;q=1"}) {
            CAPTURE(other);
            CHECK(coding(other) == 501);
        }
        CHECK(verdict(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")) == 501);
        CHECK(verdict(get("Transfer-Encoding: chunked\r\n")) == 411);
        CHECK(verdict("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400);
        CHECK(verdict(post("Transfer-Encoding : chunked\r\n")) == 400);
        CHECK(coding("\x0b"
                     "chunked") == 400);
    }

    TEST_CASE("rows 12, 13, 17: bare line ends, control characters, folds and odd spaces") {
        CHECK(verdict("GET / HTTP/1.1\nHost: localhost\n\n") == 400);
        CHECK(verdict("GET / HTTP/1.1\r\nHost: localhost\n\r\n") == 400);
        CHECK(verdict("GET / HTTP/1.1\r\nHost: local\rhost\r\n\r\n") == 400);
        CHECK(verdict(get(std::string("X: a") + '\0' + "b\r\n")) == 400);
        CHECK(verdict(get("X: a\x7f\r\n")) == 400);
        CHECK(verdict(get("X: a\r\n b\r\n")) == 400);
        CHECK(verdict(get("X: a\r\n\tb\r\n")) == 400);
        CHECK(verdict("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
        CHECK(verdict("GET  / HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
        CHECK(verdict("GET /  HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
        CHECK(verdict("GET / HTTP/1.1 \r\nHost: a\r\n\r\n") == 400);
        CHECK(verdict(" GET / HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
        CHECK(verdict("GET / HTTP/1.1\r\n Host: a\r\n\r\n") == 400);
        CHECK(verdict(get(": nameless\r\n")) == 400);
        CHECK(verdict(get("no colon\r\n")) == 400);
        CHECK(verdict(get("spa ce: x\r\n")) == 400);
    }

    TEST_CASE("row 14: exactly one host, and it is one") {
        CHECK(verdict("GET / HTTP/1.1\r\n\r\n") == 400);
        CHECK(verdict(get("Host: localhost\r\n")) == 400);
        for (const char* bad :
             {"", "a b@c/", "user@localhost", "a/b", "a:b", "[::1", "a,b", "a\\b",
              "localhost:80:80", "?", ":80", "a:1234567", "[]", "[::1]x", "a%2e"}) {
            CAPTURE(bad);
            CHECK(verdict("GET / HTTP/1.1\r\nHost: " + std::string(bad) + "\r\n\r\n") == 400);
        }
        for (const char* good :
             {"localhost", "LOCALHOST:9810", "127.0.0.1:1", "[::1]:9810", "a.b", "1.2.3.4.x"}) {
            CAPTURE(good);
            CHECK(verdict("GET / HTTP/1.1\r\nHost: " + std::string(good) + "\r\n\r\n") == 200);
        }
    }

    TEST_CASE(
        "rows 15, 16: a name that a web page could use is not ours, but on the socket any is") {
        const auto ask = [](const std::string& host, const Caller& caller) {
            return admitted("GET /status HTTP/1.1\r\nHost: " + host + "\r\n\r\n", caller);
        };
        CHECK(ask("evil.example", on_tcp) == 421);
        CHECK(ask("localhost.evil.example", on_tcp) == 421);
        CHECK(ask("127.0.0.1.evil.example", on_tcp) == 421);
        CHECK(ask("0.0.0.0", on_tcp) == 421);
        CHECK(ask("LocalHost:9810", on_tcp) == 200);
        CHECK(ask("[::1]", on_tcp) == 200);
        CHECK(ask("evil.example", operator_) == 200);
        CHECK(admitted(get("", "http://evil.example/status"), on_tcp) == 421);
        CHECK(admitted(get("", "http://127.0.0.1:9/status"), on_tcp) == 200);
        CHECK(verdict(get("", "http://u@127.0.0.1/status")) == 400);
        CHECK(verdict(get("", "https://127.0.0.1/status")) == 400);
        CHECK(verdict(get("", "http:///status")) == 400);
    }

    TEST_CASE("rows 18 to 20: other versions, other protocols, other methods") {
        CHECK(verdict("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
        CHECK(verdict("GET /\r\n") == 400);
        CHECK(verdict("GET / HTTP/1.9\r\nHost: a\r\n\r\n") == 505);
        CHECK(verdict("GET / HTTP/2.0\r\nHost: a\r\n\r\n") == 505);
        CHECK(verdict("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == 505);
        CHECK(verdict("GET / http/1.1\r\nHost: a\r\n\r\n") == 400);
        CHECK(verdict(std::string("\x16\x03\x01\x02\x00\x01\x00", 7)) == 400);
        CHECK(verdict("get / HTTP/1.1\r\nHost: a\r\n\r\n") == 501);
        CHECK(verdict(std::string(2000, 'A') + " / HTTP/1.1\r\nHost: a\r\n\r\n") == 501);
        CHECK(verdict("G(T / HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
    }

    TEST_CASE("row 21: a known method on the wrong place says which are right") {
        for (const char* method : {"DELETE", "PATCH", "TRACE", "PUT"}) {
            const Head head =
                head_of(std::string(method) + " /status HTTP/1.1\r\nHost: localhost\r\n\r\n");
            const Admission admission = admit(head, operator_, "127.0.0.1");
            REQUIRE(admission.refusal);
            CHECK(admission.refusal->status == 405);
            REQUIRE(admission.refusal->fields.size() == 1);
            CHECK(admission.refusal->fields[0].second == "GET, HEAD, OPTIONS");
        }
        CHECK(admitted("CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", on_tcp) == 405);
        CHECK(admitted("POST /status HTTP/1.1\r\nHost: localhost\r\n\r\n", operator_) == 405);
        CHECK(admitted("DELETE /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", operator_) == 404);
        CHECK(admitted("OPTIONS /status HTTP/1.1\r\nHost: localhost\r\n\r\n", on_tcp) == 204);
        CHECK(admitted("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", on_tcp) == 204);
        CHECK(admitted("HEAD /status HTTP/1.1\r\nHost: localhost\r\n\r\n", on_tcp) == 200);
    }

    TEST_CASE("row 22: a target is a clean path, and never a file") {
        CHECK(verdict(get("", "/\x01")) == 400);
        CHECK(verdict(get("", "/\xff\xfe")) == 400);
        CHECK(verdict(get("", "/%00")) == 400);
        CHECK(verdict(get("", "/%c0%af")) == 400);
        CHECK(verdict(get("", "/%ff")) == 400);
        CHECK(verdict(get("", "/%zz")) == 400);
        CHECK(verdict(get("", "/%")) == 400);
        CHECK(verdict(get("", "/a#b")) == 400);
        CHECK(verdict(get("", "status")) == 400);
        CHECK(verdict(get("", "*")) == 400);
        CHECK(verdict(get("", "/status?a=%0d%0aX")) == 400);
        for (const char* path : {"/", "//", "//status", "/status/", "/%2e%2e/%2e%2e/etc/passwd",
                                 "/api/v1/rollouts/../../status", "/api/v1/rollouts/",
                                 "/api/v1/rollouts/a%2Fb", "/api/v1/rollouts/%27%3B--"}) {
            CAPTURE(path);
            CHECK(admitted(get("", path), on_tcp) == 404);
        }
    }

    TEST_CASE("row 23: a head has 8 KiB, 64 fields and a target of 2 KiB") {
        CHECK(verdict(get("", "/" + std::string(2047, 'a'))) == 200);
        CHECK(verdict(get("", "/" + std::string(2048, 'a'))) == 414);
        CHECK(verdict(get("", "/" + std::string(3 * 1024, 'a'))) == 414);
        CHECK(verdict("GET /" + std::string(9000, 'a')) == 414);
        CHECK(verdict(get("X: " + std::string(9 * 1024, 'a') + "\r\n")) == 431);
        std::string fields;
        for (int i = 0; i < 63; ++i) fields += "x: y\r\n";
        CHECK(verdict(get(fields)) == 200);
        CHECK(verdict(get(fields + "x: y\r\n")) == 431);
        for (int i = 0; i < 1437; ++i) fields += "x:\r\n";
        CHECK(verdict(get(fields)) == 431);
        // Exactly 8 KiB is a head, one byte more is not.
        const std::size_t rest = max_head - get("X: \r\n").size();
        CHECK(verdict(get("X: " + std::string(rest, 'a') + "\r\n")) == 200);
        CHECK(verdict(get("X: " + std::string(rest + 1, 'a') + "\r\n")) == 431);
    }

    TEST_CASE("rows 24, 25: a body that is too large is refused before it is read") {
        const std::string json = "Content-Type: application/json\r\n";
        const auto post_of = [&](const std::string& path, const std::string& length) {
            return admitted(command(path, json + "Content-Length: " + length + "\r\n"), operator_);
        };
        CHECK(post_of("/api/v1/rollouts/a/pause", "65536") == 200);
        CHECK(post_of("/api/v1/rollouts/a/pause", "65537") == 413);
        CHECK(post_of("/api/v1/rollouts", "614400") == 200);
        CHECK(post_of("/api/v1/rollouts", "614401") == 413);
        CHECK(post_of("/api/v1/rollouts", "2147483648") == 413);
        CHECK(admitted(command("/api/v1/rollouts", json), operator_) == 411);
        CHECK(head_of(post("Expect: 100-Continue\r\nContent-Length: 5\r\n")).expects_continue);
        CHECK(verdict(post("Expect: 200-maybe\r\nContent-Length: 5\r\n")) == 417);
    }

    TEST_CASE("row 28: a body where none belongs is no next request") {
        CHECK(verdict(get("Content-Length: 5\r\n")) == 400);
        CHECK(verdict(get("Content-Length: 0\r\n")) == 200);
    }

    TEST_CASE("commands go by the socket, as JSON, and not from somebody's web page") {
        const std::string pause = "/api/v1/rollouts/demo/pause";
        CHECK(admitted(command(pause, as_json), operator_) == 200);
        CHECK(admitted(command(pause, as_json), on_tcp) == 403);
        CHECK(admitted(command("/api/v1/rollouts", as_json), on_tcp) == 403);
        CHECK(admitted(command(pause, "Content-Length: 2\r\n"), operator_) == 415);
        CHECK(admitted(command(pause, "Content-Type: text/plain\r\nContent-Length: 2\r\n"),
                       operator_) == 415);
        CHECK(admitted(command(pause,
                               "Content-Type: Application/JSON; charset=utf-8\r\n"
                               "Content-Length: 2\r\n"),
                       operator_) == 200);
        CHECK(admitted(command(pause, as_json + "Sec-Fetch-Site: cross-site\r\n"), operator_) ==
              403);
        CHECK(admitted(command(pause, as_json + "Origin: http://evil.example\r\n"), operator_) ==
              403);
        CHECK(admitted(command(pause, as_json + "Origin: null\r\n"), operator_) == 403);
        CHECK(admitted(command(pause, as_json + "Origin: http://localhost\r\n"), operator_) == 200);
        CHECK(admitted(command("/api/v1/rollouts/demo/explode", as_json), operator_) == 404);
    }

    TEST_CASE("a query parameter is known and there once") {
        CHECK(admitted(get("", "/status?width=80&colour=1"), on_tcp) == 200);
        CHECK(admitted(get("", "/status?widht=80"), on_tcp) == 400);
        CHECK(admitted(get("", "/status?width=80&width=90"), on_tcp) == 400);
        CHECK(admitted(get("", "/healthz?x"), on_tcp) == 400);
    }

    TEST_CASE("input that is repeated in an answer is short and harmless") {
        CHECK(in_quotes("abc") == "\"abc\"");
        CHECK(in_quotes("a\nb").find('\n') == std::string::npos);
        CHECK(in_quotes(std::string(1000, '\x01')).size() < 80);
        CHECK(valid_utf8(in_quotes("ääääääääääääääääääääääääääääääääääääääääääääääääää")));
        CHECK(valid_utf8(in_quotes(std::string(63, 'a') + "\xe2\x82\xac")));
        CHECK_FALSE(valid_utf8("\xc0\xaf"));
        CHECK_FALSE(valid_utf8("\xed\xa0\x80"));
    }
}
