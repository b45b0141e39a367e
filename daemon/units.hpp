// The written forms of YAML values: durations, shares, weights and numbers, strictly.
//
// Pure. A fault completes the sentence that begins with the value as written and ends in the mend:
// `"7"` + ` has no unit; write 7d`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "canaryd/policy.hpp"

namespace canaryd {

/// A value, or why there is none.
template <class T>
struct Read {
    std::optional<T> value;
    std::string fault;  // not empty iff there is no value
};

/// A part of a whole in billionths, so that `above 99%` and `below 1%` are one and the same double.
struct Share {
    static constexpr std::int64_t whole = 1'000'000'000;
    std::int64_t billionths = 0;
    [[nodiscard]] double value() const { return static_cast<double>(billionths) / whole; }
    /// What is missing to 100 %.
    [[nodiscard]] Share rest() const { return {whole - billionths}; }
    friend auto operator<=>(const Share&, const Share&) = default;
};

inline constexpr Duration longest_duration = std::chrono::hours{24 * 3650};

/// "15s", "5m", "1h30m", "7d", "2w", "500ms": whole numbers, larger units first, at most ten years.
/// `unit` is offered when there is none.
Read<Duration> read_duration(std::string_view text, std::string_view unit = "m");
/// "1%", "0.5%": at most seven decimals.
Read<Share> read_share(std::string_view text);
/// "10%", "0.5%" as basis points: at most two decimals.
Read<Weight> read_weight(std::string_view text);
/// A finite decimal: no octal, no hexadecimal, no exponent, no `_`, no .nan, no .inf.
Read<double> read_number(std::string_view text);
Read<std::int64_t> read_whole(std::string_view text);

/// The shortest form that read_duration() takes: "1h30m", "0s".
std::string as_yaml(Duration duration);

/// The name most like `word`, or empty when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& names);

/// One readable line of it, cut to 60 bytes.
std::string shortened(std::string_view text);
/// The same in quotes: a value as it stands in the file.
std::string as_written(std::string_view text);
/// How many bytes in front are UTF-8; text.size() when all are.
std::size_t valid_utf8_bytes(std::string_view text);

}  // namespace canaryd
