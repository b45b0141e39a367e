// Rows of any format become the legacy's history, by the rules of a running source.
#include <algorithm>
#include <limits>

#include "canaryd/routing.hpp"
#include "canaryd/text.hpp"
#include "daemon/ctl/backtest/history.hpp"
#include "daemon/log.hpp"
#include "daemon/units.hpp"

namespace canaryd::backtest {
namespace {

std::string text_of(const rows::Cell& cell) {
    switch (cell.kind) {
        case rows::Cell::Kind::null:
            return {};
        case rows::Cell::Kind::integer:
            return std::to_string(cell.integer);
        case rows::Cell::Kind::real:
            return std::to_string(cell.real);
        case rows::Cell::Kind::text:
            return std::string(cell.text);
    }
    return {};
}

void remember(std::string& example, const std::string& what) {
    if (example.empty()) example = what;
}

}  // namespace

std::vector<Signal> replayed_signals(const Policy& policy) {
    std::vector<Signal> signals = signals_of(policy);
    for (const Trigger& trigger : policy.triggers) {
        if (trigger.kind != Trigger::Kind::share) continue;
        if (std::find(signals.begin(), signals.end(), trigger.signal) == signals.end()) {
            signals.push_back(trigger.signal);
        }
    }
    return signals;
}

void lay_out(History& history, std::int64_t first, std::int64_t last, Duration look,
             const std::string& what) {
    const auto floor_of = [&](std::int64_t at) { return block_of(TimePoint(Duration(at)), look); };
    if (Duration(last - first) > longest_history) {
        throw BadFile(what + ": the records go from " + text::iso(TimePoint(Duration(first))) +
                      " to " + text::iso(TimePoint(Duration(last))) +
                      ", more than 400 days; one wrong time may be among them, else cut the file");
    }
    history.look = look;
    history.begin = TimePoint(look * floor_of(first));
    history.looks = floor_of(last) - floor_of(first) + 1;
    if (history.looks > most_looks) {
        throw BadFile(what + ": " + text::number(history.looks) + " looks of " +
                      text::duration(look) + "; at most " + text::number(most_looks) +
                      ": cut the file, or take a longer evaluate_every");
    }
}

Recorder::Recorder(const Policy& policy) : policy_(policy), rules_(policy) {}

std::uint32_t Recorder::user_of(const rows::Request& request, const rows::Row& row) {
    if (!request.user) return not_known;
    const auto [place, added] =
        index_.try_emplace(*request.user, static_cast<std::uint32_t>(users_.size()));
    if (added) {
        if (users_.size() == most_users) {
            throw BadFile("more than " + text::number(most_users) +
                          " different users; play a shorter time, or counts");
        }
        const int bucket = bucket_of(policy_.name, text_of(row.user));
        users_.push_back({*request.user, static_cast<std::uint16_t>(bucket)});
    }
    return place->second;
}

void Recorder::add(const rows::Row& row, const std::string& where) {
    const rows::Request request = rules_.classify(row);
    // The legacy's history plays both arms; without a legacy the service's own does.
    const Population wanted = policy_.baseline.empty() ? Population::canary : Population::baseline;
    if (request.kind == rows::Request::Kind::other) {
        ++other_rows_;
        const std::string name = text_of(row.webhook);
        if (other_example_.empty()) other_example_ = as_written(name);
        return;
    }
    if (request.who != wanted) {
        ++canary_rows_;
        return;
    }
    if (request.kind == rows::Request::Kind::garbage) {
        ++garbage_;
        remember(garbage_example_, where + ": " + request.fault);
        return;
    }
    if (kept_.size() == static_cast<std::size_t>(most_requests)) {
        throw BadFile(where + ": more than " + text::number(most_requests) +
                      " requests; play a shorter time, or counts (one row for each " +
                      as_yaml(policy_.evaluate_every) + ")");
    }
    Kept kept;
    kept.at = request.created_at.time_since_epoch().count();
    kept.running = request.kind == rows::Request::Kind::running;
    kept.request.failed = request.failed || kept.running;
    kept.request.timed_out = request.timed_out || kept.running;
    if (request.took) {
        kept.request.took =
            static_cast<std::uint32_t>(std::min<std::int64_t>(*request.took, not_known - 1));
    }
    kept.request.user = user_of(request, row);
    const auto segment = rules_.segment_of(row.segment);
    if (segment) {
        kept.request.segment = static_cast<std::uint16_t>(*segment + 1);
    } else if (!policy_.segments.empty()) {
        ++unknown_segment_;
        const std::string name = text_of(row.segment);
        if (!name.empty()) remember(segment_example_, as_written(name));
    }
    kept_.push_back(kept);
}

void Recorder::tell_counts(History& history) const {
    const auto note = [&](std::int64_t count, const std::string& one, const std::string& many) {
        if (count > 0) history.notes.push_back(text::counted(count, one, many));
    };
    const std::string so = garbage_example_.empty() ? "" : ", the first: " + garbage_example_;
    note(garbage_, "row was left out as not to be believed" + so,
         "rows were left out as not to be believed" + so);
    note(canary_rows_, "row of " + policy_.canary + " was left out: the legacy plays both arms",
         "rows of " + policy_.canary + " were left out: the legacy plays both arms");
    const std::string other = " of other services left out, such as " + other_example_;
    note(other_rows_, "row" + other, "rows" + other);
    note(hung_, "request that never ended counts as a timeout",
         "requests that never ended count as timeouts");
    const std::string example = segment_example_.empty() ? "" : ", such as " + segment_example_;
    const std::string segment =
        " without an expected " + policy_.segment + example + ": in the total only";
    note(unknown_segment_, "request" + segment, "requests" + segment);
}

History Recorder::finish(const std::string& what) && {
    const auto nothing = [&]() -> std::string {
        std::string names;
        for (std::size_t i = policy_.baseline.empty() ? 0 : 1; i < rules_.names.size(); ++i) {
            names += (names.empty() ? "" : ", ") + rules_.names[i];
        }
        std::string why = what + ": no request of " + names + " to play";
        if (other_rows_ > 0) {
            why +=
                "; " + text::number(other_rows_) + " rows are of others, such as " + other_example_;
        }
        if (garbage_ > 0) {
            why += "; " + text::number(garbage_) +
                   " cannot be believed, the first: " + garbage_example_;
        }
        if (canary_rows_ > 0) why += "; " + text::number(canary_rows_) + " are the canary's own";
        return why;
    };
    index_.clear();
    std::int64_t last = std::numeric_limits<std::int64_t>::min();
    for (const Kept& kept : kept_) last = std::max(last, kept.at);
    // What had just begun when the records end did not hang.
    std::erase_if(kept_, [&](const Kept& kept) {
        return kept.running && Duration(last - kept.at) <= rules_.hung_after;
    });
    if (kept_.empty()) throw BadFile(nothing());
    for (Kept& kept : kept_) hung_ += kept.running ? 1 : 0;
    std::stable_sort(kept_.begin(), kept_.end(),
                     [](const Kept& a, const Kept& b) { return a.at < b.at; });
    History history;
    history.what = what;
    history.has_users = true;
    lay_out(history, kept_.front().at, kept_.back().at, policy_.evaluate_every, what);
    history.requests = static_cast<std::int64_t>(kept_.size());
    history.users = std::move(users_);
    history.recorded.reserve(kept_.size());
    const std::int64_t begin = history.begin.time_since_epoch().count();
    for (const Kept& kept : kept_) {
        history.recorded.push_back(kept.request);
        history.recorded.back().second = static_cast<std::uint32_t>((kept.at - begin) / 1000);
    }
    tell_counts(history);
    if (history.users.empty()) {
        history.notes.push_back(
            "no request has a user: each is a user of its own, and on either side by chance");
    }
    return history;
}

}  // namespace canaryd::backtest
