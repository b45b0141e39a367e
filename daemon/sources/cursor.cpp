#include "daemon/sources/cursor.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <stdexcept>

namespace canaryd::rows {

namespace {

constexpr std::size_t longest_text = 1024 * 1024;

std::string number(std::int64_t value) {
    return std::to_string(value);
}
std::string number(TimePoint at) {
    return std::to_string(at.time_since_epoch().count());
}

std::string hex(std::uint64_t value) {
    char text[16];
    const auto end = std::to_chars(std::begin(text), std::end(text), value, 16).ptr;
    return {std::begin(text), end};
}

std::string ranges_text(const std::vector<IdRange>& ranges) {
    std::string text;
    for (const IdRange& range : ranges) {
        if (!text.empty()) text += ',';
        text += number(range.lo) + ':' + number(range.hi) + ':' + number(range.seen);
    }
    return text;
}

/// Reads the text from left to right; every surprise is an exception.
class Reader {
public:
    explicit Reader(std::string_view text) : rest_(text) {}

    void literal(std::string_view wanted) {
        if (!rest_.starts_with(wanted)) fail("\"" + std::string(wanted) + "\" is missing");
        rest_.remove_prefix(wanted.size());
    }
    [[nodiscard]] bool next_is(char c) const { return !rest_.empty() && rest_.front() == c; }
    [[nodiscard]] bool at_end() const { return rest_.empty(); }

    template <class Integer>
    Integer integer(int base = 10) {
        Integer value = 0;
        const auto result = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value, base);
        if (result.ec != std::errc{}) fail("a number is missing or too large");
        rest_.remove_prefix(static_cast<std::size_t>(result.ptr - rest_.data()));
        return value;
    }
    TimePoint time() { return TimePoint(Duration(integer<std::int64_t>())); }

    std::vector<IdRange> ranges(std::int64_t below) {
        std::vector<IdRange> ranges;
        while (!at_end() && !next_is(' ')) {
            if (!ranges.empty()) literal(",");
            IdRange range;
            range.lo = integer<std::int64_t>();
            literal(":");
            range.hi = integer<std::int64_t>();
            literal(":");
            range.seen = time();
            const bool in_order = ranges.empty() || ranges.back().hi < range.lo;
            if (range.lo > range.hi || range.hi >= below || !in_order) fail("ranges out of order");
            if (ranges.size() == most_ranges) fail("too many ranges");
            ranges.push_back(range);
        }
        return ranges;
    }

    [[noreturn]] void fail(const std::string& what) const {
        throw std::runtime_error("the source's cursor is damaged: " + what + ", " +
                                 std::to_string(rest_.size()) + " bytes before its end");
    }

private:
    std::string_view rest_;
};

}  // namespace

std::string to_text(const Cursor& cursor) {
    std::string told;
    for (const std::uint64_t hash : cursor.told) {
        if (!told.empty()) told += ',';
        told += hex(hash);
    }
    return "1 since=" + number(cursor.since) + " to=" + number(cursor.to) +
           " next=" + number(cursor.next) + " open=" + ranges_text(cursor.open) +
           " hung=" + ranges_text(cursor.hung) + " told=" + told;
}

Cursor parse_cursor(std::string_view text) {
    Reader reader(text);
    if (text.size() > longest_text) reader.fail("it is too long");
    Cursor cursor;
    reader.literal("1 since=");
    cursor.since = reader.time();
    reader.literal(" to=");
    cursor.to = reader.time();
    reader.literal(" next=");
    cursor.next = reader.integer<std::int64_t>();
    reader.literal(" open=");
    cursor.open = reader.ranges(cursor.next);
    reader.literal(" hung=");
    cursor.hung = reader.ranges(cursor.next);
    reader.literal(" told=");
    while (!reader.at_end()) {
        if (!cursor.told.empty()) reader.literal(",");
        if (cursor.told.size() == most_told) reader.fail("too many segments");
        cursor.told.push_back(reader.integer<std::uint64_t>(16));
    }
    return cursor;
}

void append(std::vector<IdRange>& ranges, const IdRange& more) {
    if (!ranges.empty() && ranges.back().hi + 1 == more.lo && ranges.back().seen == more.seen) {
        ranges.back().hi = more.hi;
    } else {
        ranges.push_back(more);
    }
}

bool contains(const std::vector<IdRange>& ranges, std::int64_t id) {
    const auto after = std::upper_bound(
        ranges.begin(), ranges.end(), id,
        [](std::int64_t wanted, const IdRange& range) { return wanted < range.lo; });
    return after != ranges.begin() && id <= std::prev(after)->hi;
}

std::uint64_t ids_of(const std::vector<IdRange>& ranges) {
    std::uint64_t ids = 0;
    for (const IdRange& range : ranges)
        ids += static_cast<std::uint64_t>(range.hi) - static_cast<std::uint64_t>(range.lo) + 1;
    return ids;
}

std::size_t drop_oldest(std::vector<IdRange>& ranges) {
    if (ranges.size() <= most_ranges) return 0;
    const std::size_t extra = ranges.size() - most_ranges;
    std::vector<IdRange> by_age = ranges;
    const auto older = [](const IdRange& a, const IdRange& b) {
        return a.seen != b.seen ? a.seen < b.seen : a.lo < b.lo;
    };
    std::nth_element(by_age.begin(), by_age.begin() + static_cast<std::ptrdiff_t>(extra),
                     by_age.end(), older);
    const IdRange oldest_kept = by_age[extra];
    std::erase_if(ranges, [&](const IdRange& range) { return older(range, oldest_kept); });
    return extra;
}

Gaps::Gaps(const std::vector<IdRange>& ranges, const std::vector<IdRange>& taken) {
    auto run = taken.begin();
    for (const IdRange& range : ranges) {
        std::int64_t next = range.lo;
        for (; run != taken.end() && run->lo <= range.hi; ++run) {
            if (run->lo > next) gaps_.push_back({next, run->lo - 1, range.seen});
            next = std::max(next, run->hi + 1);
            if (run->hi > range.hi) break;  // the next range's as well
        }
        if (next <= range.hi) gaps_.push_back({next, range.hi, range.seen});
    }
}

}  // namespace canaryd::rows
