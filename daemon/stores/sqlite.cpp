// The durable record in one SQLite file.
//
// What a failure means is decided in write(): before COMMIT nothing is durable, so a disk that is
// full or read-only is told as such and may be tried again on a new connection. A COMMIT that
// fails may have committed all the same, so nothing more is written by this process.
#include <algorithm>
#include <limits>

#include "daemon/codec.hpp"
#include "daemon/codec_words.hpp"
#include "daemon/sqlite.hpp"
#include "daemon/stores/blocking.hpp"
#include "daemon/stores/record.hpp"
#include "daemon/stores/sqlite_file.hpp"
#include "daemon/stores/stores.hpp"

namespace canaryd {

namespace {

/// The part that works on the pool's thread.
class SqliteStore : public BlockingStore {
public:
    explicit SqliteStore(const std::string& path)
        : path_(path), lock_(path), file_(open_store(path)) {}

    std::vector<Loaded> load() override;
    void commit(const Event& event, const Transition& transition,
                const std::vector<Owed>& owed) override;
    std::vector<Owed> owed() override;
    void settle(const std::string& message_id, const std::string& why) override;
    std::vector<JournalEntry> journal(const std::string& rollout, std::uint64_t after,
                                      std::size_t limit) override;
    std::uint64_t count_of(const std::string& name) override;

private:
    sqlite::Database& database() {
        if (!file_.database) fail("it could not be opened again");
        return *file_.database;
    }
    template <class Work>
    void write(Work work);
    void connect_again();
    void write_state(const Event& event, const Transition& transition, const std::string& state);
    void write_entry(const Event& event, const Transition& transition, const std::string& state);
    void write_owed(const Owed& owed);
    record::Head head();
    [[noreturn]] void fail(const std::string& what) const;

    std::string path_;
    StoreLock lock_;  // before the connection, so that it is let go after it
    StoreFile file_;
    std::string unknown_;  // of a commit whose outcome is not known: nothing is written after it
};

void SqliteStore::fail(const std::string& what) const {
    throw std::runtime_error("store " + path_ + ": " + what);
}

void SqliteStore::connect_again() {
    file_.database.reset();
    file_ = reconnect_store(path_);
    if (!file_.trouble.empty()) throw StoreReadOnly(file_.trouble);
}

template <class Work>
void SqliteStore::write(Work work) {
    if (!unknown_.empty()) fail("nothing more is written after: " + unknown_);
    if (!file_.trouble.empty()) connect_again();
    bool committing = false;
    try {
        sqlite::Transaction transaction(database(), sqlite::Transaction::Kind::immediate);
        work();
        committing = true;
        transaction.commit();
    } catch (const sqlite::Error& error) {
        // The mark that makes a transaction valid is the last thing written to the WAL, before any
        // sync: a disk that was full on the way there has committed nothing.
        const bool nothing_committed = !committing || error.full();
        const bool not_now = error.full() || error.read_only() || error.cannot_open() ||
                             error.no_shared_memory() || error.busy();
        if (nothing_committed && not_now) {
            file_.trouble = error.what();
            throw StoreReadOnly(error.what());
        }
        if (committing) unknown_ = error.what();
        throw;
    }
}

void SqliteStore::write_state(const Event& event, const Transition& transition,
                              const std::string& state) {
    const Rollout& next = transition.next;
    auto row = database().query("SELECT revision FROM rollout WHERE id = ?", next.id);
    const bool known = row.step();
    const std::int64_t stored = known ? row.integer(0) : 0;
    row.reset();
    const auto revision = static_cast<std::int64_t>(next.revision);
    record::check_revision("store " + path_, next.id, static_cast<std::uint64_t>(stored),
                           next.revision);
    if (known) {
        database()
            .query("UPDATE rollout SET status = ?, revision = ?, state = ? WHERE id = ?",
                   codec::word(next.status), revision, state, next.id)
            .run();
        return;
    }
    const event::Started& started = record::started_by("store " + path_, event, transition);
    database()
        .query(
            "INSERT INTO rollout (id, name, number, status, revision, state, policy_text,"
            " policy_file, policy_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            next.id, next.name, static_cast<std::int64_t>(count_of(next.name)) + 1,
            codec::word(next.status), revision, state, started.policy_text, started.policy_file,
            next.policy_hash)
        .run();
}

record::Head SqliteStore::head() {
    auto row = database().prepare("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1");
    record::Head head;
    if (row.step()) head = {row.integer(0), row.text(1)};
    return head;
}

void SqliteStore::write_entry(const Event& event, const Transition& transition,
                              const std::string& state) {
    const record::Row row = record::row_after(head(), event, transition, state);
    database()
        .query(
            "INSERT INTO journal (seq, rollout, revision, at_ms, by, role, event, reason,"
            " refused, state_hash, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row.seq, row.rollout, row.revision, row.at, row.by, row.role, row.event, row.reason,
            row.refused, row.state_hash, row.previous, row.hash)
        .run();
}

void SqliteStore::write_owed(const Owed& owed) {
    const Message& message = owed.message;
    database()
        .query(
            "INSERT INTO outbox (id, rollout, revision, channel, notice, at_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            message.id, message.rollout, message.revision, owed.channel,
            codec::to_json(message.notice), message.at)
        .run();
}

void SqliteStore::commit(const Event& event, const Transition& transition,
                         const std::vector<Owed>& owed) {
    record::check("store " + path_, event, transition);
    const std::string state = codec::to_json(transition.next);
    write([&] {
        write_state(event, transition, state);
        write_entry(event, transition, state);
        for (const Owed& one : owed) write_owed(one);
    });
}

std::vector<Loaded> SqliteStore::load() {
    auto row = database().prepare(
        "SELECT id, state, policy_text, policy_file FROM rollout r"
        " WHERE status NOT IN ('rolled_back', 'finished') OR number ="
        " (SELECT max(o.number) FROM rollout o"
        "  WHERE o.name = r.name AND o.status IN ('rolled_back', 'finished'))"
        " OR id IN (SELECT rollout FROM outbox WHERE settled_at IS NULL)"
        " ORDER BY name, number");
    std::vector<Loaded> all;
    while (row.step()) {
        try {
            all.push_back({codec::rollout_from_json(row.view(1)), row.text(2), row.text(3)});
        } catch (const std::exception& error) {
            throw StoreUnusable("store " + path_ + ": " + row.text(0) + ": " + error.what());
        }
    }
    return all;
}

std::vector<Owed> SqliteStore::owed() {
    auto row = database().prepare(
        "SELECT channel, id, rollout, revision, at_ms, notice FROM outbox"
        " WHERE settled_at IS NULL ORDER BY seq");
    std::vector<Owed> all;
    while (row.step()) {
        Owed owed;
        owed.channel = row.text(0);
        owed.message.id = row.text(1);
        owed.message.rollout = row.text(2);
        owed.message.revision = static_cast<std::uint64_t>(row.integer(3));
        owed.message.at = row.time(4);
        try {
            owed.message.notice = codec::notice_from_json(row.view(5));
        } catch (const std::exception& error) {
            throw StoreUnusable("store " + path_ + ": " + owed.message.id + ": " + error.what());
        }
        all.push_back(std::move(owed));
    }
    return all;
}

void SqliteStore::settle(const std::string& message_id, const std::string& why) {
    write([&] {
        // When it was sent is for people only, so it may come from the database's clock.
        database()
            .query(
                "UPDATE outbox SET settled_at ="
                " CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER),"
                " why = ? WHERE id = ? AND settled_at IS NULL",
                codec::valid_utf8(why), message_id)
            .run();
    });
}

std::vector<JournalEntry> SqliteStore::journal(const std::string& rollout, std::uint64_t after,
                                               std::size_t limit) {
    const std::string columns =
        "SELECT rollout, revision, event, reason, refused, state_hash, previous, hash, seq"
        " FROM journal ";
    const auto most = std::min<std::uint64_t>(after, std::numeric_limits<std::int64_t>::max());
    const auto rows = std::min<std::uint64_t>(limit, std::numeric_limits<std::int64_t>::max());
    auto row = rollout.empty()
                   ? database().query(columns + "WHERE seq > ? ORDER BY seq LIMIT ?", most, rows)
                   : database().query(
                         columns + "WHERE rollout = ? AND revision > ? ORDER BY revision LIMIT ?",
                         rollout, most, rows);
    std::vector<JournalEntry> entries;
    while (row.step()) {
        record::Row entry;
        entry.rollout = row.text(0);
        entry.revision = static_cast<std::uint64_t>(row.integer(1));
        entry.event = row.text(2);
        entry.reason = row.text(3);
        entry.refused = row.integer(4) != 0;
        entry.state_hash = row.text(5);
        entry.previous = row.text(6);
        entry.hash = row.text(7);
        entry.seq = row.integer(8);
        entries.push_back(record::entry_of(entry));
    }
    return entries;
}

std::uint64_t SqliteStore::count_of(const std::string& name) {
    auto row =
        database().query("SELECT coalesce(max(number), 0) FROM rollout WHERE name = ?", name);
    row.step();
    return static_cast<std::uint64_t>(row.integer(0));
}

}  // namespace

std::unique_ptr<Store> make_sqlite_store(const std::string& path, Pool pool) {
    return on_pool(std::make_shared<SqliteStore>(path), std::move(pool));
}

}  // namespace canaryd
