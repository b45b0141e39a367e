// What a single row means: garbage, running or final, failed, slow, whose.
#include <algorithm>
#include <cmath>

#include "daemon/log.hpp"
#include "daemon/sources/rows.hpp"

namespace canaryd::rows {

namespace {

// 1973 and 2286: a time outside is one in seconds or microseconds, or no time at all.
constexpr std::int64_t earliest_ms = 100'000'000'000;
constexpr std::int64_t latest_ms = 10'000'000'000'000;
constexpr std::size_t shown_bytes = 40;

/// A column and its value, as a person may see it: hostile text cannot forge a line.
std::string shown(std::string_view column, const Cell& cell) {
    std::string text(column);
    switch (cell.kind) {
        case Cell::Kind::null:
            return text + " null";
        case Cell::Kind::integer:
            return text + " " + std::to_string(cell.integer);
        case Cell::Kind::real:
            return text + " " + std::to_string(cell.real);
        case Cell::Kind::text:
            return text + " \"" + escaped(cell.text.substr(0, shown_bytes)) +
                   (cell.text.size() > shown_bytes ? "…\"" : "\"");
    }
    return text;
}

bool is_null(const Cell& cell) {
    return cell.kind == Cell::Kind::null;
}
bool is_integer(const Cell& cell) {
    return cell.kind == Cell::Kind::integer;
}
bool believed(std::int64_t took) {
    return took >= 0 && took <= longest_ms;
}

/// Fractions count as begun, so that 2000.5 ms is slower than 2 s. nullopt: no duration.
std::optional<std::int64_t> milliseconds(const Cell& cell) {
    if (is_integer(cell) && believed(cell.integer)) return cell.integer;
    const bool real = cell.kind == Cell::Kind::real;
    if (real && cell.real >= 0 && cell.real <= static_cast<double>(longest_ms))
        return static_cast<std::int64_t>(std::ceil(cell.real));
    return std::nullopt;
}

std::optional<std::int64_t> from_times(const Row& row) {
    if (!is_integer(row.completed_at) || !is_integer(row.started_at)) return std::nullopt;
    std::int64_t took = 0;
    if (__builtin_sub_overflow(row.completed_at.integer, row.started_at.integer, &took))
        return std::nullopt;
    return believed(took) ? std::optional(took) : std::nullopt;
}

std::optional<std::uint64_t> user_of(const Cell& user) {
    switch (user.kind) {
        case Cell::Kind::null:
            return std::nullopt;
        case Cell::Kind::integer:
            return hash_of_user(std::to_string(user.integer));
        case Cell::Kind::real:
            return hash_of_user(std::to_string(user.real));
        case Cell::Kind::text:
            // An empty id is how some programs say that they know none.
            if (user.text.empty()) return std::nullopt;
            return hash_of_user(user.text);
    }
    return std::nullopt;
}

Request garbage(Request request, std::string fault) {
    request.kind = Request::Kind::garbage;
    request.fault = std::move(fault);
    return request;
}

/// Status, duration and completion of a row whose webhook and time are known to be good.
Request judged(Request request, const Row& row) {
    const std::string_view status =
        row.status.kind == Cell::Kind::text ? row.status.text : std::string_view();
    const bool success = status == "success";
    request.timed_out = status == "timeout";
    request.failed = status == "error" || request.timed_out;
    if (!success && !request.failed) return garbage(request, shown("status", row.status));
    if (!is_null(row.duration_ms)) {
        request.took = milliseconds(row.duration_ms);
        if (!request.took) return garbage(request, shown("duration_ms", row.duration_ms));
    } else if (!is_null(row.completed_at)) {
        request.took = from_times(row);
        // A failure stays one without its times; a success without a duration proves nothing.
        if (success && !request.took) {
            return garbage(request, shown("completed_at", row.completed_at) + " after " +
                                        shown("started_at", row.started_at));
        }
    } else if (success) {
        request.kind = Request::Kind::running;
        return request;
    }
    request.kind = Request::Kind::final;
    return request;
}

}  // namespace

Rules::Rules(const Policy& policy) : signals(signals_of(policy)), names{policy.canary} {
    names.insert(names.end(), policy.baseline.begin(), policy.baseline.end());
    for (std::size_t i = 0; i < policy.segments.size(); ++i)
        segments_.emplace(policy.segments[i], i);
    Duration slowest{0};
    const auto look_at = [&](const Signal& signal) {
        if (signal.kind == Signal::Kind::slower) slowest = std::max(slowest, signal.than);
    };
    quick = Duration(longest_ms);
    for (const Signal& signal : signals) {
        look_at(signal);
        if (signal.kind == Signal::Kind::slower) quick = std::min(quick, signal.than);
    }
    for (const Trigger& trigger : policy.triggers) {
        if (trigger.kind == Trigger::Kind::share) look_at(trigger.signal);
    }
    hung_after = std::max<Duration>(std::chrono::minutes{1}, 2 * slowest);
}

Request Rules::classify(const Row& row) const {
    Request request;
    if (row.webhook.kind != Cell::Kind::text) return request;
    const auto name = std::find(names.begin(), names.end(), row.webhook.text);
    if (name == names.end()) return request;
    request.who = name == names.begin() ? Population::canary : Population::baseline;
    const std::int64_t at = row.created_at.integer;
    if (!is_integer(row.created_at) || at < earliest_ms || at > latest_ms)
        return garbage(request, shown("created_at", row.created_at));
    request.created_at = TimePoint(Duration(at));
    request.user = user_of(row.user);
    return judged(std::move(request), row);
}

bool Rules::is_event(const Signal& signal, const Request& request) {
    switch (signal.kind) {
        case Signal::Kind::failed:
            return request.failed;
        case Signal::Kind::slower:
            return request.timed_out || (request.took && *request.took > signal.than.count());
        case Signal::Kind::counted:
            break;  // by a query
    }
    return false;
}

std::optional<std::size_t> Rules::segment_of(const Cell& segment) const {
    if (segment.kind == Cell::Kind::integer) {
        const auto found = segments_.find(std::to_string(segment.integer));
        return found == segments_.end() ? std::nullopt : std::optional(found->second);
    }
    if (segment.kind != Cell::Kind::text) return std::nullopt;
    const auto found = segments_.find(segment.text);
    return found == segments_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace canaryd::rows
