// The client of canaryctl against a peer that is, or is not, the daemon.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "daemon/http/client.hpp"

using namespace canaryd::http;

namespace {

/// A Unix socket on which somebody says `answer`, in pieces, to whoever comes.
class Peer {
public:
    /// Listens and never takes a call: the kernel accepts, and nobody reads.
    struct Deaf {};
    explicit Peer(Deaf)
        : folder_(std::filesystem::temp_directory_path() /
                  ("canaryd-http-" + std::to_string(::getpid()) + "-" + std::to_string(made_++))),
          path_((folder_ / "s").string()) {
        std::filesystem::create_directories(folder_);
        listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path_.copy(address.sun_path, sizeof address.sun_path - 1);
        REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        REQUIRE(::listen(listener_, 4) == 0);
    }
    explicit Peer(std::vector<std::string> pieces, bool ends = true) : Peer(Deaf{}) {
        thread_ = std::thread([this, pieces = std::move(pieces), ends] { speak(pieces, ends); });
    }
    ~Peer() {
        ::shutdown(listener_, SHUT_RDWR);
        if (thread_.joinable()) thread_.join();
        ::close(listener_);
        std::filesystem::remove_all(folder_);
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    void speak(const std::vector<std::string>& pieces, bool ends) const {
        const int peer = ::accept(listener_, nullptr, nullptr);
        if (peer < 0) return;
        char request[4096];
        if (::recv(peer, request, sizeof request, 0) > 0) {
            for (const std::string& piece : pieces) {
                if (::send(peer, piece.data(), piece.size(), MSG_NOSIGNAL) < 0) break;
                // Let the reader see this piece alone, whatever the kernel would like to join.
                std::this_thread::yield();
            }
        }
        // One that does not end waits until the client gives up.
        while (!ends && ::recv(peer, request, sizeof request, 0) > 0) {
        }
        ::close(peer);
    }

    static inline int made_ = 0;
    std::filesystem::path folder_;
    std::string path_;
    int listener_ = -1;
    std::thread thread_;
};

Answer ask(const Peer& peer) {
    return request(peer.path(), "GET", "/status", "", "", std::chrono::seconds{5});
}

const std::string ok_head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";

}  // namespace

TEST_SUITE("http") {
    TEST_CASE("the client takes the daemon's answer") {
        const Peer peer({ok_head + "Content-Length: 3\r\n\r\nok\n"});
        const Answer answer = ask(peer);
        CHECK(answer.status == 200);
        CHECK(answer.content_type == "text/plain");
        CHECK(answer.body == "ok\n");
    }

    TEST_CASE("the client takes an answer that comes byte by byte") {
        std::vector<std::string> pieces;
        for (const char c : ok_head + "Content-Length: 3\r\n\r\nok\n") pieces.emplace_back(1, c);
        CHECK(ask(Peer(std::move(pieces))).body == "ok\n");
    }

    TEST_CASE("a chunked answer is not the daemon's, however its last chunk is split") {
        const std::string head = ok_head + "Transfer-Encoding: chunked\r\n\r\n";
        const std::string last = "0\r\n\r\n";
        for (std::size_t cut = 0; cut <= last.size(); ++cut) {
            CHECK_THROWS_AS(ask(Peer({head + last.substr(0, cut), last.substr(cut)})),
                            std::runtime_error);
        }
        CHECK_THROWS_AS(ask(Peer({head + "0\r\n", "\r", "\n"})), std::runtime_error);
    }

    TEST_CASE("a hostile peer gets an error out of the client, and nothing else") {
        const std::string huge = "Content-Length: 17000000\r\n\r\n";
        const std::vector<std::string> rubbish{
            "SSH-2.0-OpenSSH_9.2\r\n",
            std::string("\0\1\2\3", 4),
            "HTTP/1.1 abc\r\n\r\n",
            ok_head + huge + "x",
            ok_head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            ok_head + "Content-Length: -1\r\n\r\n",
            ok_head + "X: " + std::string(100'000, 'a') + "\r\n\r\n",
            ok_head + "Content-Length: 30\r\n\r\nshort",
            ok_head.substr(0, 20),
            ""};
        for (const std::string& answer : rubbish) {
            CAPTURE(answer.substr(0, 60));
            CHECK_THROWS_AS(ask(Peer({answer})), std::runtime_error);
        }
        // No length at all: to the end of the connection, bounded.
        const std::string lump(std::size_t{1024} * 1024, 'x');
        std::vector<std::string> endless{ok_head + "\r\n"};
        endless.insert(endless.end(), 18, lump);
        CHECK_THROWS_AS(ask(Peer(std::move(endless))), std::runtime_error);
    }

    TEST_CASE("a daemon that is not there, or silent, is unreachable") {
        CHECK_THROWS_AS(request("/nonexistent/canaryd.sock", "GET", "/status", "", ""),
                        Unreachable);
        CHECK_THROWS_AS(request("/" + std::string(200, 'x'), "GET", "/status", "", ""),
                        Unreachable);
        const Peer silent({}, false);
        CHECK_THROWS_AS(request(silent.path(), "GET", "/status", "", "", std::chrono::seconds{1}),
                        Unreachable);
    }

    TEST_CASE("a daemon that does not read a long command is unreachable") {
        const Peer deaf(Peer::Deaf{});
        const std::string body(std::size_t{8} * 1024 * 1024, ' ');
        CHECK_THROWS_AS(request(deaf.path(), "POST", "/x", "", body, std::chrono::seconds{1}),
                        Unreachable);
    }
}
