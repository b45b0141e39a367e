// The durable record in an SQLite file: what it promises as a store, and what a file adds to that.
#include "daemon/stores/stores.hpp"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "daemon/sqlite.hpp"
#include "daemon/stores/sqlite_file.hpp"
#include "daemon/stores/sqlite_schema.hpp"
#include "tests/store_contract.hpp"

using namespace canaryd;
using namespace canaryd::test;
namespace fs = std::filesystem;

namespace {

// Set: the disk answers every sync with an error, after having taken the data.
bool syncs_fail = false;

}  // namespace

// Takes the place of the C library's for SQLite too: its only way to ask for durability.
extern "C" int fdatasync(int file) {
    if (syncs_fail) {
        errno = EIO;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_fdatasync, file));
}

namespace {

/// A folder that is gone with the test.
class Folder {
public:
    Folder() {
        std::string name = (fs::temp_directory_path() / "canaryd-store-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
        path_ = name;
    }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    [[nodiscard]] std::string file() const { return (path_ / "canaryd.db").string(); }
    [[nodiscard]] const fs::path& path() const { return path_; }

private:
    fs::path path_;
};

OpenStore sqlite_at(const std::string& path) {
    return [path](Loop& loop) { return make_sqlite_store(path, loop.executor()); };
}

std::unique_ptr<Opened> opened(const std::string& path) {
    return test::opened(sqlite_at(path));
}

std::string bytes_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void write_bytes(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

/// What opening it says; empty: it opens.
std::string refusal(const std::string& path) {
    try {
        opened(path);
    } catch (const StoreUnusable& error) {
        return error.what();
    }
    return {};
}

bool says(const std::string& text, const std::string& part) {
    INFO(text);
    return text.find(part) != std::string::npos;
}

/// Two rollouts with eight entries: webhook-1 has seq 1, 3, 5, 7, checkout-1 the others.
void fill(const std::string& path) {
    const auto store = opened(path);
    Rollout webhook = store->commit(started("webhook", 1));
    Rollout checkout = store->commit(started("checkout", 1));
    for (int i = 0; i < 3; ++i) {
        webhook = store->commit(looked(webhook));
        checkout = store->commit(looked(checkout));
    }
}

/// What somebody with a shell and the file does.
void tamper(const std::string& path, const std::string& sql) {
    sqlite::Database database(path, sqlite::Mode::read_write);
    database.execute(
        "PRAGMA foreign_keys = OFF; DROP TRIGGER journal_is_never_changed;"
        "DROP TRIGGER journal_is_never_cut");
    database.execute(sql);
}

std::string refusal_after(const std::string& sql) {
    const Folder folder;
    fill(folder.file());
    tamper(folder.file(), sql);
    return refusal(folder.file());
}

/// A small disk of its own, seen by this process only. None where that is not allowed.
class SmallDisk {
public:
    explicit SmallDisk(const fs::path& path) : path_(path) {
        fs::create_directories(path_);
        mounted_ = ::unshare(CLONE_NEWNS) == 0 &&
                   ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                   ::mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=1m,mode=0700") == 0;
        if (!mounted_) MESSAGE("skipped: a disk of its own needs root and the right to mount");
    }
    ~SmallDisk() {
        if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
    }
    SmallDisk(const SmallDisk&) = delete;
    SmallDisk& operator=(const SmallDisk&) = delete;
    [[nodiscard]] bool mounted() const { return mounted_; }
    [[nodiscard]] std::string file() const { return (path_ / "canaryd.db").string(); }
    /// Leaves no room at all.
    void fill() const {
        std::ofstream out(path_ / "ballast", std::ios::binary);
        const std::string block(4'096, 'x');
        while (out.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
        }
    }
    void empty() const { fs::remove(path_ / "ballast"); }
    [[nodiscard]] bool remount(bool read_only) const {
        const unsigned long access = read_only ? static_cast<unsigned long>(MS_RDONLY) : 0UL;
        return ::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT | access, "size=1m,mode=0700") ==
               0;
    }

private:
    fs::path path_;
    bool mounted_ = false;
};

}  // namespace

TEST_SUITE("store") {
    TEST_CASE("the SQLite store keeps the promises of a store") {
        const Folder folder;
        store_contract(sqlite_at(folder.file()));
    }

    TEST_CASE("the file is in WAL, synchronous FULL, ours alone to read, and its folder is made") {
        const Folder folder;
        const std::string path = (folder.path() / "state" / "canaryd.db").string();
        fill(path);
        struct stat found {};
        REQUIRE(::stat(path.c_str(), &found) == 0);
        CHECK((found.st_mode & 0777U) == 0600);
        REQUIRE(::stat((folder.path() / "state").c_str(), &found) == 0);
        CHECK((found.st_mode & 0777U) == 0700);
        const StoreFile file = open_store(path);
        CHECK(file.trouble.empty());
        CHECK(file.database->first_text("PRAGMA journal_mode") == "wal");
        CHECK(file.database->first_text("PRAGMA synchronous") == "2");
        CHECK(file.database->first_text("PRAGMA foreign_keys") == "1");
        CHECK(file.database->first_text("PRAGMA trusted_schema") == "0");
        CHECK(file.database->first_text("PRAGMA mmap_size") == "0");
        CHECK(file.database->first_text("PRAGMA user_version") == "1");
        CHECK(file.database->first_text(
                  "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND strict = 0"
                  " AND name NOT LIKE 'sqlite_%'") == "0");
        CHECK_THROWS_WITH_AS(file.database->execute("UPDATE journal SET reason = 'better'"),
                             doctest::Contains("append-only"), sqlite::Error);
        CHECK_THROWS_WITH_AS(file.database->execute("DELETE FROM journal"),
                             doctest::Contains("append-only"), sqlite::Error);
        const std::string deep = (folder.path() / "a" / "b" / "canaryd.db").string();
        CHECK(says(refusal(deep), "its folder"));
    }

    TEST_CASE("people can ask the store in SQL") {
        const Folder folder;
        fill(folder.file());
        sqlite::Database database(folder.file(), sqlite::Mode::read_only);
        auto row = database.prepare(
            "SELECT rollout, by, role, reason, json_extract(event, '$.what') FROM journal"
            " WHERE seq = 3");
        REQUIRE(row.step());
        CHECK(row.text(0) == "webhook-1");
        CHECK(row.text(1) == "canaryd");
        CHECK(row.text(2) == "engine");
        CHECK(row.text(3) == "a quiet look");
        CHECK(row.text(4) == "looked");
    }

    TEST_CASE("a second daemon on the same file is told who holds it") {
        const Folder folder;
        auto first = opened(folder.file());
        std::string told;
        try {
            opened(folder.file());
        } catch (const StoreInUse& error) {
            told = error.what();
        }
        CHECK(says(told, "pid " + std::to_string(::getpid())));
        CHECK(says(told, folder.file()));
        first->commit(started("webhook", 1));
        first.reset();
        // What a daemon that was killed leaves behind.
        write_bytes(folder.file() + ".lock", "4194304999\n");
        CHECK(opened(folder.file())->load().size() == 1);
    }

    TEST_CASE("a newer schema and other programs' files are refused and not touched") {
        const Folder folder;
        const std::string path = folder.file();
        fill(path);
        const auto unchanged_refusal = [&] {
            const std::string before = bytes_of(path);
            const std::string told = refusal(path);
            CHECK(bytes_of(path) == before);
            return told;
        };
        {
            sqlite::Database database(path, sqlite::Mode::read_write);
            database.execute("PRAGMA user_version = 2");
        }
        CHECK(says(unchanged_refusal(), "has schema version 2 and this canaryd knows 1"));
        {
            sqlite::Database database(path, sqlite::Mode::read_write);
            database.execute("PRAGMA user_version = 1; PRAGMA application_id = 7");
        }
        CHECK(says(unchanged_refusal(), "another program's database"));
        fs::remove(path);
        {
            sqlite::Database database(path, sqlite::Mode::create);
            database.execute("CREATE TABLE webhook_metrics (id INTEGER PRIMARY KEY)");
        }
        CHECK(says(unchanged_refusal(), "another program's database"));
        write_bytes(path, "name: webhook\n" + std::string(4'096, '#'));
        CHECK(says(unchanged_refusal(), "SQLITE_NOTADB"));
    }

    TEST_CASE("an empty file is a new store, and another kind is not known") {
        const Folder folder;
        write_bytes(folder.file(), "");
        CHECK(opened(folder.file())->load().empty());
        Loop loop;
        Settings settings;
        settings.store_path = folder.file();
        const StorePools pools{loop.executor(), loop.executor(), loop.executor()};
        const OpenedStore opened_store = make_store(settings, pools);
        CHECK(opened_store.store != nullptr);
        CHECK(opened_store.lease == nullptr);
        settings.store_kind = "stone";
        CHECK_THROWS_WITH_AS(make_store(settings, pools),
                             "store.kind: \"stone\" is not known; known: sqlite, postgres",
                             StoreUnusable);
    }

    TEST_CASE("a journal that was tampered with is refused at start, naming the first bad entry") {
        CHECK(refusal_after("SELECT 1").empty());
        CHECK(says(refusal_after("UPDATE journal SET reason = 'all is well' WHERE seq = 5"),
                   "journal entry 5 (webhook-1, revision 3) was changed: its hash"));
        CHECK(says(refusal_after("UPDATE journal SET event = replace(event, '\"to\":', '\"to\": ')"
                                 " WHERE seq = 4"),
                   "journal entry 4 (checkout-1, revision 2) was changed: its hash"));
        CHECK(says(refusal_after("UPDATE journal SET by = 'mallory' WHERE seq = 2"),
                   "journal entry 2 (checkout-1, revision 1) was changed: who and when"));
        CHECK(says(refusal_after("UPDATE journal SET at_ms = at_ms + 1 WHERE seq = 2"),
                   "journal entry 2 (checkout-1, revision 1) was changed: who and when"));
        CHECK(says(refusal_after("UPDATE journal SET refused = 1 WHERE seq = 1"),
                   "journal entry 1 (webhook-1, revision 1) was changed"));
        CHECK(says(refusal_after("UPDATE journal SET hash = 'ab' WHERE seq = 3"),
                   "journal entry 3 (webhook-1, revision 2) was changed"));
    }

    TEST_CASE("entries that were removed or moved are noticed at start") {
        CHECK(
            says(refusal_after("DELETE FROM journal WHERE seq = 5"), "journal entry 5 is missing"));
        CHECK(
            says(refusal_after("DELETE FROM journal WHERE seq = 1"), "journal entry 1 is missing"));
        CHECK(says(refusal_after("DELETE FROM journal WHERE seq = 5;"
                                 "UPDATE journal SET seq = seq - 1 WHERE seq > 5"),
                   "journal entry 5 (checkout-1, revision 3) does not follow"));
        CHECK(says(refusal_after("UPDATE journal SET seq = 100 WHERE seq = 3;"
                                 "UPDATE journal SET seq = 3 WHERE seq = 4;"
                                 "UPDATE journal SET seq = 4 WHERE seq = 100"),
                   "journal entry 3 (checkout-1, revision 2) does not follow"));
        CHECK(says(refusal_after("DELETE FROM journal WHERE seq = 8"),
                   "checkout-1 is at revision 4 and its newest journal entry is number 6"));
        CHECK(says(refusal_after("DELETE FROM journal"),
                   "is at revision 4 and its newest journal entry is number 0"));
        CHECK(says(refusal_after("DELETE FROM rollout WHERE id = 'webhook-1'"),
                   "journal entry 1 (webhook-1, revision 1) belongs to no rollout"));
    }

    TEST_CASE("a state or policy that was edited is noticed at start") {
        CHECK(says(refusal_after("UPDATE rollout SET state = replace(state, '\"desired\":1000',"
                                 " '\"desired\":9999') WHERE id = 'webhook-1'"),
                   "journal entry 7 (webhook-1, revision 4) left webhook-1 in another state"));
        CHECK(says(refusal_after("UPDATE rollout SET policy_text = 'name: webhook'"),
                   "its policy text was changed"));
        CHECK(says(refusal_after("UPDATE rollout SET revision = 5 WHERE id = 'webhook-1'"),
                   "entries were removed"));
        CHECK(says(refusal_after("UPDATE rollout SET name = 'checkout', number = 2"
                                 " WHERE id = 'webhook-1'"),
                   "the columns beside its state were changed"));
    }

    TEST_CASE("a damaged or cut file is refused") {
        const Folder folder;
        fill(folder.file());
        const std::string whole = bytes_of(folder.file());
        REQUIRE(whole.size() > 8'192);
        write_bytes(folder.file(), whole.substr(0, whole.size() - 5'000));
        CHECK_FALSE(refusal(folder.file()).empty());
        std::string flipped = whole;
        // Some byte of an entry's text, as a failing disk would.
        const std::size_t at = flipped.rfind("a quiet look");
        REQUIRE(at != std::string::npos);
        flipped[at + 2] = 'Q';
        write_bytes(folder.file(), flipped);
        CHECK(says(refusal(folder.file()), "was changed: its hash"));
        write_bytes(folder.file(), whole);
        CHECK(refusal(folder.file()).empty());
    }

    TEST_CASE("an old entry that was changed is not seen at start but its gap is") {
        const Folder folder;
        {
            const auto store = opened(folder.file());
            Rollout webhook = store->commit(started("webhook", 1));
            for (int i = 0; i < 1'010; ++i) webhook = store->commit(looked(webhook));
        }
        tamper(folder.file(), "UPDATE journal SET reason = 'all is well' WHERE seq = 5");
        CHECK(refusal(folder.file()).empty());
        sqlite::Database(folder.file(), sqlite::Mode::read_write)
            .execute("UPDATE journal SET reason = 'all is well' WHERE seq = 500");
        CHECK(says(refusal(folder.file()), "journal entry 500 "));
        sqlite::Database(folder.file(), sqlite::Mode::read_write)
            .execute("DELETE FROM journal WHERE seq = 5");
        CHECK(says(refusal(folder.file()), "journal entry 5 is missing"));
    }

    TEST_CASE("another program's lock on the file is waited out, then nothing is committed") {
        const Folder folder;
        const auto store = opened(folder.file());
        const Rollout begun = store->commit(started("webhook", 1));
        {
            sqlite::Database other(folder.file(), sqlite::Mode::read_write);
            const sqlite::Transaction lock(other, sqlite::Transaction::Kind::immediate);
            CHECK_THROWS_AS(store->commit(looked(begun)), StoreReadOnly);
            CHECK(store->load().size() == 1);
        }
        CHECK(store->commit(looked(begun)).revision == 2);
        CHECK(store->journal("").size() == 2);
    }

    TEST_CASE("a commit whose sync fails may have happened: nothing is written after it") {
        const Folder folder;
        auto store = opened(folder.file());
        const Rollout begun = store->commit(started("webhook", 1));
        syncs_fail = true;
        std::string told;
        try {
            store->commit(looked(begun));
        } catch (const StoreReadOnly&) {
            FAIL("an unknown outcome was told as a certain one");
        } catch (const std::runtime_error& error) {
            told = error.what();
        }
        syncs_fail = false;
        CHECK(says(told, "COMMIT"));
        CHECK_THROWS_WITH_AS(store->commit(looked(begun)),
                             doctest::Contains("nothing more is written after"),
                             std::runtime_error);
        CHECK(store->load().size() == 1);
        store.reset();
        // Whichever it was, the next start knows, and goes on from there.
        store = opened(folder.file());
        const Rollout now = store->load().at(0).rollout;
        CHECK(store->journal("").size() == now.revision);
        CHECK(store->commit(looked(now)).revision == now.revision + 1);
    }

    TEST_CASE("a full disk commits nothing, can be read, and goes on when there is room") {
        const Folder folder;
        const SmallDisk disk(folder.path() / "disk");
        if (!disk.mounted()) return;
        auto store = opened(disk.file());
        Rollout webhook = store->commit(started("webhook", 1));
        disk.fill();
        // The WAL has some room of its own left at first.
        bool full = false;
        for (int i = 0; i < 1'000 && !full; ++i) {
            try {
                webhook = store->commit(looked(webhook));
            } catch (const StoreReadOnly& error) {
                CHECK(says(error.what(), "full"));
                full = true;
            }
        }
        REQUIRE(full);
        CHECK_THROWS_AS(store->commit(looked(webhook)), StoreReadOnly);
        CHECK(store->load().at(0).rollout.revision == webhook.revision);
        // A start on the full disk: everything that was acknowledged is there.
        for (int start = 0; start < 2; ++start) {
            store.reset();
            store = opened(disk.file());
            CHECK(store->load().at(0).rollout.revision == webhook.revision);
            CHECK(store->journal("").size() == webhook.revision);
        }
        CHECK_THROWS_AS(
            {
                for (int i = 0; i < 1'000; ++i) webhook = store->commit(looked(webhook));
            },
            StoreReadOnly);
        disk.empty();
        CHECK(store->commit(looked(webhook)).revision == webhook.revision + 1);
        store.reset();
        CHECK(opened(disk.file())->load().at(0).rollout.revision == webhook.revision + 1);
    }

    TEST_CASE("a read-only disk can be read, and commits say so") {
        const Folder folder;
        const SmallDisk disk(folder.path() / "disk");
        if (!disk.mounted()) return;
        const auto check_reads = [&] {
            REQUIRE(disk.remount(true));
            {
                const auto store = opened(disk.file());
                const auto loaded = store->load();
                REQUIRE(loaded.size() == 2);
                CHECK(store->journal("").size() == 8);
                CHECK_THROWS_AS(store->commit(looked(loaded[0].rollout)), StoreReadOnly);
                CHECK_THROWS_AS(store->settle("x", ""), StoreReadOnly);
                CHECK(store->load().size() == 2);
            }
            REQUIRE(disk.remount(false));
        };
        SUBCASE("after a clean stop") {
            fill(disk.file());
            check_reads();
        }
        SUBCASE("after a kill, with a WAL that was not checkpointed") {
            const std::string live = (folder.path() / "live.db").string();
            fill(live);
            sqlite::Database holder(live, sqlite::Mode::read_write);
            holder.execute("UPDATE rollout SET number = number");
            for (const char* suffix : {"", "-wal", "-shm"})
                fs::copy_file(live + suffix, disk.file() + suffix);
            check_reads();
        }
        CHECK(opened(disk.file())->load().size() == 2);
    }

    TEST_CASE("a store whose file is not writable can be read") {
        if (::geteuid() == 0) {
            MESSAGE("skipped: to root every file is writable");
            return;
        }
        const Folder folder;
        fill(folder.file());
        REQUIRE(::chmod(folder.file().c_str(), 0400) == 0);
        const auto store = opened(folder.file());
        const auto loaded = store->load();
        REQUIRE(loaded.size() == 2);
        CHECK_THROWS_AS(store->commit(looked(loaded[0].rollout)), StoreReadOnly);
        REQUIRE(::chmod(folder.file().c_str(), 0600) == 0);
        CHECK(store->commit(looked(loaded[0].rollout)).revision == 5);
    }
}
