// Counts by time, service and segment, as a query with GROUP BY exports them.
#include <algorithm>
#include <charconv>

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

struct Columns {
    std::size_t time, webhook, segment, requests;
    std::vector<std::size_t> events;  // by signal; none where a trigger's column is missing
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
    const std::vector<Signal> signals = replayed_signals(policy);
    const std::size_t of_criteria = signals_of(policy).size();
    for (std::size_t i = 0; i < signals.size(); ++i) {
        const std::string name = column_of(signals[i]);
        const std::size_t found = find_column(header, signals[i]);
        if (found == Header::none && i < of_criteria) {
            header.need(csv, name,
                        "a criterion needs it; count it, or leave latency out with "
                        "--ignore-latency");
        }
        if (found == Header::none) {
            history.notes.push_back("no column " + name + ": the triggers on it are not replayed");
        }
        at.events.push_back(found);
        history.counts.known.push_back(found != Header::none);
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
        : policy_(policy), csv_(file), header_(csv_) {
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
        for (const std::size_t column : columns_.events) {
            const std::int64_t events =
                column == Header::none ? 0 : count_at(csv_, header_, column);
            if (events > line.requests) {
                csv_.bad(header_.names()[column] + ": " + std::to_string(events) + " of " +
                         std::to_string(line.requests) +
                         " requests; there cannot be more of them than requests");
            }
            events_.push_back(events);
        }
        if (line.requests > most_events - total_)
            csv_.bad("requests: the sum is no count any more");
        total_ += line.requests;
        lines_.push_back(line);
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
        for (const Line& line : lines_) {
            const std::int64_t bin =
                (line.at - history_.begin.time_since_epoch().count()) / look.count();
            const std::size_t cell = static_cast<std::size_t>(bin) * counts.scopes + line.scope;
            counts.requests[cell] += line.requests;
            for (std::size_t i = 0; i < counts.signals; ++i) {
                counts.events[cell * counts.signals + i] += events_[line.events_from + i];
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
            "counts have no users: they are thinned at random (the seed decides) where a user's "
            "bucket would, each failure is a user of its own, and there are no latencies");
    }

    const Policy& policy_;
    Csv csv_;
    Header header_;
    History history_;
    Columns columns_;
    std::vector<Line> lines_;
    std::vector<std::int64_t> events_;
    std::int64_t total_ = 0, others_ = 0, without_segment_ = 0;
    std::string other_, segment_;
};

}  // namespace

History read_counts_csv(const Policy& policy, const Reading& reading) {
    return Reader(policy, reading.from).read(reading.from);
}

}  // namespace canaryd::backtest
