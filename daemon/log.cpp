#include "daemon/log.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cctype>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "canaryd/text.hpp"
#include "daemon/utf8.hpp"

namespace canaryd {
namespace {

struct Word {
    Level level;
    std::string_view word;
};
constexpr std::array<Word, 6> words{{{Level::critical, "critical"},
                                     {Level::error, "error"},
                                     {Level::warning, "warning"},
                                     {Level::notice, "notice"},
                                     {Level::info, "info"},
                                     {Level::debug, "debug"}}};

std::atomic<int> lowest_level{static_cast<int>(Level::info)};
std::atomic<std::uint64_t> dropped{0};

std::string_view word_of(Level level) {
    for (const Word& entry : words) {
        if (entry.level == level) return entry.word;
    }
    return "info";
}

/// $JOURNAL_STREAM names the device and inode that systemd connected stderr to. Compared, since a
/// child whose stderr was redirected inherits the variable.
bool stderr_is_journal() {
    const char* const stream = std::getenv("JOURNAL_STREAM");
    struct stat status {};
    if (stream == nullptr || fstat(STDERR_FILENO, &status) != 0) return false;
    return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) == stream;
}

bool writable_now(int file) {
    pollfd ready{file, POLLOUT, 0};
    return poll(&ready, 1, 0) == 1 && ready.revents == POLLOUT;
}

/// libsystemd sends with a socket that waits for a journald that is stuck. A second socket, asked
/// first whether the journal takes more, keeps the deciding thread from waiting with it.
bool journal_takes_more() {
    const int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) return false;
    sockaddr_un address{AF_UNIX, "/run/systemd/journal/socket"};
    const bool takes =
        connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
        writable_now(probe);
    close(probe);
    return takes;
}

bool to_journal(Level level, std::string_view message, LogFields fields) {
    std::vector<std::string> entries;
    entries.push_back("MESSAGE=" + escaped(message));
    entries.push_back("PRIORITY=" + std::to_string(static_cast<int>(level)));
    for (const auto& [name, value] : fields) {
        entries.push_back(std::string(name) + "=" + escaped(value));
    }
    std::vector<iovec> pieces;
    for (std::string& entry : entries) pieces.push_back({entry.data(), entry.size()});
    return journal_takes_more() &&
           sd_journal_sendv(pieces.data(), static_cast<int>(pieces.size())) == 0;
}

/// CANARYD_ROLLOUT is `rollout` on a line that people read.
std::string key_of(std::string_view field) {
    constexpr std::string_view prefix = "CANARYD_";
    if (field.starts_with(prefix)) field.remove_prefix(prefix.size());
    std::string key;
    for (const char c : field) {
        key += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return key;
}

std::string value_of(std::string_view text) {
    if (!text.empty() && text.find_first_of(" \"=") == std::string_view::npos) {
        return escaped(text);
    }
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"') quoted += '\\';
        quoted += c;
    }
    return escaped(quoted + "\"");
}

/// One write of at most PIPE_BUF bytes: lines of several threads stay apart, and a pipe that says
/// it is writable takes it without waiting.
bool to_stderr(Level level, std::string_view message, LogFields fields) {
    const auto now = std::chrono::system_clock::now();  // the time of the line, nothing else
    std::string line = text::iso(std::chrono::time_point_cast<Duration>(now));
    line += " " + std::string(word_of(level)) + " " + escaped(message);
    for (const auto& [name, value] : fields) line += " " + key_of(name) + "=" + value_of(value);
    if (line.size() > PIPE_BUF - 1) {
        std::size_t end = PIPE_BUF - 5;
        while ((static_cast<unsigned char>(line[end]) & 0xC0U) == 0x80) --end;  // whole characters
        line.resize(end);
        line += " ...";
    }
    line += "\n";
    return writable_now(STDERR_FILENO) &&
           write(STDERR_FILENO, line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

}  // namespace

void log(Level level, std::string_view message, LogFields fields) {
    if (static_cast<int>(level) > lowest_level.load(std::memory_order_relaxed)) return;
    const bool written = stderr_is_journal() ? to_journal(level, message, fields)
                                             : to_stderr(level, message, fields);
    if (!written) dropped.fetch_add(1, std::memory_order_relaxed);
}

void set_log_level(Level level) {
    lowest_level.store(static_cast<int>(level), std::memory_order_relaxed);
}

bool set_log_level(std::string_view word) {
    for (const Word& entry : words) {
        if (entry.word != word) continue;
        set_log_level(entry.level);
        return true;
    }
    return false;
}

std::uint64_t dropped_log_lines() {
    return dropped.load(std::memory_order_relaxed);
}

std::string escaped(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const Character character = first_character(text);
        std::array<char, 16> escape{};
        if (!character.valid || character.code < 0x20 || character.code == 0x7F) {
            std::snprintf(escape.data(), escape.size(), "\\x%02x",
                          static_cast<unsigned>(character.code));
            out += escape.data();
        } else if (is_control(character.code)) {
            std::snprintf(escape.data(), escape.size(), "\\u{%x}",
                          static_cast<unsigned>(character.code));
            out += escape.data();
        } else {
            out += text.substr(0, character.bytes);
        }
        text.remove_prefix(character.bytes);
    }
    return out;
}

}  // namespace canaryd
