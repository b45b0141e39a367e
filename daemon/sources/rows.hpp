// From the rows of a metrics table to a Look, each row exactly once. Knows no database: a source
// implements RowReader and gets the rules for running, late, hung and garbage rows, the dedup of
// analysis 7.1 and the triggers' windows for nothing.
//
// Not thread-safe: a Counter and its reader are used on one thread at a time (a pool's).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "canaryd/dedup.hpp"
#include "canaryd/evidence.hpp"
#include "canaryd/policy.hpp"
#include "canaryd/ports.hpp"
#include "daemon/sources/cursor.hpp"

namespace canaryd::rows {

/// A value as the database gave it, before it is trusted.
struct Cell {
    enum class Kind { null, integer, real, text };
    Kind kind = Kind::null;
    std::int64_t integer = 0;
    double real = 0;
    std::string_view text;  // valid until the next row
};

/// One row of the metrics table. Times are UTC milliseconds.
struct Row {
    std::int64_t id = 0;
    Cell webhook, user, segment, status;
    Cell started_at, completed_at, created_at, duration_ms;
};

/// What a Row turns out to be.
struct Request {
    enum class Kind {
        other,    // of a webhook that this rollout does not know
        garbage,  // not to be believed; `fault` says why
        running,  // not final: counts when it is
        final
    };
    Kind kind = Kind::other;
    Population who = Population::canary;
    TimePoint created_at;
    bool failed = false;
    bool timed_out = false;             // slow, whatever its duration
    std::optional<std::int64_t> took;   // milliseconds; unknown for some failures
    std::optional<std::uint64_t> user;  // nullopt: a user of its own
    std::string fault;                  // what is not to be believed, with its value
};

/// A set of windows that a look has to fill: a trigger's, "expect_traffic", or what a criterion's
/// query counts.
struct WindowAsk {
    std::string trigger;
    TimePoint from, to;
    std::optional<Signal> signal;  // nullopt: requests only
    bool each_segment = false;
    bool users = false;  // without a signal: different users are counted as well
    int numbers = 0;     // that `query` gives: one, or the sum of shares and their clusters
    std::string query;
    std::string said_as;  // whose number it is, for a remark
};

/// One look reads no more rows of a table than this.
inline constexpr std::size_t most_rows = 2'000'000;

/// Answers in one consistent snapshot. Every call may throw: the look then never happened.
class RowReader {
public:
    virtual ~RowReader() = default;
    /// Called with each row; false ends the reading.
    using Take = std::function<bool(const Row&)>;

    /// The smallest id of the rollout's rows with created_at >= from.
    virtual std::optional<std::int64_t> first_id(TimePoint from) = 0;
    /// How many ids below a row that is seen may belong to rows that are not seen yet: where ids
    /// are given out before a transaction ends.
    [[nodiscard]] virtual std::int64_t in_flight() const { return 0; }
    /// One past the largest id of the table.
    virtual std::int64_t end_id() = 0;
    /// Which ids of these ranges (in order, disjoint) rows of the table have, whose ever: in runs,
    /// in order. Of each range its first most_rows rows at most.
    virtual std::vector<IdRange> taken(const std::vector<IdRange>& ranges) = 0;
    /// The rollout's rows with these ids, in the order of ids: a table may have many rollouts.
    virtual void read(const std::vector<IdRange>& ranges, const Take& take) = 0;
    /// The rollout's rows with created_at in [from, to), any order; quick successes may be left
    /// out.
    virtual void read_events(TimePoint from, TimePoint to, const Take& take) = 0;

    struct Counted {
        Population who = Population::canary;
        std::string segment;  // empty: the total
        std::int64_t requests = 0, failures = 0, users = 0;
    };
    /// Final and hung requests of a window, of each population that has some: the total, or with
    /// each_segment one for each segment. Requests that are running since before `hung_before` are
    /// failed and slow. Without a signal all rows, whatever became of them: traffic, and with
    /// ask.users its different users.
    virtual std::vector<Counted> count(const WindowAsk& window, TimePoint hung_before) = 0;
    /// The query's numbers, as many as are asked for, nullopt for NULL; none with a remark when
    /// there are none.
    virtual std::vector<std::optional<double>> numbers(const WindowAsk& window,
                                                       std::string& remark) = 0;
};

/// The rules of a policy for single rows.
class Rules {
public:
    explicit Rules(const Policy& policy);
    [[nodiscard]] Request classify(const Row& row) const;
    /// Whether the request is an event of the signal.
    [[nodiscard]] static bool is_event(const Signal& signal, const Request& request);
    /// Index of an expected segment; nullopt for none and for unexpected ones.
    [[nodiscard]] std::optional<std::size_t> segment_of(const Cell& segment) const;

    std::vector<Signal> signals;     // of the criteria: the order of Tally::events
    std::vector<std::string> names;  // the canary's, then the baseline's
    Duration hung_after{0};          // running for longer: counted as a timeout
    Duration quick{0};               // a success not longer than this is no event of any criterion

private:
    std::map<std::string, std::size_t, std::less<>> segments_;
};

/// Longest duration that is believed: a year.
inline constexpr std::int64_t longest_ms = 365LL * 24 * 3600 * 1000;

/// Counts looks of one rollout. What it remembers is only ever a copy of what the table and the
/// cursor say: a new object goes on with the same results.
class Counter {
public:
    explicit Counter(Policy policy);
    /// A look, or a peek: windows only.
    Look look(const Ask& ask, RowReader& reader);
    [[nodiscard]] const Rules& rules() const { return rules_; }

private:
    Look count(const Ask& ask, RowReader& reader);
    Cursor where(const Ask& ask, RowReader& reader, std::vector<std::string>& remarks) const;
    void fill_windows(const Ask& ask, RowReader& reader, Look& look) const;

    Policy policy_;
    Rules rules_;
    Dedup canary_, baseline_;
    std::string produced_;  // the cursor after which canary_ and baseline_ are right
    TimePoint gate_from_;
};

/// What a query has to give, in words.
std::string numbers_in_words(int numbers);
/// The windows of a look or peek, in the order of the policy's triggers; then the others.
std::vector<WindowAsk> windows_of(const Policy& policy, const Ask& ask);

}  // namespace canaryd::rows
