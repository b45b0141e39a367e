// The Slack notifier against a peer that speaks byte by byte: what no well-behaved server sends.
#include <doctest/doctest.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <string>
#include <thread>
#include <vector>

#include "daemon/async.hpp"
#include "daemon/notifiers/notifiers.hpp"

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using canaryd::Message;
using canaryd::Sent;

/// What a connection gets: pieces, each in a segment of its own, then the end.
using Pieces = std::vector<std::string>;

/// A peer on loopback that answers its n-th connection with the n-th script.
class Peer {
public:
    explicit Peer(std::vector<Pieces> scripts)
        : scripts_(std::move(scripts)),
          acceptor_(io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
          thread_([this] {
              for (; answered_ < scripts_.size(); ++answered_) answer(scripts_[answered_]);
          }) {}
    ~Peer() {
        // Scripts that nobody came for end with a caller that leaves at once.
        while (answered_ < scripts_.size()) {
            boost::system::error_code over;
            tcp::socket(io_).connect(acceptor_.local_endpoint(), over);
        }
        thread_.join();
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    [[nodiscard]] std::string url() const {
        return "http://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()) + "/hook";
    }
    /// The requests so far; read after the notifier has its answers.
    std::vector<std::string> requests;

private:
    void answer(const Pieces& script) {
        tcp::socket socket = acceptor_.accept();
        socket.set_option(tcp::no_delay(true));
        std::string request;
        boost::system::error_code gone;
        const auto header =
            asio::read_until(socket, asio::dynamic_buffer(request), "\r\n\r\n", gone);
        if (gone) return;
        const auto field = request.find("Content-Length: ");
        if (field > header) return;  // the caller's test fails without an answer
        const std::size_t length = std::stoul(request.substr(field + 16));
        if (request.size() < header + length) {
            const std::size_t missing = header + length - request.size();
            asio::read(socket, asio::dynamic_buffer(request), asio::transfer_exactly(missing));
        }
        requests.push_back(request);
        for (const std::string& piece : script) {
            asio::write(socket, asio::buffer(piece), gone);
            // A segment of its own; the test is right without it, only less sharp.
            std::this_thread::sleep_for(std::chrono::milliseconds{2});
        }
        if (script.empty()) socket.set_option(asio::socket_base::linger(true, 0));  // a reset
    }
    std::vector<Pieces> scripts_;
    std::atomic<std::size_t> answered_{0};
    asio::io_context io_;
    tcp::acceptor acceptor_;
    std::thread thread_;
};

struct Outcome {
    std::optional<Sent> sent;
    std::string error;
};

/// The notifiers' loop and the deciding one, as in the daemon.
class Desk {
public:
    Desk() : work_(loop_.get_executor()), thread_([this] { loop_.run(); }) {}
    ~Desk() {
        loop_.stop();
        thread_.join();
    }
    Desk(const Desk&) = delete;
    Desk& operator=(const Desk&) = delete;

    Outcome send(const std::string& url) {
        const canaryd::Connection ops{"ops", "slack", "", "", url};
        const auto notifier =
            canaryd::make_slack_notifier({"slack", "ops", ""}, ops, loop_.get_executor());
        Message message;
        message.rollout = "demo-1";
        message.revision = 7;
        message.notice.text = "demo: promoted to 50 %";
        Outcome outcome;
        deciding_.restart();  // it ran out of work when it sent before
        asio::co_spawn(deciding_, notifier->send(message),
                       [&outcome](const std::exception_ptr& error, Sent sent) {
                           try {
                               if (error) std::rethrow_exception(error);
                               outcome.sent = std::move(sent);
                           } catch (const std::exception& thrown) {
                               outcome.error = thrown.what();
                           }
                       });
        // The answer is posted from the other thread: work of its own keeps this loop waiting.
        const auto waiting = asio::make_work_guard(deciding_);
        while (!outcome.sent && outcome.error.empty()) deciding_.run_one();
        return outcome;
    }

private:
    asio::io_context deciding_{1};  // outlives the thread, which may still be inside its post
    asio::io_context loop_{1};
    asio::executor_work_guard<asio::io_context::executor_type> work_;
    std::thread thread_;
};

Outcome answered(const Pieces& pieces) {
    Peer peer({pieces});
    Desk desk;
    return desk.send(peer.url());
}

const std::string chunked_head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

}  // namespace

TEST_SUITE("notifier") {
    TEST_CASE("the request names host, path and length, and carries the message as JSON") {
        Peer peer({{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}});
        Desk desk;
        const Outcome outcome = desk.send(peer.url());
        REQUIRE(outcome.sent);
        CHECK(outcome.sent->kind == Sent::Kind::delivered);
        const std::string& request = peer.requests.at(0);
        CHECK(request.starts_with("POST /hook HTTP/1.1\r\n"));
        CHECK(request.find("\r\nHost: " + peer.url().substr(7, peer.url().size() - 12) + "\r\n") !=
              std::string::npos);
        CHECK(request.find("\r\nContent-Type: application/json") != std::string::npos);
        CHECK(request.find("*demo: promoted to 50 %*") != std::string::npos);
    }
    TEST_CASE("an answer is understood however it is cut into segments") {
        const std::string last = "0\r\n\r\n";
        std::vector<Pieces> ways;
        for (std::size_t cut = 0; cut <= last.size(); ++cut) {
            ways.push_back({chunked_head + "2\r\nok\r\n" + last.substr(0, cut), last.substr(cut)});
        }
        ways.push_back({chunked_head + "2\r\nok\r\n0\r\n", "\r", "\n"});
        ways.push_back({chunked_head, "2\r", "\no", "k\r\n0", "\r", "\n", "\r", "\n"});
        ways.push_back({"HTTP/1.1 200 OK\r\n", "Content-Length: 2\r\n\r", "\n", "o", "k"});
        ways.push_back({"HTTP/1.0 200 OK\r\n\r\n", "ok"});
        for (const Pieces& way : ways) {
            const Outcome outcome = answered(way);
            CAPTURE(outcome.error);
            REQUIRE(outcome.sent);
            CHECK(outcome.sent->kind == Sent::Kind::delivered);
        }
    }
    TEST_CASE("an empty body cut into segments is not ok, and ends nothing else") {
        const Outcome outcome = answered({chunked_head + "0\r\n", "\r", "\n"});
        CHECK(outcome.error.find("the body is not ok") != std::string::npos);
    }
    TEST_CASE("an answer whose length is not clear is not believed") {
        const Pieces odd[] = {
            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nok"},
            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok"},
            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\nok"},
            {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
            {"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"},
            {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok"},
            {"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"},
            {"rubbish\r\n\r\n"},
            {std::string("\x16\x03\x01\x02", 4)},
        };
        for (const Pieces& pieces : odd) {
            const Outcome outcome = answered(pieces);
            CAPTURE(pieces.front());
            CHECK_FALSE(outcome.sent);
            CHECK(outcome.error.starts_with("slack 127.0.0.1: "));
        }
    }
    TEST_CASE("a trailer changes nothing") {
        const Outcome outcome = answered(
            {"HTTP/1.1 429 Busy\r\nTransfer-Encoding: chunked\r\nRetry-After: 5\r\n\r\n0\r\n"
             "Retry-After: 600\r\n\r\n"});
        REQUIRE(outcome.sent);
        CHECK(outcome.sent->kind == Sent::Kind::later);
        CHECK(outcome.sent->wait == std::chrono::seconds{5});
    }
    TEST_CASE("header and body are read as far as an answer can reach, and no further") {
        const Pieces large[] = {
            {"HTTP/1.1 200 OK\r\nX: " + std::string(20'000, 'x') + "\r\n\r\nok"},
            {"HTTP/1.1 200 OK\r\n\r\n" + std::string(200'000, 'x')},
            {"HTTP/1.1 200 OK\r\nContent-Length: 2000000000\r\n\r\n", "ok"},
            {chunked_head + "77359400\r\nok"},
            {chunked_head + "2;x=" + std::string(100'000, 'x') + "\r\nok\r\n0\r\n\r\n"},
        };
        for (const Pieces& pieces : large) {
            const Outcome outcome = answered(pieces);
            CHECK_FALSE(outcome.sent);
            CHECK(outcome.error.find("the message may have arrived") != std::string::npos);
        }
    }
    TEST_CASE("a reset after the request says that the message may have arrived") {
        const Outcome outcome = answered({});
        CHECK(outcome.error.starts_with("slack 127.0.0.1: answer: "));
        CHECK(outcome.error.ends_with("; the message may have arrived"));
    }
    TEST_CASE("a refused connection says so, without the path") {
        std::string url;
        {
            asio::io_context io;
            tcp::acceptor acceptor(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
            url = "http://127.0.0.1:" + std::to_string(acceptor.local_endpoint().port()) + "/hook";
        }
        Desk desk;
        const Outcome outcome = desk.send(url);
        CHECK(outcome.error == "slack 127.0.0.1: connect: Connection refused");
    }
    TEST_CASE("a refused form is sent once more, in plain text") {
        Peer peer({{"HTTP/1.1 400 Bad\r\nContent-Length: 14\r\n\r\ninvalid_blocks"},
                   {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}});
        Desk desk;
        const Outcome outcome = desk.send(peer.url());
        REQUIRE(outcome.sent);
        CHECK(outcome.sent->kind == Sent::Kind::delivered);
        CHECK(peer.requests.at(0).find("\"blocks\"") != std::string::npos);
        CHECK(peer.requests.at(1).find("\"blocks\"") == std::string::npos);
        CHECK(peer.requests.at(1).find("promoted to 50 %") != std::string::npos);
    }
    TEST_CASE("three messages at once, then one a second, and a 429 holds everybody back") {
        const Pieces ok{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"};
        {
            Peer peer(std::vector<Pieces>(20, ok));
            Desk desk;
            int delivered = 0;
            Outcome outcome = desk.send(peer.url());
            while (outcome.sent && outcome.sent->kind == Sent::Kind::delivered && delivered < 20) {
                ++delivered;
                outcome = desk.send(peer.url());
            }
            CHECK(delivered >= 3);
            REQUIRE(outcome.sent);
            CHECK(outcome.sent->kind == Sent::Kind::later);
            CHECK(outcome.sent->wait == std::chrono::seconds{1});
        }
        Peer peer({{"HTTP/1.1 429 Busy\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n"}});
        Desk desk;
        CHECK(desk.send(peer.url()).sent->wait == std::chrono::seconds{20});
        CHECK(desk.send(peer.url()).sent->kind == Sent::Kind::later);
    }
}
