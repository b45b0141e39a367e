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
/// How many ids the ranges have.
std::uint64_t ids_of(const std::vector<IdRange>& ranges);
/// Drops the ranges met first until `most_ranges` are left; returns how many were dropped.
std::size_t drop_oldest(std::vector<IdRange>& ranges);

/// The ids of ranges that no row has: what is between the runs of those that are taken. All in
/// order.
class Gaps {
public:
    Gaps(const std::vector<IdRange>& ranges, const std::vector<IdRange>& taken);

    /// Those below a row's id, once. A policy's query may answer two questions differently: what
    /// is a row is no gap.
    template <class Give>
    void give_below(std::int64_t id, const Give& give) {
        for (; given_ < gaps_.size() && gaps_[given_].lo <= id; ++given_) {
            IdRange& gap = gaps_[given_];
            if (gap.hi < id) {
                give(gap);
                continue;
            }
            if (gap.lo < id) give({gap.lo, id - 1, gap.seen});
            gap.lo = id + 1;
            if (gap.lo <= gap.hi) return;
        }
    }
    template <class Give>
    void give_rest(const Give& give) {
        for (; given_ < gaps_.size(); ++given_) give(gaps_[given_]);
    }

private:
    std::vector<IdRange> gaps_;
    std::size_t given_ = 0;
};

}  // namespace canaryd::rows
