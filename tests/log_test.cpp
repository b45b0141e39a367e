#include "daemon/log.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "daemon/systemd.hpp"

namespace {

using canaryd::escaped;
using canaryd::Level;

/// stderr as a pipe that the test reads.
class CapturedStderr {
public:
    CapturedStderr() : saved_(dup(STDERR_FILENO)) {
        REQUIRE(pipe2(ends_.data(), O_CLOEXEC | O_NONBLOCK) == 0);
        dup2(ends_[1], STDERR_FILENO);
    }
    ~CapturedStderr() {
        dup2(saved_, STDERR_FILENO);
        close(saved_);
        close(ends_[0]);
        close(ends_[1]);
    }
    CapturedStderr(const CapturedStderr&) = delete;
    CapturedStderr& operator=(const CapturedStderr&) = delete;

    [[nodiscard]] std::string text() const {
        std::string all;
        std::array<char, 4096> some{};
        ssize_t got = 0;
        while ((got = read(ends_[0], some.data(), some.size())) > 0) {
            all.append(some.data(), static_cast<std::size_t>(got));
        }
        return all;
    }
    /// As of a reader that stopped reading.
    void fill() const {
        const std::string block(4096, '.');
        while (write(ends_[1], block.data(), block.size()) > 0) {
        }
    }

private:
    int saved_;
    std::array<int, 2> ends_{};
};

/// The part of a line behind its time.
std::string after_time(const std::string& line) {
    const auto space = line.find(' ');
    return space == std::string::npos ? line : line.substr(space + 1);
}

}  // namespace

TEST_SUITE("log") {
    TEST_CASE("text that could forge a line or turn it round is escaped") {
        CHECK(escaped("rolled back\n<0>forged") == "rolled back\\x0a<0>forged");
        CHECK(escaped("\x1b[31mred\x7f") == "\\x1b[31mred\\x7f");
        CHECK(escaped(std::string("a\0b", 3)) == "a\\x00b");
        CHECK(escaped("\xC2\x85next") == "\\u{85}next");
        CHECK(escaped("a\xE2\x80\xAE"
                      "b") == "a\\u{202e}b");
        CHECK(escaped("a\xE2\x81\xA6"
                      "b\xE2\x80\xA8"
                      "c") == "a\\u{2066}b\\u{2028}c");
    }
    TEST_CASE("bytes that are no UTF-8 are escaped one by one") {
        CHECK(escaped("\xFF\xFE") == "\\xff\\xfe");
        CHECK(escaped("\xC0\xAF") == "\\xc0\\xaf");                    // overlong
        CHECK(escaped("\xED\xA0\x80") == "\\xed\\xa0\\x80");           // half a surrogate pair
        CHECK(escaped("\xF4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // past the last code
        CHECK(escaped("cut \xE2\x82") == "cut \\xe2\\x82");
    }
    TEST_CASE("what people write stays as it is") {
        CHECK(escaped("Ubuzima bwiza · 50 % → 100 % 🟢") ==
              "Ubuzima bwiza · 50 % → 100 % 🟢");
        CHECK(escaped("").empty());
    }

    TEST_CASE("outside systemd a line has time, level, text and keys") {
        const CapturedStderr captured;
        canaryd::log(Level::warning, "blind since\n02:10",
                     {{"CANARYD_ROLLOUT", "unified-webhook-1"}, {"CANARYD_REASON", "no \"rows\""}});
        const std::string line = captured.text();
        CHECK(line.find("T") == 10);
        CHECK(line.find("Z ") == 23);
        CHECK(
            after_time(line) ==
            "warning blind since\\x0a02:10 rollout=unified-webhook-1 reason=\"no \\\"rows\\\"\"\n");
    }
    TEST_CASE("lines below the level are not written, and an unknown level changes nothing") {
        const CapturedStderr captured;
        REQUIRE(canaryd::set_log_level(std::string_view("warning")));
        CHECK_FALSE(canaryd::set_log_level(std::string_view("loud")));
        canaryd::log(Level::info, "a quiet look");
        canaryd::log(Level::error, "rolled back");
        REQUIRE(canaryd::set_log_level(std::string_view("info")));
        CHECK(after_time(captured.text()) == "error rolled back\n");
    }
    TEST_CASE("a long line is cut to what a pipe takes in one piece, between characters") {
        const CapturedStderr captured;
        std::string text;
        for (int i = 0; i < 5000; ++i) text += "é";
        canaryd::log(Level::info, text);
        const std::string line = captured.text();
        CHECK(line.size() <= PIPE_BUF);
        CHECK(line.ends_with("é ...\n"));
        CHECK(escaped(line.substr(0, line.size() - 1)).find("\\x") == std::string::npos);
    }
    TEST_CASE("a reader that stopped reading costs lines, which are counted, and never time") {
        const CapturedStderr captured;
        captured.fill();
        const auto before = canaryd::dropped_log_lines();
        canaryd::log(Level::error, "rolled back");
        canaryd::log(Level::error, "rolled back again");
        CHECK(canaryd::dropped_log_lines() == before + 2);
        CHECK(captured.text().find("rolled back") == std::string::npos);
        canaryd::log(Level::error, "and read again");
        CHECK(after_time(captured.text()) == "error and read again\n");
    }
    TEST_CASE("a JOURNAL_STREAM that is not this stderr is not believed") {
        const CapturedStderr captured;
        setenv("JOURNAL_STREAM", "1:2", 1);
        canaryd::log(Level::info, "to stderr");
        unsetenv("JOURNAL_STREAM");
        CHECK(after_time(captured.text()) == "info to stderr\n");
    }

    TEST_CASE("systemd is told in lines that no status text can add to") {
        const auto folder = std::filesystem::temp_directory_path() /
                            ("canaryd-log-test." + std::to_string(getpid()));
        std::filesystem::create_directories(folder);
        const std::string path = folder / "notify";
        const int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        REQUIRE(path.size() < sizeof address.sun_path);
        path.copy(address.sun_path, path.size());
        REQUIRE(bind(file, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
        setenv("NOTIFY_SOCKET", path.c_str(), 1);
        const auto told = [file] {
            std::array<char, 512> text{};
            const ssize_t got = recv(file, text.data(), text.size(), 0);
            return std::string(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
        };
        canaryd::systemd::ready("1 running\nWATCHDOG=1");
        CHECK(told() == "READY=1\nSTATUS=1 running\\x0aWATCHDOG=1");
        canaryd::systemd::reloading();
        CHECK(told() == "RELOADING=1");
        canaryd::systemd::stopping();
        CHECK(told() == "STOPPING=1");
        canaryd::systemd::watchdog_ping();
        CHECK(told() == "WATCHDOG=1");
        unsetenv("NOTIFY_SOCKET");
        canaryd::systemd::status("nobody listens");
        CHECK(told().empty());
        close(file);
        std::filesystem::remove_all(folder);
    }
    TEST_CASE("a late look, a busy loop and a silent notifiers' loop are not fed") {
        using std::chrono::seconds;
        const canaryd::Duration answers{0};
        canaryd::Health health;
        CHECK(canaryd::systemd::may_feed(health, answers));
        CHECK(canaryd::systemd::may_feed(health, seconds{14}));
        CHECK_FALSE(canaryd::systemd::may_feed(health, seconds{15}));
        SUBCASE("late") {
            health.latest_lateness = seconds{119};
            CHECK(canaryd::systemd::may_feed(health, answers));
            health.latest_lateness = seconds{120};
        }
        SUBCASE("busy") {
            health.busy = seconds{24};
            CHECK(canaryd::systemd::may_feed(health, answers));
            health.busy = seconds{25};
        }
        CHECK_FALSE(canaryd::systemd::may_feed(health, answers));
    }
    TEST_CASE("the watchdog is fed twice in its time and at least every 10 s") {
        setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
        setenv("WATCHDOG_USEC", "4000000", 1);
        CHECK(canaryd::systemd::watchdog_interval() == std::chrono::seconds{2});
        setenv("WATCHDOG_USEC", "90000000", 1);
        CHECK(canaryd::systemd::watchdog_interval() == std::chrono::seconds{10});
        setenv("WATCHDOG_PID", "1", 1);
        CHECK(canaryd::systemd::watchdog_interval() == canaryd::Duration{0});
        unsetenv("WATCHDOG_PID");
        unsetenv("WATCHDOG_USEC");
        CHECK(canaryd::systemd::watchdog_interval() == canaryd::Duration{0});
    }
}
