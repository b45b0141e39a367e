#include "daemon/units.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>

namespace canaryd {
namespace {

struct Unit {
    std::string_view name;
    std::int64_t milliseconds;
};
constexpr std::array<Unit, 6> units{{{"w", 604'800'000},
                                     {"d", 86'400'000},
                                     {"h", 3'600'000},
                                     {"m", 60'000},
                                     {"s", 1'000},
                                     {"ms", 1}}};

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

std::size_t digits_in_front(std::string_view text) {
    return static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_digit) -
                                    text.begin());
}

/// nullopt when it does not fit.
std::optional<std::int64_t> whole_of(std::string_view digits) {
    std::int64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc{} || stop != end) return std::nullopt;
    return value;
}

bool has_leading_zero(std::string_view digits) {
    return digits.size() > 1 && digits[0] == '0';
}

std::string_view without_zeros(std::string_view digits) {
    while (has_leading_zero(digits)) digits.remove_prefix(1);
    return digits;
}

/// Digits, and after a dot at least one more. `fraction` is empty when there is no dot.
struct Decimal {
    std::string_view whole, fraction;
};
std::optional<Decimal> decimal_of(std::string_view text) {
    Decimal parts;
    parts.whole = text.substr(0, digits_in_front(text));
    text.remove_prefix(parts.whole.size());
    if (parts.whole.empty()) return std::nullopt;
    if (text.empty()) return parts;
    if (text[0] != '.') return std::nullopt;
    text.remove_prefix(1);
    parts.fraction = text;
    if (text.empty() || digits_in_front(text) != text.size()) return std::nullopt;
    return parts;
}

std::string fault_of_zeros(const Decimal& parts, std::string_view unit) {
    std::string fault = " has a leading zero; write " + std::string(without_zeros(parts.whole));
    if (!parts.fraction.empty()) fault += "." + std::string(parts.fraction);
    return fault + std::string(unit);
}

/// A percentage in units of 10^-decimals percent.
Read<std::int64_t> read_percent(std::string_view text, std::size_t decimals,
                                const std::string& example) {
    const auto bare = decimal_of(text);
    if (bare) return {{}, " has no unit; write " + std::string(text) + "%"};
    if (text.empty() || text.back() != '%') {
        return {{}, " is not a percentage; write one like " + example};
    }
    text.remove_suffix(1);
    if (!text.empty() && text[0] == '-' && decimal_of(text.substr(1))) {
        return {{}, " is negative; write one like " + example};
    }
    const auto parts = decimal_of(text);
    if (!parts) return {{}, " is not a percentage; write one like " + example};
    if (has_leading_zero(parts->whole)) return {{}, fault_of_zeros(*parts, "%")};
    if (parts->fraction.size() > decimals) {
        return {{}, " has more than " + std::to_string(decimals) + " decimals; round it"};
    }
    if (parts->whole.size() > 6) return {{}, " is far above 100%; write one like " + example};
    std::string digits(parts->whole);
    digits += parts->fraction;
    digits.append(decimals - parts->fraction.size(), '0');
    return {whole_of(digits), {}};
}

/// One step of the classic table of edit distances, a neighbours' swap being one edit.
std::size_t edits_between(std::string_view from, std::string_view to) {
    std::vector<std::size_t> before(to.size() + 1), last(to.size() + 1), now(to.size() + 1);
    std::iota(last.begin(), last.end(), std::size_t{0});
    for (std::size_t i = 1; i <= from.size(); ++i) {
        now[0] = i;
        for (std::size_t j = 1; j <= to.size(); ++j) {
            const std::size_t changed = last[j - 1] + (from[i - 1] == to[j - 1] ? 0 : 1);
            now[j] = std::min({last[j] + 1, now[j - 1] + 1, changed});
            const bool swapped =
                i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
            if (swapped) now[j] = std::min(now[j], before[j - 2] + 1);
        }
        before.swap(last);
        last.swap(now);
    }
    return last[to.size()];
}

}  // namespace

Read<Duration> read_duration(std::string_view text, std::string_view unit) {
    const std::string example = "a duration like 15s, 5m, 1h30m or 7d";
    if (text.starts_with('-')) return {{}, " is negative; write " + example};
    if (!text.empty() && digits_in_front(text) == text.size()) {
        const std::string digits(without_zeros(text.substr(0, 12)));
        return {{}, " has no unit; write " + digits + std::string(digits == "0" ? "s" : unit)};
    }
    std::int64_t total = 0;
    auto allowed = units.begin();  // the largest unit that may come next
    while (!text.empty()) {
        const std::string_view digits = text.substr(0, digits_in_front(text));
        text.remove_prefix(digits.size());
        if (digits.empty()) return {{}, " is not a duration; write " + example};
        if (text.starts_with('.')) return {{}, " is not in whole numbers; write " + example};
        if (has_leading_zero(digits)) return {{}, " has a leading zero; write " + example};
        const auto end = std::find_if(text.begin(), text.end(), is_digit);
        const std::string_view name = text.substr(0, static_cast<std::size_t>(end - text.begin()));
        text.remove_prefix(name.size());
        const auto found = std::find_if(units.begin(), units.end(),
                                        [&](const Unit& known) { return known.name == name; });
        if (found == units.end()) {
            return {{}, " has no known unit; units are ms, s, m, h, d and w: write " + example};
        }
        if (found < allowed) return {{}, " does not go from larger to smaller units; write 1h30m"};
        allowed = found + 1;
        const auto count = digits.size() <= 12 ? whole_of(digits) : std::nullopt;
        if (!count || *count > (longest_duration.count() - total) / found->milliseconds) {
            return {{}, " is longer than ten years; write " + example};
        }
        total += *count * found->milliseconds;
    }
    if (allowed == units.begin()) return {{}, " is not a duration; write " + example};
    return {Duration{total}, {}};
}

Read<Share> read_share(std::string_view text) {
    const auto percent = read_percent(text, 7, "1% or 0.5%");
    if (!percent.value) return {{}, percent.fault};
    return {Share{*percent.value}, {}};
}

Read<Weight> read_weight(std::string_view text) {
    const auto percent = read_percent(text, 2, "10%");
    if (!percent.value) return {{}, percent.fault};
    return {Weight{static_cast<int>(std::min<std::int64_t>(*percent.value, 1'000'000))}, {}};
}

Read<double> read_number(std::string_view text) {
    const bool negative = text.starts_with('-');
    const auto parts = decimal_of(text.substr(negative ? 1 : 0));
    if (!parts || text.size() > 40) {
        return {{}, " is not a plain number; write one like 20 or 0.5"};
    }
    if (has_leading_zero(parts->whole)) return {{}, fault_of_zeros(*parts, "")};
    double value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return {value, {}};
}

Read<std::int64_t> read_whole(std::string_view text) {
    const auto parts = decimal_of(text);
    if (!parts || !parts->fraction.empty()) {
        return {{}, " is not a whole number; write one like 20"};
    }
    if (has_leading_zero(parts->whole)) return {{}, fault_of_zeros(*parts, "")};
    const auto value = whole_of(parts->whole);
    if (!value) return {{}, " is too large; write one like 20"};
    return {*value, {}};
}

std::string as_yaml(Duration duration) {
    std::string text;
    std::int64_t rest = duration.count();
    for (const Unit& unit : units) {
        if (unit.name == "w") continue;  // "30d" says more than "4w2d"
        if (rest >= unit.milliseconds) {
            text += std::to_string(rest / unit.milliseconds) + std::string(unit.name);
            rest %= unit.milliseconds;
        }
    }
    return text.empty() ? "0s" : text;
}

std::string nearest(std::string_view word, const std::vector<std::string>& names) {
    if (word.size() > 64) return {};
    std::string best;
    std::size_t fewest = std::max<std::size_t>(2, word.size() / 3) + 1;
    for (const std::string& name : names) {
        const std::size_t longer = std::max(word.size(), name.size());
        if (longer - std::min(word.size(), name.size()) >= fewest) continue;
        const std::size_t edits = edits_between(word, name);
        if (edits < fewest && edits < word.size()) {
            fewest = edits;
            best = name;
        }
    }
    return best;
}

std::string shortened(std::string_view text) {
    constexpr std::size_t limit = 60;
    std::size_t end = std::min(limit, text.size());
    const auto inside = [&](std::size_t at) {
        return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U;
    };
    while (end > 0 && inside(end)) --end;
    std::string line(text.substr(0, end));
    std::replace(line.begin(), line.end(), '\n', ' ');
    if (end < text.size()) line += "…";
    return line;
}

std::string as_written(std::string_view text) {
    return "\"" + shortened(text) + "\"";
}

std::size_t valid_utf8_bytes(std::string_view text) {
    std::size_t i = 0;
    while (i < text.size()) {
        const auto byte = [&](std::size_t at) -> std::uint32_t {
            return at < text.size() ? static_cast<unsigned char>(text[at]) : 0;
        };
        const std::uint32_t lead = byte(i);
        const std::size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        if ((lead >= 0x80 && lead < 0xC2) || lead > 0xF4) return i;
        std::uint32_t point = length == 1 ? lead : lead & (0xFFU >> (length + 1));
        for (std::size_t k = 1; k < length; ++k) {
            if ((byte(i + k) & 0xC0U) != 0x80U) return i;
            point = (point << 6) | (byte(i + k) & 0x3FU);
        }
        const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
        const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
        if (overlong || surrogate || point > 0x10FFFF) return i;
        i += length;
    }
    return i;
}

}  // namespace canaryd
