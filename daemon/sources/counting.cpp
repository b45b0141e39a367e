#include "daemon/sources/counting.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <utility>

#include "daemon/log.hpp"

namespace canaryd::rows {

namespace {

// An id that is still missing by then was rolled back or deleted.
constexpr Duration missing_for = std::chrono::hours{1};
// What they became is asked for again only when their block is, which a late row may do.
constexpr Duration hung_for = std::chrono::hours{24};
// So many rows in a row that are later than the look: the rest is later as well.
constexpr std::size_t most_later = 10'000;
// A split that chance brings about less often than this is no chance: rows are missing.
constexpr double no_chance = 1e-3;
constexpr std::size_t most_users = 1000;  // no_chance of any share up to 99.3 %
constexpr std::size_t most_new_users = 16;
constexpr std::size_t shown_segments = 3;

std::size_t index_of(Population who) {
    return who == Population::canary ? 0 : 1;
}

Side new_side(const Policy& policy, const Rules& rules, Population who) {
    Side side;
    side.total.who = who;
    side.total.events.resize(rules.signals.size());
    if (who == Population::canary) side.total.bursts.resize(rules.signals.size());
    for (const std::string& segment : policy.segments) {
        Tally tally;
        tally.who = who;
        tally.segment = segment;
        tally.events.resize(rules.signals.size());
        side.segments.push_back(std::move(tally));
    }
    return side;
}

void add_first(Count& count, std::int64_t block) {
    const auto before = [](const InBlock& entry, std::int64_t wanted) {
        return entry.block < wanted;
    };
    const auto place = std::lower_bound(count.first.begin(), count.first.end(), block, before);
    if (place != count.first.end() && place->block == block) {
        ++place->failures;
    } else {
        count.first.insert(place, InBlock{block, 1});
    }
}

}  // namespace

Counting::Counting(const Policy& policy, const Rules& rules, const Ask& ask, Cursor before,
                   Memory memory, RowReader& reader)
    : policy_(policy),
      rules_(rules),
      ask_(ask),
      before_(std::move(before)),
      memory_(memory),
      reader_(reader) {
    after_.since = before_.since;
    after_.to = ask.to;
    after_.hung = before_.hung;
    after_.told = before_.told;
    for (auto& sides : sides_) {
        sides = {new_side(policy, rules, Population::canary),
                 new_side(policy, rules, Population::baseline)};
    }
    wanted_.assign(policy.segments.size(), false);
    for (std::size_t i = 0; i < policy.segments.size(); ++i) {
        wanted_[i] = std::find(ask.users_wanted.begin(), ask.users_wanted.end(),
                               policy.segments[i]) != ask.users_wanted.end();
    }
}

Look Counting::run() {
    read_open();
    read_tail();
    return finish();
}

void Counting::missing(std::vector<IdRange>& ranges, const IdRange& ids) const {
    if (ask_.to - ids.seen <= missing_for) append(ranges, ids);
}

bool Counting::full() const {
    return rows_ >= most_rows;
}

/// Rows that were left open: they have come, have ended, are due now, or stay open.
void Counting::read_open() {
    if (before_.open.empty()) return;
    Gaps gaps(before_.open, reader_.taken(before_.open));
    auto range = before_.open.begin();
    std::int64_t last = range->lo - 1;
    const auto keep = [&](const IdRange& ids) { missing(after_.open, ids); };
    reader_.read(before_.open, [&](const Row& row) {
        gaps.give_below(row.id, keep);
        while (range->hi < row.id && std::next(range) != before_.open.end()) ++range;
        if (take(row) != Fate::closed) append(after_.open, {row.id, row.id, range->seen});
        last = row.id;
        return !full();
    });
    if (!full()) {
        gaps.give_rest(keep);
        return;
    }
    for (; range != before_.open.end(); ++range) {
        if (range->hi > last)
            append(after_.open, {std::max(range->lo, last + 1), range->hi, range->seen});
    }
}

/// Rows from `next` on. The later ones at the end are not passed: `next` stays before them, so
/// that they need no range.
void Counting::read_tail() {
    after_.next = before_.next;
    if (full()) return;
    constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
    std::vector<IdRange> tail{{before_.next, largest, ask_.to}};
    const std::vector<IdRange> taken = reader_.taken(tail);
    if (taken.empty()) return;
    if (taken.back().hi == largest) {
        throw std::runtime_error(
            "the largest possible id is taken: new rows cannot be told from old ones; delete that "
            "row");
    }
    tail.back().hi = taken.back().hi;
    cut_ = ids_of(taken) >= most_rows;
    Gaps gaps(tail, taken);
    std::int64_t next = tail.back().hi + 1;
    std::optional<std::int64_t> first_later;
    std::vector<IdRange> pending;  // from first_later on
    std::size_t later = 0;
    const auto keep = [&](const IdRange& ids) {
        missing(first_later ? pending : after_.open, ids);
    };
    reader_.read(tail, [&](const Row& row) {
        gaps.give_below(row.id, keep);
        const Fate fate = take(row);
        const IdRange id{row.id, row.id, ask_.to};
        if (full()) next = row.id + 1;
        if (fate == Fate::later) {
            if (!first_later) first_later = row.id;
            append(pending, id);
            return ++later < most_later && !full();
        }
        if (fate == Fate::open) append(first_later ? pending : after_.open, id);
        if (first_later) {
            for (const IdRange& range : pending) append(after_.open, range);
            pending.clear();
            first_later.reset();
            later = 0;
        }
        return !full();
    });
    if (!full()) gaps.give_rest(keep);
    after_.next = first_later.value_or(next);
}

Counting::Fate Counting::take(const Row& row) {
    ++rows_;
    Request request = rules_.classify(row);
    if (request.kind == Request::Kind::other) return Fate::closed;
    const bool timed = request.created_at != TimePoint{};
    if (timed && request.created_at < before_.since) return Fate::closed;
    if (timed && request.created_at >= ask_.to) return Fate::later;
    switch (request.kind) {
        case Request::Kind::other:
            return Fate::closed;
        case Request::Kind::garbage:
            if (garbage_++ == 0) example_ = "row " + std::to_string(row.id) + ", " + request.fault;
            return Fate::closed;
        case Request::Kind::running:
            if (ask_.to - request.created_at <= rules_.hung_after) return Fate::open;
            // It has hung: a timeout for good, whatever the row says when it ends.
            append(hung_now_, {row.id, row.id, ask_.to});
            request.failed = request.timed_out = true;
            request.took = (ask_.to - request.created_at).count();
            return counted(row, std::move(request));
        case Request::Kind::final:
            return counted(row, std::move(request));
    }
    return Fate::closed;
}

Counting::Fate Counting::counted(const Row& row, Request request) {
    const std::size_t late = request.created_at < ask_.from ? 1 : 0;
    Side& side = sides_[late][index_of(request.who)];
    ++side.total.requests;
    if (late == 0 && request.who == Population::canary && canary_users_.size() < most_users) {
        if (request.user) {
            canary_users_.insert(*request.user);
        } else {
            ++anonymous_;
        }
    }
    if (request.took) {
        side.total.latency.add(Duration(*request.took));
    } else if (request.timed_out) {
        side.total.latency.add(rules_.hung_after);
    }
    const auto segment = rules_.segment_of(row.segment);
    if (segment) {
        Tally& tally = side.segments[*segment];
        ++tally.requests;
        if (request.who == Population::canary && wanted_[*segment]) add_user(tally, row, request);
    } else {
        tell_new_segment(row.segment);
    }
    add_events(side, segment, request);
    return Fate::closed;
}

void Counting::add_events(Side& side, std::optional<std::size_t> segment, const Request& request) {
    const std::int64_t block = block_of(request.created_at, policy_.floor_within);
    const std::size_t scope = segment ? *segment + 1 : Dedup::no_segment;
    const bool canary = request.who == Population::canary;
    const bool for_gate = canary && request.created_at >= ask_.gate_from;
    for (std::size_t s = 0; s < rules_.signals.size(); ++s) {
        if (!Rules::is_event(rules_.signals[s], request)) continue;
        remember_block(block);
        const Dedup::Added added =
            memory_[index_of(request.who)]->add(s, scope, block, request.user, for_gate);
        Count& total = side.total.events[s];
        ++total.raw;
        if (added.first_total) add_first(total, block);
        if (segment) {
            Count& count = side.segments[*segment].events[s];
            ++count.raw;
            if (added.first_segment) add_first(count, block);
        }
        if (for_gate) {
            ++side.total.bursts[s].sum_e;
            side.total.bursts[s].sum_e2 += added.e2_gain;
        }
    }
}

void Counting::add_user(Tally& tally, const Row& row, const Request& request) {
    if (tally.new_users.size() == most_new_users) return;
    // Nobody's id looks like this one, and the same row gives the same hash again.
    const std::uint64_t user =
        request.user ? *request.user : hash_of_user("\n row " + std::to_string(row.id));
    if (std::find(tally.new_users.begin(), tally.new_users.end(), user) == tally.new_users.end())
        tally.new_users.push_back(user);
}

/// Before the first event of a block: what was counted of it in earlier looks, unless it is known.
void Counting::remember_block(std::int64_t block) {
    if (memory_[0]->knows(block)) return;
    for (Dedup* dedup : memory_) dedup->open(block);
    if (ask_.cursor.empty()) return;
    const Duration within = policy_.floor_within;
    const TimePoint from(within * block);
    const TimePoint first = std::max(from, before_.since);
    reader_.read_events(first, from + within, [&](const Row& row) {
        if (row.id >= before_.next || contains(before_.open, row.id)) return true;
        Request request = rules_.classify(row);
        const bool hung = request.kind == Request::Kind::running || contains(before_.hung, row.id);
        if (hung) request.failed = request.timed_out = true;
        if (!hung && request.kind != Request::Kind::final) return true;
        const auto segment = rules_.segment_of(row.segment);
        const std::size_t scope = segment ? *segment + 1 : Dedup::no_segment;
        const bool canary = request.who == Population::canary;
        for (std::size_t s = 0; s < rules_.signals.size(); ++s) {
            if (!Rules::is_event(rules_.signals[s], request)) continue;
            memory_[index_of(request.who)]->add(s, scope, block, request.user,
                                                canary && request.created_at >= ask_.gate_from);
        }
        return true;
    });
}

void Counting::tell_new_segment(const Cell& segment) {
    if (policy_.segments.empty() || segment.kind != Cell::Kind::text) return;
    const std::uint64_t hash = hash_of_user(segment.text);
    const bool told = std::find(after_.told.begin(), after_.told.end(), hash) != after_.told.end();
    if (told || after_.told.size() == most_told) return;
    after_.told.push_back(hash);
    ++new_segment_count_;
    if (new_segments_.size() < shown_segments)
        new_segments_.push_back("\"" + escaped(segment.text.substr(0, 40)) + "\"");
}

Look Counting::finish() {
    Look look;
    look.from = ask_.from;
    look.to = ask_.to;
    finish_tallies(look);
    if (garbage_ > 0) {
        const char* rows = garbage_ == 1 ? " row was" : " rows were";
        look.remarks.push_back(std::to_string(garbage_) + rows +
                               " left out as not to be believed, the first: " + example_);
    }
    if (!new_segments_.empty()) {
        std::string list;
        for (const std::string& segment : new_segments_) {
            list += (list.empty() ? "" : ", ") + segment;
        }
        const std::size_t more = new_segment_count_ - new_segments_.size();
        if (more > 0) list += " and " + std::to_string(more) + " more";
        look.remarks.push_back(
            "new values of " + policy_.segment_column +
            ", not expected by the policy and counted in the total only: " + list);
    }
    finish_cursor(look);
    return look;
}

/// The canary has so many users of its own that the baseline's cannot be none by chance: their rows
/// come late, or nothing serves there. A row says nothing about those that are still to come, so
/// this is all that can be known of a late side, and it takes a share to know it: at 10 % four
/// users, at 50 % ten. Users and not requests, since it is users who are drawn: one who tries again
/// says nothing of the others. Quiet hours with less are complete, as the ledger takes them (6.2).
/// What follows is an alarm that waits for its confirmation (7.3), since nothing tells whether both
/// sides fail. The canary's own silence is what `expect_traffic` and blindness are for.
bool Counting::baseline_missing() const {
    if (policy_.baseline.empty() || ask_.weight >= everybody) return false;
    const double users =
        static_cast<double>(canary_users_.size()) + static_cast<double>(anonymous_);
    return sides_[0][1].total.requests == 0 && users > 0 &&
           std::pow(ask_.weight.share(), users) <= no_chance;
}

void Counting::finish_tallies(Look& look) {
    look.baseline_complete = !baseline_missing();
    const std::size_t populations = policy_.baseline.empty() ? 1 : 2;
    for (std::size_t late = 0; late < 2; ++late) {
        std::vector<Tally>& tallies = late == 1 ? look.late : look.on_time;
        for (std::size_t who = 0; who < populations; ++who) {
            Side& side = sides_[late][who];
            if (late == 1 && side.total.requests == 0) continue;
            tallies.push_back(std::move(side.total));
            for (Tally& tally : side.segments) {
                if (tally.requests > 0) tallies.push_back(std::move(tally));
            }
        }
    }
    if (full() || cut_) {
        look.canary_complete = look.baseline_complete = false;
        look.remarks.push_back(std::to_string(most_rows) +
                               " rows were read, as many as one look may: the rest counts in the "
                               "next look");
    }
}

void Counting::finish_cursor(Look& look) {
    const std::size_t dropped = drop_oldest(after_.open);
    if (dropped > 0) {
        look.remarks.push_back(std::to_string(dropped) +
                               " ranges of rows that never became final were given up: more than " +
                               std::to_string(most_ranges) + " were open");
    }
    std::erase_if(after_.hung,
                  [&](const IdRange& range) { return ask_.to - range.seen > hung_for; });
    after_.hung.insert(after_.hung.end(), hung_now_.begin(), hung_now_.end());
    std::sort(after_.hung.begin(), after_.hung.end(),
              [](const IdRange& a, const IdRange& b) { return a.lo < b.lo; });
    drop_oldest(after_.hung);
    look.cursor = to_text(after_);
}

}  // namespace canaryd::rows
