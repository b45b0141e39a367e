#include <algorithm>
#include <exception>

#include "daemon/codec.hpp"
#include "daemon/sha256.hpp"
#include "daemon/stores/sqlite_file.hpp"
#include "daemon/stores/stores.hpp"

namespace canaryd {

namespace {

// Enough to notice a slip or a restored page at every start; `canaryctl verify` proves the rest.
constexpr std::int64_t entries_checked_at_start = 1'000;

[[noreturn]] void unusable(const sqlite::Database& database, const std::string& why) {
    throw StoreUnusable("store " + database.path() + ": " + why +
                        "; nothing was changed: keep the file, restore a backup or ask "
                        "`canaryctl verify` what is left");
}

std::string entry_name(std::int64_t seq, const std::string& rollout, std::int64_t revision) {
    return "journal entry " + std::to_string(seq) + " (" + rollout + ", revision " +
           std::to_string(revision) + ")";
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

// The columns beside the event are for people's queries: they have to say what the event says.
std::string fault_of_event(const sqlite::Statement& row) {
    try {
        const Event event = codec::event_from_json(row.view(6));
        if (event.at != row.time(3) || event.by != row.view(4) || event.role != row.view(5))
            return "was changed: who and when are not those of its event";
    } catch (const sqlite::Error&) {
        throw;
    } catch (const std::exception& error) {
        return std::string("was changed: ") + error.what();
    }
    return {};
}

void check_chain(sqlite::Database& database) {
    auto newest = database.prepare("SELECT coalesce(max(seq), 0) FROM journal");
    newest.step();
    const std::int64_t from =
        std::max<std::int64_t>(1, newest.integer(0) - entries_checked_at_start);
    auto before = database.query("SELECT hash FROM journal WHERE seq = ?", from - 1);
    std::string previous = before.step() ? before.text(0) : std::string();
    auto row = database.query(
        "SELECT seq, rollout, revision, at_ms, by, role, event, reason, refused, state_hash,"
        " previous, hash FROM journal WHERE seq >= ? ORDER BY seq",
        from);
    while (row.step()) {
        const std::string name = entry_name(row.integer(0), row.text(1), row.integer(2));
        if (row.view(10) != previous)
            unusable(database, name +
                                   " does not follow the entry before it: one of them was "
                                   "changed, removed or moved");
        const std::string input = codec::chain_input(
            row.text(10), row.text(1), static_cast<std::uint64_t>(row.integer(2)), row.view(6),
            row.text(7), row.integer(8) != 0, row.text(9));
        if (sha256_hex(input) != row.view(11))
            unusable(database, name + " was changed: its hash is not that of what it says");
        if (const std::string fault = fault_of_event(row); !fault.empty())
            unusable(database, name + " " + fault);
        previous = row.text(11);
    }
}

std::string fault_of_state(const sqlite::Statement& row) {
    if (sha256_hex(row.view(2)) != row.view(3)) return "its state was changed since";
    if (sha256_hex(row.view(4)) != row.view(5)) return "its policy text was changed since";
    try {
        const Rollout rollout = codec::rollout_from_json(row.view(2));
        if (rollout.id != row.view(0) || rollout.name != row.view(6) ||
            rollout.policy_hash != row.view(5) ||
            rollout.revision != static_cast<std::uint64_t>(row.integer(1)))
            return "the columns beside its state were changed since";
    } catch (const sqlite::Error&) {
        throw;
    } catch (const std::exception& error) {
        return error.what();
    }
    return {};
}

void check_states(sqlite::Database& database) {
    auto lost = database.prepare(
        "SELECT seq, rollout, revision FROM journal WHERE rollout NOT IN (SELECT id FROM rollout)"
        " ORDER BY seq LIMIT 1");
    if (lost.step())
        unusable(database, entry_name(lost.integer(0), lost.text(1), lost.integer(2)) +
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
        const std::string fault = fault_of_state(row);
        if (!fault.empty())
            unusable(database, entry_name(row.integer(7), row.text(0), row.integer(1)) + " left " +
                                   row.text(0) + " in another state than it is in: " + fault);
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
