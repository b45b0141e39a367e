// Weights, durations, times, shares and numbers, as people read them.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "canaryd/text.hpp"
#include "daemon/core/text_parts.hpp"

namespace canaryd::text {
namespace {

using namespace std::chrono_literals;

template <class... Values>
std::string print(const char* format, Values... values) {
    std::array<char, 96> room{};
    const int length = std::snprintf(room.data(), room.size(), format, values...);
    const auto limit = static_cast<int>(room.size()) - 1;
    return std::string(room.data(), static_cast<std::size_t>(std::clamp(length, 0, limit)));
}

/// "1.50" becomes "1.5", "7.00" becomes "7".
std::string trimmed(std::string decimal) {
    if (decimal.find('.') == std::string::npos) return decimal;
    while (decimal.back() == '0') decimal.pop_back();
    if (decimal.back() == '.') decimal.pop_back();
    return decimal;
}

int decimals_of(double percent) {
    // Close to nothing and close to everything the digits matter; between, one is plenty.
    if (percent < 0.1) return 1 - static_cast<int>(std::floor(std::log10(percent)));
    if (percent < 10 || percent >= 99) return 2;
    return 1;
}

/// Days, hours and so on of a point in time.
struct Calendar {
    std::chrono::year_month_day date;
    std::chrono::hh_mm_ss<Duration> clock;
    unsigned weekday;
};

Calendar calendar(TimePoint at) {
    const auto day = std::chrono::floor<std::chrono::days>(at);
    return {std::chrono::year_month_day{day}, std::chrono::hh_mm_ss<Duration>{at - day},
            std::chrono::weekday{day}.c_encoding()};
}

std::string day_of(TimePoint at) {
    static constexpr std::array<const char*, 7> days{"Sun", "Mon", "Tue", "Wed",
                                                     "Thu", "Fri", "Sat"};
    static constexpr std::array<const char*, 13> months{
        "?", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const Calendar when = calendar(at);
    return print("%s %u %s", days[when.weekday % 7], static_cast<unsigned>(when.date.day()),
                 months[static_cast<unsigned>(when.date.month()) % 13]);
}

std::string clock_of(TimePoint at, bool seconds) {
    const Calendar when = calendar(at);
    const auto hours = static_cast<int>(when.clock.hours().count());
    const auto minutes = static_cast<int>(when.clock.minutes().count());
    if (!seconds) return print("%02d:%02d", hours, minutes);
    return print("%02d:%02d:%02d", hours, minutes, static_cast<int>(when.clock.seconds().count()));
}

bool whole_minute(TimePoint at) {
    return at.time_since_epoch() % 1min == Duration{0};
}

}  // namespace

std::string weight(Weight weight) {
    return trimmed(print("%.2f", weight.basis_points / 100.0)) + " %";
}

std::string duration(Duration duration) {
    if (duration < Duration{0}) return "-" + text::duration(-duration);
    if (duration == Duration{0}) return "0s";
    if (duration < 1s) return std::to_string(duration.count()) + "ms";
    if (duration < 1min) {
        return trimmed(print("%.3f", static_cast<double>(duration.count()) / 1000.0)) + "s";
    }
    struct Unit {
        Duration size;
        char letter;
    };
    static constexpr std::array<Unit, 4> units{{{24h, 'd'}, {1h, 'h'}, {1min, 'm'}, {1s, 's'}}};
    std::string words;
    Duration rest = duration;
    int parts = 0;
    for (const Unit& unit : units) {
        const auto n = rest / unit.size;
        rest %= unit.size;
        // Beside days a second says nothing.
        if (n == 0 || (unit.letter == 's' && duration >= 24h) || parts == 3) continue;
        if (!words.empty()) words += ' ';
        words += std::to_string(n) + unit.letter;
        ++parts;
    }
    return words;
}

std::string time(TimePoint at) {
    return day_of(at) + " " + clock_of(at, false) + " UTC";
}

std::string time_of_day(TimePoint at) {
    return clock_of(at, true);
}

std::string moment(TimePoint at) {
    return day_of(at) + " " + clock_of(at, true) + " UTC";
}

std::string iso(TimePoint at) {
    const Calendar when = calendar(at);
    return print("%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(when.date.year()),
                 static_cast<unsigned>(when.date.month()), static_cast<unsigned>(when.date.day()),
                 static_cast<int>(when.clock.hours().count()),
                 static_cast<int>(when.clock.minutes().count()),
                 static_cast<int>(when.clock.seconds().count()),
                 static_cast<int>(when.clock.subseconds().count()));
}

std::string ago(TimePoint now, TimePoint then) {
    const Duration age = now - then;
    if (age < 1s && age > -1s) return "now";
    if (age < Duration{0}) return "in " + duration(std::chrono::floor<std::chrono::seconds>(-age));
    if (age < 2min) return duration(std::chrono::floor<std::chrono::seconds>(age)) + " ago";
    if (age < 24h) return duration(std::chrono::floor<std::chrono::minutes>(age)) + " ago";
    return duration(std::chrono::floor<std::chrono::hours>(age)) + " ago";
}

std::string share(double share) {
    const double percent = share * 100;
    if (!std::isfinite(percent)) return "unknown";
    if (percent <= 0) return "0 %";
    return trimmed(print("%.*f", std::min(decimals_of(percent), 9), percent)) + " %";
}

std::string share_up(double share) {
    const double percent = share * 100;
    if (!std::isfinite(percent)) return "unknown";
    if (percent <= 0) return "0 %";
    const int decimals = std::min(decimals_of(percent), 9);
    const double scale = std::pow(10.0, decimals);
    // Not up for what is only the binary form of a decimal: 1 % stays 1 %.
    return trimmed(print("%.*f", decimals, std::ceil(percent * scale - 1e-7) / scale)) + " %";
}

std::string rate(double rate, Per per) {
    if (per != Per::hour) return share(rate);
    if (!std::isfinite(rate)) return "unknown";
    const bool many = rate >= 1000;
    return (many ? number(std::llround(std::min(rate, 1e15))) : print("%.3g", rate)) + " per hour";
}

std::string rate_up(double rate, Per per) {
    if (per != Per::hour) return share_up(rate);
    if (!std::isfinite(rate) || rate <= 0) return text::rate(rate, per);
    const double unit = std::pow(10.0, std::floor(std::log10(rate)) - 2);
    return text::rate(std::ceil(rate / unit - 1e-7) * unit, per);
}

std::string margin(const Margin& margin) {
    std::string words = print("x%g", margin.times);
    if (margin.plus > 0) {
        std::string points = share(margin.plus);  // "0.1 %"
        points.replace(points.size() - 1, 1, "pp");
        words += " + " + points;
    }
    return words;
}

std::string dispersion(const Dispersion& dispersion) {
    return print("{limits: %g, comparisons: %g}", dispersion.limits, dispersion.comparisons);
}

std::string number(std::int64_t n) {
    std::string digits = std::to_string(n);
    const std::size_t first = n < 0 ? 1 : 0;
    for (std::size_t at = digits.size(); at > first + 3;) {
        at -= 3;
        digits.insert(at, ",");
    }
    return digits;
}

std::string seen(std::int64_t n, Per per) {
    if (per == Per::hour) return duration(Duration(n));
    return per == Per::cluster ? number(n / unit_of(per)) : counted(n, "request", "requests");
}

std::string of_query(const std::string& number, std::int64_t n, std::int64_t k, Per per) {
    if (per == Per::hour) return events(k, per) + " " + number + " in " + seen(n, per);
    return number + " " + events(k, per) + " of " + seen(n, per);
}

std::string events(std::int64_t k, Per per) {
    if (per != Per::cluster) return number(k);
    const double whole = static_cast<double>(k) / unit_of(per);
    return whole < 100 ? trimmed(print("%.2f", whole)) : number(std::llround(whole));
}

std::string harm(double of_100) {
    if (std::isnan(of_100)) return "unknown";
    // Past all doubt; the cap of harm_of_100() is no number to show.
    if (of_100 > 10'000) return "over 10,000";
    if (of_100 >= 10) return number(static_cast<std::int64_t>(std::floor(of_100 * (1 + 1e-12))));
    return trimmed(print("%.1f", std::floor(std::max(of_100, 0.0) * 10 + 1e-9) / 10));
}

std::string bar(double share, int width) {
    const double part = std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0.0;
    const auto size = static_cast<std::size_t>(std::max(width, 0));
    const auto full = static_cast<std::size_t>(std::floor(part * static_cast<double>(size)));
    return "[" + std::string(full, '=') + std::string(size - full, '.') + "]";
}

std::string latency(Duration duration) {
    if (duration < 1s) return std::to_string(duration.count()) + " ms";
    return trimmed(print("%.2f", static_cast<double>(duration.count()) / 1000.0)) + " s";
}

std::string span(TimePoint from, TimePoint to) {
    const bool seconds = !whole_minute(from) || !whole_minute(to);
    const bool same_day =
        std::chrono::floor<std::chrono::days>(from) == std::chrono::floor<std::chrono::days>(to);
    if (same_day) return clock_of(from, seconds) + " to " + clock_of(to, seconds);
    return day_of(from) + " " + clock_of(from, seconds) + " to " + day_of(to) + " " +
           clock_of(to, seconds);
}

std::string counted(std::int64_t n, std::string_view one, std::string_view many) {
    return number(n) + " " + std::string(n == 1 ? one : many);
}

std::string list(const std::vector<std::string>& items) {
    std::string words;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (i > 0) words += i + 1 == items.size() ? " and " : ", ";
        words += items[i];
    }
    return words;
}

std::string wrap(std::string_view sentence, int width, int indent) {
    std::string page;
    int used = indent;  // what stands before the first word on its line
    bool first = true;
    while (!sentence.empty()) {
        const std::size_t end = sentence.find(' ');
        const std::string_view word = sentence.substr(0, end);
        if (!first && used + 1 + columns(word) > width) {
            page += '\n' + std::string(static_cast<std::size_t>(std::max(indent, 0)), ' ');
            used = indent;
        } else if (!first) {
            page += ' ';
            ++used;
        }
        first = false;
        page += word;
        used += columns(word);
        if (end == std::string_view::npos) break;
        sentence.remove_prefix(end + 1);
    }
    return page;
}

}  // namespace canaryd::text
