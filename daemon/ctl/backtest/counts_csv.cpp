// Counts by time, service and segment, as a query with GROUP BY exports them.
#include <algorithm>
#include <charconv>
#include <limits>

#include "canaryd/other_counts.hpp"
#include "canaryd/text.hpp"
#include "daemon/ctl/backtest/csv.hpp"
#include "daemon/ctl/backtest/history.hpp"
#include "daemon/units.hpp"

namespace canaryd::backtest {
namespace {

constexpr std::size_t most_lines = 4'000'000;
constexpr std::size_t most_numbers = 32'000'000;  // a quarter of a gigabyte
constexpr std::int64_t most_events = std::int64_t{1} << 53;

std::string column_of(const Signal& signal) {
    switch (signal.kind) {
        case Signal::Kind::failed:
            return "errors";
        case Signal::Kind::slower:
            return "slow_" + as_yaml(signal.than);
        case Signal::Kind::counted:
            break;  // no history has it
    }
    return {};
}

/// The column however its duration is written: slow_1500ms is slow_1s500ms.
std::size_t find_column(const Header& header, const Signal& signal) {
    for (std::size_t i = 0; i < header.names().size(); ++i) {
        const std::string& name = header.names()[i];
        if (signal.kind == Signal::Kind::failed) {
            if (name == "errors") return i;
        } else if (name.starts_with("slow_")) {
            const Read<Duration> than = read_duration(std::string_view(name).substr(5));
            if (than.value == signal.than) return i;
        }
    }
    return Header::none;
}

/// A histogram's columns by rising bound: le_1500ms, le_2500ms, le_inf.
struct Buckets {
    std::vector<double> bounds;  // milliseconds; the last one is infinite
    std::vector<std::size_t> columns;
};

constexpr double infinity = std::numeric_limits<double>::infinity();

Buckets buckets_of(Csv& csv, const Header& header) {
    std::vector<std::pair<double, std::size_t>> found;
    for (std::size_t i = 0; i < header.names().size(); ++i) {
        const std::string& name = header.names()[i];
        if (!name.starts_with("le_")) continue;
        const std::string bound = name.substr(3);
        const Read<Duration> read = read_duration(bound, "s");
        if (bound != "inf" && !read.value) {
            csv.bad("column " + as_written(name) + ": " + as_written(bound) + read.fault +
                    "; the last bucket is le_inf");
        }
        found.emplace_back(bound == "inf" ? infinity : static_cast<double>(read.value->count()), i);
    }
    std::sort(found.begin(), found.end());
    Buckets buckets;
    for (const auto& [bound, column] : found) {
        if (!buckets.bounds.empty() && bound == buckets.bounds.back()) {
            csv.bad("columns " + header.names()[buckets.columns.back()] + " and " +
                    header.names()[column] + " are the same bucket; remove one");
        }
        buckets.bounds.push_back(bound);
        buckets.columns.push_back(column);
    }
    if (!found.empty()) {
        header.need(csv, "le_inf", "it is the histogram's last bucket, which has every request");
    }
    return buckets;
}

/// Whose limit the signal is, for people.
std::string owner_of(const Policy& policy, const Signal& signal) {
    for (const Criterion& criterion : policy.criteria) {
        if (criterion.signal == signal) return "criterion " + criterion.name;
    }
    for (const Trigger& trigger : policy.triggers) {
        if (trigger.signal == signal) return "trigger " + trigger.name;
    }
    return {};
}

/// The buckets around a limit that is no bound, and what they hide. Tells it where there is any;
/// gives the bound from which on a request is surely slow.
Duration sure_above(const Policy& policy, const Header& header, const Buckets& buckets,
                    const Signal& signal, std::vector<std::string>& notes) {
    const auto upper = std::lower_bound(buckets.bounds.begin(), buckets.bounds.end(),
                                        static_cast<double>(signal.than.count()));
    const auto at = static_cast<std::size_t>(upper - buckets.bounds.begin());
    const Duration bound =
        *upper == infinity ? Duration::max() : Duration{static_cast<Duration::rep>(*upper)};
    if (bound == signal.than) return bound;
    const std::string above = header.names()[buckets.columns[at]];
    const std::string limit = as_yaml(signal.than);
    notes.push_back(
        owner_of(policy, signal) + ": no bucket ends at its " + limit + ", so requests between " +
        (at == 0 ? "0s" : header.names()[buckets.columns[at - 1]]) + " and " + above +
        " may be slow or not: they count as slow where health is proven and never as harm, and a "
        "canary that becomes so slow is not rolled back. Count a bucket le_" +
        limit);
    return bound;
}

struct Columns {
    std::size_t time, webhook, segment, requests;
    /// Of a signal; none: in the buckets, or a trigger's that is missing.
    std::vector<std::size_t> events;
    std::vector<bool> in_buckets;
    Buckets buckets;
    bool sure = true;  // of every event it is known that it is one
};

/// What the criteria count must be there; what only a trigger counts may be missing.
Columns columns_of(Csv& csv, const Header& header, const Policy& policy, History& history) {
    Columns at{};
    at.time = header.need(csv, "time", "it is the begin of what a row counts");
    at.requests = header.need(csv, "requests", "how many there were");
    at.webhook = header.find("webhook_name");
    if (at.webhook == Header::none) at.webhook = header.find("webhook");
    at.segment = Header::none;
    if (!policy.segments.empty()) {
        at.segment = header.find(policy.segment_column);
        if (at.segment == Header::none) at.segment = header.find(policy.segment);
        if (at.segment == Header::none) {
            history.notes.push_back("no column " + policy.segment_column +
                                    ": everything counts in the total only, and no " +
                                    policy.segment + " is watched");
        }
    }
    at.buckets = buckets_of(csv, header);
    const std::vector<Signal> signals = replayed_signals(policy);
    const std::size_t of_criteria = signals_of(policy).size();
    for (std::size_t i = 0; i < signals.size(); ++i) {
        const std::string name = column_of(signals[i]);
        const std::size_t found = find_column(header, signals[i]);
        const bool slower = signals[i].kind == Signal::Kind::slower;
        const bool in_buckets = found == Header::none && slower && !at.buckets.bounds.empty();
        const bool known = found != Header::none || in_buckets;
        if (!known && i < of_criteria) {
            header.need(csv, name,
                        "a criterion needs it; count it, or leave latency out with "
                        "--ignore-latency");
        }
        if (!known) {
            history.notes.push_back("no column " + name + ": the triggers on it are not replayed");
        }
        at.events.push_back(found);
        at.in_buckets.push_back(in_buckets);
        history.counts.known.push_back(known);
        history.counts.sure_above.push_back(
            in_buckets ? sure_above(policy, header, at.buckets, signals[i], history.notes)
                       : signals[i].than);
        at.sure = at.sure && history.counts.sure_above.back() == signals[i].than;
    }
    return at;
}

std::int64_t count_at(const Csv& csv, const Header& header, std::size_t column) {
    const std::string_view text = csv.field(column);
    std::int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || value < 0 || value > most_events) {
        csv.bad(header.names()[column] + ": " + as_written(text) +
                " is no count; write a whole number from 0");
    }
    return value;
}

/// One line, checked.
struct Line {
    std::int64_t at = 0;
    std::size_t scope = 0;
    std::int64_t requests = 0;
    std::size_t events_from = 0;  // in Reader::events_
};

class Reader {
public:
    Reader(const Policy& policy, const std::string& file)
        : policy_(policy), csv_(file), header_(csv_), signals_(replayed_signals(policy)) {
        columns_ = columns_of(csv_, header_, policy, history_);
    }

    History read(const std::string& file) && {
        while (csv_.next()) {
            header_.check(csv_);
            take();
        }
        const std::string what = file + ", counts";
        if (lines_.empty()) {
            throw BadFile(what + ": no counts of the legacy to play" +
                          (others_ > 0 ? "; " + text::number(others_) +
                                             " rows are of other services, such as " + other_
                                       : std::string()));
        }
        fill(what);
        tell();
        return std::move(history_);
    }

private:
    void take() {
        if (columns_.webhook != Header::none && !is_legacy(csv_.field(columns_.webhook))) {
            ++others_;
            if (other_.empty()) other_ = as_written(csv_.field(columns_.webhook));
            return;
        }
        if (lines_.size() == most_lines) {
            csv_.bad("more than " + text::number(static_cast<std::int64_t>(most_lines)) +
                     " rows of counts; play a shorter time");
        }
        Line line;
        const std::string_view written = csv_.field(columns_.time);
        const auto time = read_time(written);
        if (!time) {
            csv_.bad("time: " + as_written(written) +
                     " is no time; write 2026-01-11T09:00:00Z, or milliseconds since 1970");
        }
        line.at = *time;
        line.scope = scope_of_row();
        line.requests = count_at(csv_, header_, columns_.requests);
        line.events_from = events_.size();
        read_buckets(line.requests);
        for (std::size_t i = 0; i < columns_.events.size(); ++i) {
            const auto [at_least, at_most] = events_at(i, line.requests);
            events_.push_back(at_most);
            if (!columns_.sure) sure_.push_back(at_least);
        }
        if (line.requests > most_events - total_)
            csv_.bad("requests: the sum is no count any more");
        total_ += line.requests;
        lines_.push_back(line);
    }

    struct Events {
        std::int64_t at_least = 0, at_most = 0;
    };
    Events events_at(std::size_t signal, std::int64_t requests) {
        if (columns_.in_buckets[signal]) return slower_than(signals_[signal].than);
        const std::size_t column = columns_.events[signal];
        if (column == Header::none) return {};
        const std::int64_t events = count_at(csv_, header_, column);
        if (events > requests) {
            csv_.bad(header_.names()[column] + ": " + std::to_string(events) + " of " +
                     std::to_string(requests) +
                     " requests; there cannot be more of them than requests");
        }
        return {events, events};
    }

    void read_buckets(std::int64_t requests) {
        cumulative_.clear();
        for (const std::size_t column : columns_.buckets.columns) {
            cumulative_.push_back(count_at(csv_, header_, column));
        }
        if (cumulative_.empty() || cumulative_.back() == requests) return;
        csv_.bad("le_inf: " + std::to_string(cumulative_.back()) + " of " +
                 std::to_string(requests) +
                 " requests; it has all of them, timeouts and those without a duration too");
    }

    Events slower_than(Duration limit) {
        const auto seen =
            exceedances(columns_.buckets.bounds, cumulative_, static_cast<double>(limit.count()));
        if (!seen) {
            csv_.bad(
                "the buckets fall: le_… are cumulative, each has the requests of those below it");
        }
        return {seen->at_least, seen->at_most};
    }

    [[nodiscard]] bool is_legacy(std::string_view name) const {
        if (policy_.baseline.empty()) return name == policy_.canary;
        return std::find(policy_.baseline.begin(), policy_.baseline.end(), name) !=
               policy_.baseline.end();
    }

    std::size_t scope_of_row() {
        if (columns_.segment == Header::none) return 0;
        const std::string_view name = csv_.field(columns_.segment);
        const auto found = std::find(policy_.segments.begin(), policy_.segments.end(), name);
        if (found != policy_.segments.end()) {
            return static_cast<std::size_t>(found - policy_.segments.begin()) + 1;
        }
        if (!name.empty() && segment_.empty()) segment_ = as_written(name);
        ++without_segment_;
        return 0;
    }

    /// The shortest time between two rows of one scope: what a row counts.
    [[nodiscard]] Duration interval() const {
        std::vector<std::int64_t> times;
        times.reserve(lines_.size());
        for (const Line& line : lines_) times.push_back(line.at);
        std::sort(times.begin(), times.end());
        std::int64_t least = 0;
        for (std::size_t i = 1; i < times.size(); ++i) {
            const std::int64_t apart = times[i] - times[i - 1];
            if (apart > 0 && (least == 0 || apart < least)) least = apart;
        }
        return Duration(least);
    }

    void fill(const std::string& what) {
        const Duration apart = interval();
        Duration look = policy_.evaluate_every;
        if (apart > look) {
            look = apart;
            history_.notes.push_back("a row counts " + text::duration(apart) +
                                     ": looks are taken so often instead of every " +
                                     text::duration(policy_.evaluate_every) +
                                     ", and no window is shorter");
        }
        const auto [first, last] = std::minmax_element(
            lines_.begin(), lines_.end(), [](const Line& a, const Line& b) { return a.at < b.at; });
        lay_out(history_, first->at, last->at, look, what);
        CountTable& counts = history_.counts;
        counts.scopes = policy_.segments.size() + 1;
        counts.signals = columns_.events.size();
        const auto cells = static_cast<std::size_t>(history_.looks) * counts.scopes;
        if (cells * (counts.signals + 1) > most_numbers) {
            throw BadFile(what + ": " + text::number(history_.looks) + " looks of " +
                          std::to_string(counts.scopes) + " scopes are more than fit; play a " +
                          "shorter time");
        }
        counts.requests.assign(cells, 0);
        counts.events.assign(cells * counts.signals, 0);
        if (!columns_.sure) counts.sure.assign(cells * counts.signals, 0);
        for (const Line& line : lines_) {
            const std::int64_t bin =
                (line.at - history_.begin.time_since_epoch().count()) / look.count();
            const std::size_t cell = static_cast<std::size_t>(bin) * counts.scopes + line.scope;
            counts.requests[cell] += line.requests;
            for (std::size_t i = 0; i < counts.signals; ++i) {
                counts.events[cell * counts.signals + i] += events_[line.events_from + i];
                if (columns_.sure) continue;
                counts.sure[cell * counts.signals + i] += sure_[line.events_from + i];
            }
        }
        history_.what = what;
        history_.requests = total_;
    }

    void tell() {
        if (others_ > 0) {
            history_.notes.push_back(text::counted(others_, "row", "rows") +
                                     " of other services left out, such as " + other_);
        }
        if (without_segment_ > 0) {
            history_.notes.push_back(text::counted(without_segment_, "row", "rows") +
                                     " without an expected " + policy_.segment +
                                     (segment_.empty() ? "" : ", such as " + segment_) +
                                     ": in the total only");
        }
        history_.notes.push_back(
            "counts have no users: requests are drawn for the canary at random (the seed decides) "
            "where a user's bucket would decide, and each failure is a user of its own; how long "
            "each request took is not known either, only how many were slow");
    }

    const Policy& policy_;
    Csv csv_;
    Header header_;
    History history_;
    std::vector<Signal> signals_;
    Columns columns_;
    std::vector<Line> lines_;
    std::vector<std::int64_t> cumulative_;     // of the row, by bucket
    std::vector<std::int64_t> events_, sure_;  // sure_: only where they differ
    std::int64_t total_ = 0, others_ = 0, without_segment_ = 0;
    std::string other_, segment_;
};

}  // namespace

History read_counts_csv(const Policy& policy, const Reading& reading) {
    return Reader(policy, reading.from).read(reading.from);
}

}  // namespace canaryd::backtest
