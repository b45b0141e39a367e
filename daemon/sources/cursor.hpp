// Where a source stands in its table: which rows were counted, in a few hundred bytes of text that
// are committed with the look.
//
// A row was counted, or will never be, iff its id is below `next` and in no open range. So each
// row is counted exactly once, in whatever order rows appear and however often the daemon starts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "canaryd/policy.hpp"

namespace canaryd::rows {

/// Ids from lo to hi, both in it, and the end of the look that first met them.
struct IdRange {
    std::int64_t lo = 0;
    std::int64_t hi = 0;
    TimePoint seen;
    friend bool operator==(const IdRange&, const IdRange&) = default;
};

struct Cursor {
    TimePoint since;        // begin of the very first look: older requests are not this rollout's
    TimePoint to;           // end of the newest look
    std::int64_t next = 0;  // ids from here on were not looked at
    /// Below next and not counted yet: missing ids, running rows, rows of a time not reached yet.
    std::vector<IdRange> open;
    /// Counted as timeouts because they ran for too long: whatever they say when they end.
    std::vector<IdRange> hung;
    std::vector<std::uint64_t> told;  // hashes of the unexpected segments that were reported
    friend bool operator==(const Cursor&, const Cursor&) = default;
};

inline constexpr std::size_t most_ranges = 4096;
inline constexpr std::size_t most_told = 64;

std::string to_text(const Cursor& cursor);
/// Throws std::runtime_error when the text is not one that to_text() wrote.
Cursor parse_cursor(std::string_view text);

/// Adds ids above all that are there; continues the last range when it can.
void append(std::vector<IdRange>& ranges, const IdRange& more);
/// Whether one of the ranges (in order, disjoint) has the id.
bool contains(const std::vector<IdRange>& ranges, std::int64_t id);
/// Drops the ranges met first until `most_ranges` are left; returns how many were dropped.
std::size_t drop_oldest(std::vector<IdRange>& ranges);

}  // namespace canaryd::rows
