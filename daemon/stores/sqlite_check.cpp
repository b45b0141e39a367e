#include <algorithm>

#include "daemon/stores/record.hpp"
#include "daemon/stores/sqlite_file.hpp"
#include "daemon/stores/stores.hpp"

namespace canaryd {

namespace {

[[noreturn]] void unusable(const sqlite::Database& database, const std::string& why) {
    throw StoreUnusable("store " + database.path() + ": " + why +
                        "; nothing was changed: keep the file, restore a backup or ask "
                        "`canaryctl verify` what is left");
}

void check_gaps(sqlite::Database& database) {
    auto first = database.prepare("SELECT seq FROM journal ORDER BY seq LIMIT 1");
    if (first.step() && first.integer(0) != 1) unusable(database, "journal entry 1 is missing");
    auto gap = database.prepare(
        "SELECT a.seq + 1 FROM journal a LEFT JOIN journal b ON b.seq = a.seq + 1"
        " WHERE b.seq IS NULL AND a.seq < (SELECT max(seq) FROM journal) ORDER BY a.seq LIMIT 1");
    if (gap.step())
        unusable(database, "journal entry " + std::to_string(gap.integer(0)) + " is missing");
}

void check_chain(sqlite::Database& database) {
    auto newest = database.prepare("SELECT coalesce(max(seq), 0) FROM journal");
    newest.step();
    const std::int64_t from =
        std::max<std::int64_t>(1, newest.integer(0) - record::checked_at_start);
    auto before = database.query("SELECT hash FROM journal WHERE seq = ?", from - 1);
    std::string previous = before.step() ? before.text(0) : std::string();
    auto row = database.query(
        "SELECT seq, rollout, revision, at_ms, by, role, event, reason, refused, state_hash,"
        " previous, hash FROM journal WHERE seq >= ? ORDER BY seq",
        from);
    while (row.step()) {
        record::Row entry;
        entry.seq = row.integer(0);
        entry.rollout = row.text(1);
        entry.revision = static_cast<std::uint64_t>(row.integer(2));
        entry.at = row.time(3);
        entry.by = row.text(4);
        entry.role = row.text(5);
        entry.event = row.text(6);
        entry.reason = row.text(7);
        entry.refused = row.integer(8) != 0;
        entry.state_hash = row.text(9);
        entry.previous = row.text(10);
        entry.hash = row.text(11);
        if (const std::string fault = record::fault_of(entry, previous); !fault.empty())
            unusable(database,
                     record::name_of(entry.seq, entry.rollout, entry.revision) + " " + fault);
        previous = entry.hash;
    }
}

void check_states(sqlite::Database& database) {
    auto lost = database.prepare(
        "SELECT seq, rollout, revision FROM journal WHERE rollout NOT IN (SELECT id FROM rollout)"
        " ORDER BY seq LIMIT 1");
    if (lost.step())
        unusable(database, record::name_of(lost.integer(0), lost.text(1),
                                           static_cast<std::uint64_t>(lost.integer(2))) +
                               " belongs to no rollout: its row was removed");
    auto behind = database.prepare(
        "SELECT r.id, r.revision, coalesce(max(j.revision), 0) AS recorded, coalesce(max(j.seq), 0)"
        " FROM rollout r LEFT JOIN journal j ON j.rollout = r.id GROUP BY r.id"
        " HAVING recorded <> r.revision ORDER BY 4 LIMIT 1");
    if (behind.step())
        unusable(database, behind.text(0) + " is at revision " + std::to_string(behind.integer(1)) +
                               " and its newest journal entry is number " +
                               std::to_string(behind.integer(3)) + ", of revision " +
                               std::to_string(behind.integer(2)) + ": entries were removed");
    auto row = database.prepare(
        "SELECT r.id, r.revision, r.state, j.state_hash, r.policy_text, r.policy_hash, r.name,"
        " j.seq FROM rollout r JOIN journal j ON j.rollout = r.id AND j.revision = r.revision"
        " ORDER BY j.seq");
    while (row.step()) {
        record::State state;
        state.id = row.text(0);
        state.revision = static_cast<std::uint64_t>(row.integer(1));
        state.state = row.text(2);
        state.state_hash = row.text(3);
        state.policy_text = row.text(4);
        state.policy_hash = row.text(5);
        state.name = row.text(6);
        if (const std::string fault = record::fault_of(state); !fault.empty())
            unusable(database, record::name_of(row.integer(7), state.id, state.revision) +
                                   " left " + state.id +
                                   " in another state than it is in: " + fault);
    }
}

}  // namespace

void check_journal(sqlite::Database& database) {
    // One snapshot: nothing can be committed in between.
    const sqlite::Transaction snapshot(database, sqlite::Transaction::Kind::deferred);
    check_gaps(database);
    check_chain(database);
    check_states(database);
}

}  // namespace canaryd
