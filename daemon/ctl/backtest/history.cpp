#include "daemon/ctl/backtest/history.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "daemon/ctl/backtest/csv.hpp"
#include "daemon/log.hpp"

namespace canaryd::backtest {
namespace {

enum class Format { sqlite, metrics_csv, counts_csv, access_log };

std::string first_bytes(const std::string& file) {
    std::error_code failed;
    if (std::filesystem::is_directory(file, failed)) throw BadFile(file + ": is a folder");
    errno = 0;
    std::ifstream in(file, std::ios::binary);
    if (!in) {
        throw BadFile(file + ": cannot be read: " + std::strerror(errno == 0 ? ENOENT : errno));
    }
    std::array<char, 4096> room{};
    in.read(room.data(), room.size());
    return std::string(room.data(), static_cast<std::size_t>(in.gcount()));
}

Format format_of(const std::string& file) {
    using namespace std::string_view_literals;
    const std::string bytes = first_bytes(file);
    if (bytes.empty()) throw BadFile(file + ": is empty");
    if (bytes.starts_with("SQLite format 3\0"sv)) return Format::sqlite;
    if (bytes.starts_with("\x1F\x8B")) {
        throw BadFile(file + ": is compressed; unpack it first (gunzip -k)");
    }
    const std::string line = bytes.substr(0, std::min(bytes.find('\n'), bytes.size()));
    // A log's line has its time in brackets and its request in quotes; a header has neither.
    if (line.find(" [") != std::string::npos && line.find("] \"") != std::string::npos) {
        return Format::access_log;
    }
    Csv csv(file);
    const Header header(csv);
    if (header.find("requests") != Header::none) return Format::counts_csv;
    if (header.find("status") != Header::none || header.find("created_at") != Header::none) {
        return Format::metrics_csv;
    }
    throw BadFile(
        file +
        ":1: this is neither a SQLite file, nor a CSV of the metrics table (webhook_name, "
        "created_at, status, …), nor one of counts (time, requests, errors, …), nor a "
        "log in combined format; see canaryctl backtest --help");
}

}  // namespace

History read_history(const Policy& policy, const Reading& reading) {
    if (reading.database) return read_postgres(policy, reading);
    switch (format_of(reading.from)) {
        case Format::sqlite:
            return read_sqlite(policy, reading);
        case Format::metrics_csv:
            return read_metrics_csv(policy, reading);
        case Format::counts_csv:
            return read_counts_csv(policy, reading);
        case Format::access_log:
            return read_access_log(policy, reading);
    }
    throw BadFile(reading.from + ": unknown format");
}

}  // namespace canaryd::backtest
