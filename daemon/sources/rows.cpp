#include "daemon/sources/rows.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "daemon/sources/counting.hpp"

namespace canaryd::rows {

Counter::Counter(Policy policy) : policy_(std::move(policy)), rules_(policy_) {}

Look Counter::look(const Ask& ask, RowReader& reader) {
    if (ask.to < ask.from) throw std::invalid_argument("a look cannot end before it begins");
    Look look;
    if (ask.peek) {
        look.from = ask.from;
        look.to = ask.to;
    } else {
        look = count(ask, reader);
    }
    // Until here the memory was nobody's: what follows may throw, and then the look never was.
    fill_windows(ask, reader, look);
    if (!ask.peek) produced_ = look.cursor;
    return look;
}

Look Counter::count(const Ask& ask, RowReader& reader) {
    std::vector<std::string> remarks;
    Cursor before = where(ask, reader, remarks);
    // The memory stands for the cursor it was left with. Another one means that the last look was
    // not committed, or that this object is new: blocks are read again when they are touched.
    const bool right = !ask.cursor.empty() && ask.cursor == produced_ &&
                       ask.gate_from == gate_from_ && remarks.empty();
    if (!right) {
        canary_ = Dedup();
        baseline_ = Dedup();
    }
    produced_.clear();
    gate_from_ = ask.gate_from;
    Counting counting(policy_, rules_, ask, std::move(before), {&canary_, &baseline_}, reader);
    Look look = counting.run();
    look.remarks.insert(look.remarks.begin(), remarks.begin(), remarks.end());
    const std::int64_t block = block_of(ask.from, policy_.floor_within) - 1;
    canary_.forget_before(block);
    baseline_.forget_before(block);
    return look;
}

Cursor Counter::where(const Ask& ask, RowReader& reader, std::vector<std::string>& remarks) const {
    const std::int64_t end = reader.end_id();
    if (ask.cursor.empty()) {
        Cursor cursor;
        cursor.since = cursor.to = ask.from;
        // The older ones are read as well, and of them only those that are missing are waited for.
        constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min() / 2;
        const std::int64_t first = std::max(reader.first_id(ask.from).value_or(end), lowest);
        cursor.next = std::max(std::min<std::int64_t>(first, 1), first - reader.in_flight());
        return cursor;
    }
    Cursor cursor = parse_cursor(ask.cursor);
    if (end < cursor.next) {
        // Emptied or replaced: the same ids are given to other rows. Counted rows are older than
        // the end of the newest look, so the first one that is not is new.
        remarks.push_back("the table's largest id went back from " +
                          std::to_string(cursor.next - 1) + " to " + std::to_string(end - 1) +
                          ": it was emptied or replaced; rows are counted from " +
                          "the end of the last look on");
        cursor.next = reader.first_id(cursor.to).value_or(end);
        cursor.open.clear();
        cursor.hung.clear();
    }
    return cursor;
}

}  // namespace canaryd::rows
