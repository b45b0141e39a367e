#include "daemon/postgres_user_tables.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <chrono>
#include <cmath>
#include <string_view>
#include <utility>

#include "daemon/codec.hpp"
#include "daemon/log.hpp"
#include "daemon/utf8.hpp"

namespace canaryd::user_tables {

namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 4> phase_names{"week4", "week5", "week6", "week7+"};

/// What migration_status calls this step: its own name where that is one, else by its place.
std::string phase_of(const std::vector<Step>& steps, std::size_t index) {
    const auto named = std::find(phase_names.begin(), phase_names.end(), steps[index].name);
    if (named != phase_names.end()) return std::string(*named);
    return std::string(phase_names[std::min(index, phase_names.size() - 1)]);
}

std::int64_t ms(TimePoint at) {
    return at.time_since_epoch().count();
}

bool rolls_back(const Event& event, const Rollout& next) {
    return next.status == Status::rolled_back && next.rolled_back_at == event.at;
}

json::object phase(const std::string& name, Weight weight) {
    return {{"phase", name}, {"percentage", weight.basis_points / 100}};
}

json::object reset(const std::string& name) {
    return {{"phase", name}, {"reset", true}};
}

json::object begun(const std::string& name, Weight weight, TimePoint at) {
    json::object row = phase(name, weight);
    row["started_at"] = ms(at);
    return row;
}

/// A proof is success; an override past an unproven verdict is none.
json::object ended(const std::string& name, Weight weight, TimePoint at, bool proven) {
    json::object row = phase(name, weight);
    row["completed_at"] = ms(at);
    row["met"] = proven;
    return row;
}

/// The phase that the rollout is in: after the last bake that of the soak.
std::size_t place_of(const Transition& transition, const Migration& migration) {
    return transition.soaking ? migration.phases.size() - 1 : transition.next.step;
}

/// What migration_status has to say after this order: one row a phase, of the newest rollout.
json::array phases_of(const Event& event, const Transition& transition,
                      const Migration& migration) {
    const Rollout& next = transition.next;
    const auto& phases = migration.phases;
    const std::size_t place = place_of(transition, migration);
    const std::string& now = phases.at(place);
    const bool has_next = place + 1 < phases.size() && phases[place + 1] != now;
    json::array rows;
    if (next.revision == 1) {
        for (const std::string& name : phases) rows.push_back(reset(name));
    }
    if (rolls_back(event, next)) {
        json::object row = ended(now, nobody, event.at, false);
        row["notes"] = without_nul(next.reason);
        rows.push_back(std::move(row));
        if (has_next) rows.push_back(reset(phases[place + 1]));
        return rows;
    }
    const bool raises =
        next.step + 1 < migration.weights.size() && next.desired > migration.weights.at(next.step);
    if (raises) {
        if (has_next)
            rows.push_back(ended(now, migration.weights[next.step], event.at, next.proven));
        rows.push_back(has_next ? begun(phases[place + 1], next.desired, event.at)
                                : phase(phases[place + 1], next.desired));
        return rows;
    }
    json::object row =
        next.revision == 1 ? begun(now, next.desired, event.at) : phase(now, next.desired);
    row["reopen"] = true;
    rows.push_back(std::move(row));
    if (has_next) rows.push_back(reset(phases[place + 1]));
    return rows;
}

/// The last bake is over, and what is left is the soak.
json::array soak_of(const Event& event, const Rollout& next, const Migration& migration) {
    const std::string& last = migration.phases.at(next.step);
    const std::string& soak = migration.phases.back();
    if (last == soak) return {};
    return {ended(last, next.desired, event.at, next.proven), begun(soak, next.desired, event.at)};
}

json::value share_failed(const Seen& seen) {
    if (seen.requests <= 0 || seen.events.empty()) return nullptr;
    const double percent =
        100.0 * static_cast<double>(seen.events.front()) / static_cast<double>(seen.requests);
    return std::round(percent * 100) / 100;
}

json::object rollback_of(const Event& event, const Transition& transition,
                         const Migration& migration) {
    const Rollout& next = transition.next;
    json::object row{{"phase", migration.phases.at(place_of(transition, migration))},
                     {"error_rate", share_failed(next.canary)},
                     {"by", without_nul(codec::valid_utf8(event.by))},
                     {"since", ms(next.started)},
                     {"at", ms(event.at)}};
    if (const auto* read = std::get_if<event::RouteRead>(&event.what)) {
        row["by"] = without_nul(codec::valid_utf8(read->served.by));
        row["by_hand"] = true;
    }
    return row;
}

/// From where on the decision has looked: the fault began there, or before.
TimePoint looked_from(const Event& event, const Transition& transition) {
    const Look* look = nullptr;
    if (const auto* looked = std::get_if<event::Looked>(&event.what)) look = &looked->look;
    if (const auto* peeked = std::get_if<event::Peeked>(&event.what)) look = &peeked->look;
    // A person saw it: the last quarter of an hour before.
    if (look == nullptr) return event.at - std::chrono::minutes{15};
    TimePoint from = look->from;
    for (const Window& window : look->windows) {
        const std::string trigger = "trigger " + window.trigger;
        if (window.who == Population::canary && transition.reason.starts_with(trigger))
            from = std::min(from, window.from);
    }
    return from;
}

TimePoint fault_began(postgres::Database& database, TimePoint latest, const Event& event,
                      const Rollout& next, const Migration& migration,
                      const postgres::Limits& limits) {
    constexpr std::chrono::hours most{24};
    const TimePoint since = std::max<TimePoint>(next.started, event.at - most);
    std::optional<std::int64_t> slower_ms;
    if (migration.slower) slower_ms = migration.slower->count();
    try {
        postgres::Transaction read(database, postgres::Transaction::Kind::snapshot, limits);
        const auto row = read.run(
            "select floor(extract(epoch from canaryd.fault_began($1, $2::timestamptz,"
            " $3::timestamptz, $4::timestamptz, $5::float8, $6::integer, $7::float8)) * 1000)"
            "::bigint",
            migration.canary, since, latest, event.at, migration.failed, slower_ms,
            migration.too_slow);
        return row.time(0, 0);
    } catch (const postgres::Timeout&) {
        log(Level::info, "the begin of the fault was not looked for: there are too many metrics");
    } catch (const postgres::Refused& error) {
        log(Level::info, std::string("the begin of the fault is not known: ") + error.what());
    }
    return latest;
}

}  // namespace

std::string without_nul(const std::string& text) {
    return with_words_for('\0', "\xE2\x90\x80", text);
}

Migration migration_of(const Policy& policy) {
    Migration migration;
    for (std::size_t i = 0; i < policy.steps.size(); ++i) {
        migration.phases.push_back(phase_of(policy.steps, i));
        migration.weights.push_back(policy.steps[i].weight);
    }
    migration.phases.emplace_back(phase_names.back());
    migration.canary = policy.canary;
    for (const Criterion& criterion : policy.criteria) {
        if (criterion.no_worse_than) continue;
        switch (criterion.signal.kind) {
            case Signal::Kind::failed:
                if (!migration.failed) migration.failed = criterion.limit;
                break;
            case Signal::Kind::slower:
                if (migration.slower) break;
                migration.slower = criterion.signal.than;
                migration.too_slow = criterion.limit;
                break;
            case Signal::Kind::counted:
                break;  // their table has no column for it
        }
    }
    return migration;
}

bool concerned(const Event& event, const Transition& transition) {
    const bool rolled_back_before =
        transition.next.status == Status::rolled_back && !rolls_back(event, transition.next);
    return transition.is_milestone() && !rolled_back_before;
}

json::object after(const Event& event, const Transition& transition, const Migration& migration) {
    const Rollout& next = transition.next;
    json::object tables;
    if (next.ordered == next.revision) {
        tables["phases"] = phases_of(event, transition, migration);
    } else if (transition.soak_begins) {
        tables["phases"] = soak_of(event, next, migration);
    } else {
        tables["phases"] =
            json::array{ended(migration.phases.back(), next.desired, event.at, next.proven)};
    }
    if (rolls_back(event, next)) tables["rollback"] = rollback_of(event, transition, migration);
    return tables;
}

void complete(postgres::Database& database, std::int64_t rollback, const Event& event,
              const Transition& transition, const Migration& migration, Duration limit) {
    const postgres::Limits limits{.statement = limit};
    const TimePoint from = fault_began(database, looked_from(event, transition), event,
                                       transition.next, migration, limits);
    database.write(
        limits,
        "select canaryd.complete_rollback($1::integer, $2, $3::timestamptz, $4::timestamptz)",
        rollback, migration.canary, from, event.at);
}

void record(postgres::Database& database, const Event& event, const Transition& transition,
            const Migration& migration) {
    const auto row =
        database.write(postgres::Limits{}, "select canaryd.record_decided($1::jsonb, $2)",
                       json::serialize(after(event, transition, migration)),
                       without_nul(codec::valid_utf8(transition.reason)));
    if (row.is_null(0, 0)) return;
    try {
        complete(database, row.integer(0, 0), event, transition, migration,
                 std::chrono::seconds{10});
    } catch (const postgres::Error& error) {
        log(Level::info, std::string("no exact figures of the rollback: ") + error.what());
    }
}

}  // namespace canaryd::user_tables
