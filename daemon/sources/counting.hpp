// One look being counted: private to rows.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/sources/rows.hpp"

namespace canaryd::rows {

/// The tallies of one population, on time or late.
struct Side {
    Tally total;
    std::vector<Tally> segments;
};

/// What is remembered of users: for each population, which failed in which block.
using Memory = std::array<Dedup*, 2>;

/// One look being counted.
class Counting {
public:
    Counting(const Policy& policy, const Rules& rules, const Ask& ask, Cursor before, Memory memory,
             RowReader& reader);
    Look run();

private:
    enum class Fate {
        closed,  // counted, or never to be
        open,    // running: not yet
        later    // of a time at or after the look's end
    };

    void read_open();
    void read_tail();
    Fate take(const Row& row);
    Fate counted(const Row& row, Request request);
    void add_events(Side& side, std::optional<std::size_t> segment, const Request& request);
    void add_user(Tally& tally, const Row& row, const Request& request);
    void remember_block(std::int64_t block);
    void tell_new_segment(const Cell& segment);
    void missing(std::vector<IdRange>& ranges, const IdRange& ids) const;
    [[nodiscard]] bool full() const;
    [[nodiscard]] bool baseline_missing() const;

    Look finish();
    void finish_tallies(Look& look);
    void finish_cursor(Look& look);

    const Policy& policy_;
    const Rules& rules_;
    const Ask& ask_;
    Cursor before_, after_;
    Memory memory_;
    RowReader& reader_;
    std::array<std::array<Side, 2>, 2> sides_;  // [late][population]
    std::vector<bool> wanted_;
    std::vector<IdRange> hung_now_;
    std::set<std::uint64_t> canary_users_;  // of this look's own rows, most_users at most
    std::int64_t anonymous_ = 0;            // canary's requests without a user
    std::vector<std::string> new_segments_;
    std::size_t rows_ = 0, garbage_ = 0, new_segment_count_ = 0;
    bool cut_ = false;  // the table has more rows from `next` on than one look reads
    std::string example_;
};

}  // namespace canaryd::rows
