// The listeners: whose socket file it is, who may open it, and what is left when the server goes.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "canaryd/controller.hpp"
#include "daemon/clock.hpp"
#include "daemon/http/server.hpp"

using namespace canaryd;

namespace {

/// A store in which nothing ever happened.
class EmptyStore : public Store {
public:
    Async<std::vector<Loaded>> load() override { co_return std::vector<Loaded>{}; }
    Async<> commit(Event, Transition, std::vector<Owed>) override { co_return; }
    Async<std::vector<Owed>> owed() override { co_return std::vector<Owed>{}; }
    Async<> settle(std::string, std::string) override { co_return; }
    Async<std::vector<JournalEntry>> journal(std::string, std::uint64_t, std::size_t) override {
        co_return std::vector<JournalEntry>{};
    }
    Async<std::uint64_t> count_of(std::string) override { co_return 0; }
};

/// A folder, a loop, and a server on it when asked.
struct World {
    World()
        : folder(std::filesystem::temp_directory_path() /
                 ("canaryd-server-" + std::to_string(::getpid()) + "-" + std::to_string(made++))) {
        std::filesystem::create_directories(folder);
        settings.socket = (folder / "s").string();
        settings.listen_port = 0;
    }
    ~World() {
        // The connections' frames end in the loop, before the clock that they still know.
        io.poll();
        std::filesystem::remove_all(folder);
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    std::unique_ptr<http::Server> serve() {
        return std::make_unique<http::Server>(io.get_executor(), *clock, controller, settings);
    }
    void turn() {
        for (int i = 0; i < 20; ++i) {
            io.restart();
            io.poll();
        }
    }
    [[nodiscard]] int connect() const {
        const int peer = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        settings.socket.copy(address.sun_path, sizeof address.sun_path - 1);
        REQUIRE(::connect(peer, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        return peer;
    }

    static inline int made = 0;
    std::filesystem::path folder;
    Settings settings;
    boost::asio::io_context io{1};
    std::unique_ptr<Clock> clock = make_system_clock(io.get_executor());
    EmptyStore store;
    Controller controller{io.get_executor(), *clock, store, {}};
};

std::string read_all(int peer) {
    std::string all;
    char data[4096];
    for (ssize_t n = 0; (n = ::recv(peer, data, sizeof data, 0)) > 0;) {
        all.append(data, static_cast<std::size_t>(n));
    }
    return all;
}

void send_all(int peer, const std::string& text) {
    REQUIRE(::send(peer, text.data(), text.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(text.size()));
}

}  // namespace

TEST_SUITE("http") {
    TEST_CASE("the socket is for its owner and group, and goes with the server") {
        World world;
        auto server = world.serve();
        struct stat file {};
        REQUIRE(::stat(world.settings.socket.c_str(), &file) == 0);
        CHECK((file.st_mode & 0777) == 0660);
        CHECK(server->port() == 0);
        server.reset();
        CHECK_FALSE(std::filesystem::exists(world.settings.socket));
    }

    TEST_CASE("a socket that another daemon answers on is left alone") {
        World world;
        const auto server = world.serve();
        CHECK_THROWS_WITH(world.serve(), doctest::Contains("another daemon answers"));
        CHECK(std::filesystem::exists(world.settings.socket));
    }

    TEST_CASE("a socket that a killed daemon left behind is replaced") {
        World world;
        const int dead = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        world.settings.socket.copy(address.sun_path, sizeof address.sun_path - 1);
        REQUIRE(::bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        ::close(dead);
        const auto server = world.serve();
        const int peer = world.connect();
        send_all(peer, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        ::shutdown(peer, SHUT_WR);
        world.turn();
        CHECK(read_all(peer).substr(0, 15) == "HTTP/1.1 200 OK");
        ::close(peer);
    }

    TEST_CASE("a file that is no socket is not removed") {
        World world;
        std::ofstream(world.settings.socket) << "precious";
        CHECK_THROWS_WITH(world.serve(), doctest::Contains("no socket is in the way"));
        CHECK(std::filesystem::file_size(world.settings.socket) == 8);
    }

    TEST_CASE("only loopback is listened on, and a taken port is said") {
        World world;
        world.settings.listen_port = 1;
        world.settings.listen_address = "0.0.0.0";
        CHECK_THROWS_WITH(world.serve(), doctest::Contains("not a loopback address"));
        world.settings.listen_address = "localhost";
        CHECK_THROWS_WITH(world.serve(), doctest::Contains("no IP address"));
        const int taken = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(::listen(taken, 1) == 0);
        sockaddr_storage address{};
        socklen_t size = sizeof address;
        REQUIRE(::getsockname(taken, reinterpret_cast<sockaddr*>(&address), &size) == 0);
        const auto* port = reinterpret_cast<const unsigned char*>(&address) + 2;
        world.settings.listen_port = static_cast<std::uint16_t>(port[0] * 256 + port[1]);
        world.settings.listen_address = "127.0.0.1";
        CHECK_THROWS_WITH(world.serve(), doctest::Contains("in use"));
        ::close(taken);
    }

    TEST_CASE("a server that goes lets go of its connections, whatever they wait for") {
        World world;
        auto server = world.serve();
        const int silent = world.connect();
        const int halfway = world.connect();
        send_all(halfway, "GET /status HT");
        const int body = world.connect();
        send_all(body,
                 "POST /api/v1/rollouts/a/pause HTTP/1.1\r\nHost: a\r\n"
                 "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{");
        world.turn();
        server.reset();
        world.turn();
        for (const int peer : {silent, halfway, body}) {
            CHECK(read_all(peer).empty());
            ::close(peer);
        }
    }

    TEST_CASE("before the store is read, a status says so and does not say that there is nothing") {
        World world;
        const auto server = world.serve();
        const int peer = world.connect();
        send_all(peer,
                 "GET /status HTTP/1.1\r\nHost: a\r\n\r\n"
                 "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
                 "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        ::shutdown(peer, SHUT_WR);
        world.turn();
        const std::string answers = read_all(peer);
        CHECK(answers.substr(0, 13) == "HTTP/1.1 503 ");
        CHECK(answers.find("urn:canaryd:problem:not-ready") != std::string::npos);
        CHECK(answers.rfind("HTTP/1.1 200 OK") > answers.rfind("HTTP/1.1 503 "));
        ::close(peer);
    }
}
