#include "daemon/stores/sqlite_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "daemon/stores/sqlite_schema.hpp"
#include "daemon/stores/stores.hpp"

namespace canaryd {

namespace {

std::string reason_of(int error) {
    return std::generic_category().message(error);
}

std::string holder_of(int file) {
    std::array<char, 32> text{};
    const ssize_t size = ::pread(file, text.data(), text.size(), 0);
    std::string pid(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    pid.resize(std::min(pid.find_first_not_of("0123456789"), pid.size()));
    return pid.empty() ? "another process" : "the process with pid " + pid;
}

void make_folder(const std::string& path) {
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    if (folder.empty()) return;
    if (::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return;
    const int error = errno;
    std::error_code ignored;
    if (std::filesystem::is_directory(folder, ignored)) return;
    throw StoreUnusable("store " + path + ": its folder " + folder.string() +
                        " cannot be made: " + reason_of(error));
}

// SQLite would make it with the umask's rights; this one is nobody else's to read.
void make_file(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file >= 0) {
        ::close(file);
        return;
    }
    const int error = errno;
    if (error == EEXIST) return;
    // A disk that cannot be written may still hold a store.
    if (::access(path.c_str(), F_OK) == 0) return;
    throw StoreUnusable("store " + path + " cannot be made: " + reason_of(error));
}

// SQLite gives the files beside it the rights that the file had when they were made: one that was
// read-only for a while would stay so.
void follow_rights(const std::string& path) {
    if (::access(path.c_str(), W_OK) != 0) return;
    for (const char* suffix : {"-wal", "-shm"}) {
        const std::string beside = path + suffix;
        if (::access(beside.c_str(), W_OK) == 0 || errno != EACCES) continue;
        // Where it is not ours to change, connecting says so.
        static_cast<void>(::chmod(beside.c_str(), 0600) == 0);
    }
}

bool wal_is_empty(const std::string& path) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path + "-wal", error);
    return error || size == 0;
}

bool cannot_write(const sqlite::Error& error) {
    return error.full() || error.read_only() || error.cannot_open() || error.no_shared_memory();
}

std::unique_ptr<sqlite::Database> connect(const std::string& path, sqlite::Mode mode,
                                          bool without_shared_memory) {
    auto database = std::make_unique<sqlite::Database>(path, mode);
    // Until it is known to be ours and sound, closing it must leave it as it is.
    database->keep_wal_on_close(true);
    if (without_shared_memory) database->execute("PRAGMA locking_mode = EXCLUSIVE");
    database->execute("SELECT count(*) FROM sqlite_schema");
    return database;
}

// The usual connection or, on a disk that is full or cannot be written, one that only reads: by an
// index in memory where the -shm cannot be made, by a -shm that is there, and at last as a file
// that nobody writes, which is true only without a WAL.
StoreFile connect_somehow(const std::string& path) {
    struct Way {
        sqlite::Mode mode;
        bool without_shared_memory;
    };
    follow_rights(path);
    const bool frozen = wal_is_empty(path);
    std::string trouble;
    for (const Way way : {Way{sqlite::Mode::read_write, false}, Way{sqlite::Mode::read_write, true},
                          Way{sqlite::Mode::read_only, false}, Way{sqlite::Mode::frozen, false}}) {
        if (way.mode == sqlite::Mode::frozen && !frozen) continue;
        try {
            StoreFile file{connect(path, way.mode, way.without_shared_memory), trouble};
            if (trouble.empty() && file.database->only_reads())
                file.trouble = "sqlite " + path + ": the file or its disk cannot be written";
            return file;
        } catch (const sqlite::Error& error) {
            if (error.damaged()) throw StoreUnusable(error.what());
            // The later ways fail in ways of their own; what is told is why the usual one did.
            if (trouble.empty() && !cannot_write(error)) throw;
            if (trouble.empty()) trouble = error.what();
        }
    }
    throw StoreUnusable("store " + path + " cannot be opened: " + trouble);
}

std::int64_t pragma(sqlite::Database& database, const std::string& name) {
    auto row = database.prepare("PRAGMA " + name);
    row.step();
    return row.integer(0);
}

// 0: a file with nothing in it.
std::int64_t version_of(sqlite::Database& database) {
    const std::string store = "store " + database.path();
    const std::int64_t application = pragma(database, "application_id");
    const std::int64_t version = pragma(database, "user_version");
    auto tables = database.prepare("SELECT count(*) FROM sqlite_schema");
    tables.step();
    if (application == 0 && version == 0 && tables.integer(0) == 0) return 0;
    if (application != store_schema::application_id)
        throw StoreUnusable(store +
                            " is another program's database: nothing was touched; give "
                            "store.path a file of its own");
    if (version > store_schema::version)
        throw StoreUnusable(store + " has schema version " + std::to_string(version) +
                            " and this canaryd knows " + std::to_string(store_schema::version) +
                            ": nothing was touched; start the newer canaryd that wrote it");
    if (version < 1) throw StoreUnusable(store + " has no valid schema version");
    return version;
}

void check_pages(sqlite::Database& database) {
    const std::string found = database.first_text("PRAGMA quick_check(1)");
    if (found != "ok")
        throw StoreUnusable("store " + database.path() + " is damaged: " + found +
                            "; nothing was changed: keep the file and restore a backup");
}

// An acknowledged commit is on the disk, not on its way there.
void make_durable(sqlite::Database& database) {
    const std::string mode = database.first_text("PRAGMA journal_mode = WAL");
    database.execute("PRAGMA synchronous = FULL");
    const std::int64_t synchronous = pragma(database, "synchronous");
    if (mode != "wal" || synchronous != 2)
        throw StoreUnusable("store " + database.path() + ": journal_mode is " + mode +
                            " and synchronous " + std::to_string(synchronous) +
                            ", not wal and 2: put it on a local disk");
    if (pragma(database, "foreign_keys") != 1 || pragma(database, "trusted_schema") != 0)
        throw StoreUnusable("store " + database.path() +
                            ": foreign_keys or trusted_schema cannot be set");
}

void migrate(sqlite::Database& database, std::int64_t version) {
    if (version == store_schema::version) return;
    sqlite::Transaction transaction(database, sqlite::Transaction::Kind::immediate);
    for (auto next = version; next < store_schema::version; ++next)
        database.execute(std::string(store_schema::migrations[static_cast<std::size_t>(next)]));
    database.execute("PRAGMA application_id = " + std::to_string(store_schema::application_id));
    database.execute("PRAGMA user_version = " + std::to_string(store_schema::version));
    transaction.commit();
}

// What needs writing. A disk that turns out to be full leaves the store readable, if there is one.
StoreFile made_writable(StoreFile file, std::int64_t version) {
    if (file.trouble.empty()) {
        try {
            make_durable(*file.database);
            migrate(*file.database, version);
            return file;
        } catch (const sqlite::Error& error) {
            if (!cannot_write(error)) throw;
            file.trouble = error.what();
        }
    }
    if (version != store_schema::version)
        throw StoreReadOnly("store " + file.database->path() +
                            " cannot be set up: " + file.trouble);
    return file;
}

}  // namespace

StoreLock::StoreLock(const std::string& path) {
    const std::string name = path + ".lock";
    file_ = ::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file_ < 0) file_ = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
    if (file_ < 0) {
        const int error = errno;
        if (error == EROFS || error == ENOENT) return;
        throw StoreUnusable("store " + path + ": its lock " + name +
                            " cannot be opened: " + reason_of(error));
    }
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
        const int error = errno;
        const std::string holder = holder_of(file_);
        ::close(file_);
        if (error == EWOULDBLOCK)
            throw StoreInUse("store " + path + " is in use by " + holder + " (lock " + name +
                             "): one canaryd per store");
        throw StoreUnusable("store " + path + ": " + name +
                            " cannot be locked: " + reason_of(error));
    }
    // For people only: a full disk may refuse it, and the lock holds all the same.
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(file_, 0) == 0)
        static_cast<void>(::pwrite(file_, pid.data(), pid.size(), 0) + 0);
}

StoreLock::~StoreLock() {
    if (file_ >= 0) ::close(file_);
}

StoreFile open_store(const std::string& path) {
    make_folder(path);
    make_file(path);
    StoreFile file = connect_somehow(path);
    try {
        const std::int64_t version = version_of(*file.database);
        if (version > 0) check_pages(*file.database);
        file = made_writable(std::move(file), version);
        check_journal(*file.database);
        file.database->keep_wal_on_close(!file.trouble.empty());
    } catch (const sqlite::Error& error) {
        // Damaged, or with rows of a kind that its own tables do not allow.
        if (error.damaged() || error.mismatch()) throw StoreUnusable(error.what());
        throw;
    }
    return file;
}

StoreFile reconnect_store(const std::string& path) {
    StoreFile file = connect_somehow(path);
    const std::int64_t version = version_of(*file.database);
    file = made_writable(std::move(file), version);
    file.database->keep_wal_on_close(!file.trouble.empty());
    return file;
}

}  // namespace canaryd
