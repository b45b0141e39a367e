// Times as databases export them.
#include <algorithm>
#include <charconv>
#include <chrono>

#include "daemon/ctl/backtest/history.hpp"

namespace canaryd::backtest {
namespace {

/// Reads fixed forms from the front of a text.
class Scan {
public:
    explicit Scan(std::string_view text) : rest_(text) {}

    /// Exactly so many digits.
    bool digits(int count, int& value) {
        if (rest_.size() < static_cast<std::size_t>(count)) return false;
        value = 0;
        for (int i = 0; i < count; ++i) {
            const char c = rest_[static_cast<std::size_t>(i)];
            if (c < '0' || c > '9') return false;
            value = value * 10 + (c - '0');
        }
        rest_.remove_prefix(static_cast<std::size_t>(count));
        return true;
    }
    bool one_of(std::string_view characters) {
        if (rest_.empty() || characters.find(rest_.front()) == std::string_view::npos) return false;
        rest_.remove_prefix(1);
        return true;
    }
    bool word(std::string_view text) {
        if (!rest_.starts_with(text)) return false;
        rest_.remove_prefix(text.size());
        return true;
    }
    [[nodiscard]] bool done() const { return rest_.empty(); }
    [[nodiscard]] char front() const { return rest_.empty() ? '\0' : rest_.front(); }

private:
    std::string_view rest_;
};

/// Milliseconds of ".123456"; more digits than three are cut.
bool read_fraction(Scan& scan, std::int64_t& milliseconds) {
    int value = 0, read = 0;
    for (int digit = 0; scan.digits(1, digit); ++read) {
        if (read < 3) value = value * 10 + digit;
    }
    for (int i = read; i < 3; ++i) value *= 10;
    milliseconds = value;
    return read > 0;
}

/// "Z", " UTC", "+00", "+0530", "+05:30"; nothing is UTC.
bool read_zone(Scan& scan, std::int64_t& minutes) {
    minutes = 0;
    scan.word(" ");
    if (scan.done() || scan.word("Z") || scan.word("UTC")) return true;
    const bool west = scan.front() == '-';
    if (!scan.one_of("+-")) return false;
    int hours = 0, rest = 0;
    if (!scan.digits(2, hours)) return false;
    scan.word(":");
    if (!scan.done() && !scan.digits(2, rest)) return false;
    if (hours > 15 || rest > 59) return false;
    minutes = (west ? -1 : 1) * (hours * 60 + rest);
    return true;
}

std::optional<std::int64_t> read_calendar(std::string_view text) {
    Scan scan(text);
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
    std::int64_t fraction = 0, zone = 0;
    if (!scan.digits(4, year) || !scan.word("-") || !scan.digits(2, month) || !scan.word("-") ||
        !scan.digits(2, day) || !scan.one_of("T ") || !scan.digits(2, hour) || !scan.word(":") ||
        !scan.digits(2, minute)) {
        return std::nullopt;
    }
    if (scan.word(":") && !scan.digits(2, second)) return std::nullopt;
    if (scan.one_of(".,") && !read_fraction(scan, fraction)) return std::nullopt;
    if (!read_zone(scan, zone) || !scan.done()) return std::nullopt;
    const std::chrono::year_month_day date{std::chrono::year{year},
                                           std::chrono::month{static_cast<unsigned>(month)},
                                           std::chrono::day{static_cast<unsigned>(day)}};
    // A leap second is the second after it.
    if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
    const std::int64_t days = std::chrono::sys_days{date}.time_since_epoch().count();
    const std::int64_t minutes = days * 24 * 60 + hour * 60 + minute - zone;
    return (minutes * 60 + second) * 1000 + fraction;
}

}  // namespace

std::optional<std::int64_t> read_time(std::string_view text) {
    // 1973 to 2286, as a running source believes it.
    constexpr std::int64_t earliest = 100'000'000'000;
    constexpr std::int64_t latest = 10'000'000'000'000;
    std::optional<std::int64_t> time;
    std::int64_t whole = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, whole);
    if (error == std::errc{} && stop == end) {
        // No time is both: milliseconds since 1973 have more digits than seconds until 2286.
        time = whole < earliest / 10 ? whole * 1000 : whole;
    } else {
        time = read_calendar(text);
    }
    if (!time || *time < earliest || *time > latest) return std::nullopt;
    return time;
}

}  // namespace canaryd::backtest
