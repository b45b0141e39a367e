// What is proven of a store in PostgreSQL before it is used, and what its errors mean.
#include <algorithm>
#include <array>
#include <string_view>

#include "canaryd/lease.hpp"
#include "daemon/codec.hpp"
#include "daemon/stores/postgres.hpp"

namespace canaryd::store_postgres {

namespace {

constexpr std::string_view migrate =
    "; make it with: canaryctl migrate --database URL (or psql -f deploy/sql/0005_store.sql)";

[[noreturn]] void unusable(const std::string& store, const std::string& why) {
    throw StoreUnusable("store " + store + ": " + why +
                        "; nothing was changed: keep the schema canaryd, restore a backup or ask "
                        "`canaryctl verify` what is left");
}

bool one_of(std::string_view state, std::initializer_list<std::string_view> states) {
    return std::find(states.begin(), states.end(), state) != states.end();
}

std::string bytes_of(std::string_view hex) {
    const auto value = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::string bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes += static_cast<char>(16 * value(hex[i]) + value(hex[i + 1]));
    return bytes;
}

/// by and role are for people and show U+2400 for the NUL that the event may have.
void undo_shown_nul(record::Row& row) {
    constexpr std::string_view shown = "\xE2\x90\x80";
    if (row.by.find(shown) == std::string::npos && row.role.find(shown) == std::string::npos)
        return;
    const auto as_shown = [&](const std::string& text) {
        std::string out;
        for (const char c : text) out += c == '\0' ? std::string(shown) : std::string(1, c);
        return out;
    };
    try {
        const Event event = codec::event_from_json(row.event);
        if (as_shown(event.by) == row.by) row.by = event.by;
        if (as_shown(event.role) == row.role) row.role = event.role;
    } catch (const std::exception&) {
        // Not an event at all: the check of the entry says so.
    }
}

void check_gaps(postgres::Transaction& snapshot, const std::string& store) {
    const auto gap = snapshot.run(
        "select * from (select 1 as seq where not exists (select from canaryd.journal where seq = "
        "1)"
        " and exists (select from canaryd.journal)"
        " union all select a.seq + 1 from canaryd.journal a"
        " left join canaryd.journal b on b.seq = a.seq + 1"
        " where b.seq is null and a.seq < (select max(seq) from canaryd.journal)) gaps"
        " order by seq limit 1");
    if (!gap.empty())
        unusable(store, "journal entry " + std::to_string(gap.integer(0, 0)) + " is missing");
}

void check_chain(postgres::Transaction& snapshot, const std::string& store) {
    const auto newest = snapshot.run("select coalesce(max(seq), 0) from canaryd.journal");
    const std::int64_t from =
        std::max<std::int64_t>(1, newest.integer(0, 0) - record::checked_at_start);
    const auto before =
        snapshot.run("select hash from canaryd.journal where seq = $1::bigint", from - 1);
    std::string previous = before.empty() ? std::string() : before.text(0, 0);
    snapshot.each(
        std::string("select ") + row_columns +
            " from canaryd.journal where seq >= $1::bigint order by seq",
        postgres::Params(from), [&](const postgres::Result& rows, int row) {
            const record::Row entry = row_of(rows, row);
            const std::string fault = record::fault_of(entry, previous);
            if (!fault.empty())
                unusable(store,
                         record::name_of(entry.seq, entry.rollout, entry.revision) + " " + fault);
            previous = entry.hash;
            return true;
        });
}

void check_states(postgres::Transaction& snapshot, const std::string& store) {
    const auto behind = snapshot.run(
        "select r.id, r.revision, coalesce(max(j.revision), 0), coalesce(max(j.seq), 0)"
        " from canaryd.rollout r left join canaryd.journal j on j.rollout = r.id"
        " group by r.id, r.revision having coalesce(max(j.revision), 0) <> r.revision"
        " order by 4 limit 1");
    if (!behind.empty())
        unusable(store, behind.text(0, 0) + " is at revision " +
                            std::to_string(behind.integer(0, 1)) +
                            " and its newest journal entry is number " +
                            std::to_string(behind.integer(0, 3)) + ", of revision " +
                            std::to_string(behind.integer(0, 2)) + ": entries were removed");
    snapshot.each(
        "select r.id, r.revision, r.state, j.state_hash, r.policy_text, r.policy_hash, r.name,"
        " j.seq from canaryd.rollout r"
        " join canaryd.journal j on j.rollout = r.id and j.revision = r.revision order by j.seq",
        {}, [&](const postgres::Result& rows, int row) {
            record::State state;
            state.id = rows.text(row, 0);
            state.revision = static_cast<std::uint64_t>(rows.integer(row, 1));
            state.state = rows.text(row, 2);
            state.state_hash = rows.text(row, 3);
            state.policy_text = rows.text(row, 4);
            state.policy_hash = rows.text(row, 5);
            state.name = rows.text(row, 6);
            if (const std::string fault = record::fault_of(state); !fault.empty())
                unusable(store, record::name_of(rows.integer(row, 7), state.id, state.revision) +
                                    " left " + state.id +
                                    " in another state than it is in: " + fault);
            return true;
        });
}

}  // namespace

void rethrow(bool starting) {
    try {
        throw;
    } catch (const postgres::UnknownOutcome&) {
        throw;
    } catch (const postgres::Refused& error) {
        const std::string& state = error.sqlstate();
        const std::string what = error.what();
        if (state == "CD001") throw LeaseLost(what);
        // Another history than ours, or a row that cannot be: not to be tried again.
        if (state == "CD002" || state.starts_with("23")) throw;
        const bool no_schema = one_of(state, {"3F000", "42P01", "42883"});
        if (starting && no_schema)
            throw StoreUnusable(what + ": this database has no canaryd schema" +
                                std::string(migrate));
        if (starting && state == "42501")
            throw StoreUnusable(what +
                                "; give the login its rights: psql -f deploy/sql/grants.sql");
        throw StoreReadOnly(what);
    } catch (const postgres::Error& error) {
        // Never begun, undone, or only read.
        throw StoreReadOnly(error.what());
    }
}

void check_schema(postgres::Transaction& snapshot, const std::string& store) {
    const std::int64_t found = snapshot.run("select canaryd.store_version()").integer(0, 0);
    if (found > version)
        throw StoreUnusable("store " + store + " has schema version " + std::to_string(found) +
                            " and this canaryd knows " + std::to_string(version) +
                            ": nothing was touched; start the newer canaryd");
    if (found < version)
        throw StoreUnusable("store " + store + " has schema version " + std::to_string(found) +
                            ", this canaryd needs " + std::to_string(version) +
                            std::string(migrate));
}

void check_journal(postgres::Transaction& snapshot, const std::string& store) {
    check_gaps(snapshot, store);
    check_chain(snapshot, store);
    check_states(snapshot, store);
}

record::Row row_of(const postgres::Result& rows, int row) {
    record::Row entry;
    entry.seq = rows.integer(row, 0);
    entry.rollout = rows.text(row, 1);
    entry.revision = static_cast<std::uint64_t>(rows.integer(row, 2));
    entry.at = rows.time(row, 3);
    entry.by = rows.text(row, 4);
    entry.role = rows.text(row, 5);
    entry.event = rows.text(row, 6);
    entry.reason = rows.text(row, 7);
    if (!rows.view(row, 8).empty()) entry.reason = bytes_of(rows.view(row, 8));
    entry.refused = rows.boolean(row, 9);
    entry.state_hash = rows.text(row, 10);
    entry.previous = rows.text(row, 11);
    entry.hash = rows.text(row, 12);
    undo_shown_nul(entry);
    return entry;
}

}  // namespace canaryd::store_postgres
