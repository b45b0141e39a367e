// The SQLite store as a file: who holds it, how it is opened, whether it is sound. The store
// itself, its transactions, is in sqlite.cpp.
#pragma once

#include <memory>
#include <string>

#include "daemon/sqlite.hpp"

namespace canaryd {

/// PATH.lock, held until destroyed and by nobody else, with our pid in it. It ends with the
/// process, however that ends.
class StoreLock {
public:
    /// Throws StoreInUse naming the holder.
    explicit StoreLock(const std::string& path);
    ~StoreLock();
    StoreLock(const StoreLock&) = delete;
    StoreLock& operator=(const StoreLock&) = delete;

private:
    int file_ = -1;  // -1: on a disk that nobody can write, where no lock is needed
};

/// An open store.
struct StoreFile {
    std::unique_ptr<sqlite::Database> database;
    std::string trouble;  // not empty: it can be read and not written, and why
};

/// Opens the file, which is made when missing (mode 0600; its folder too when that one's parent is
/// there), brings the schema up to date and checks everything. Throws StoreUnusable, having
/// touched nothing, when it is damaged, tampered with, not a store or newer than this program.
StoreFile open_store(const std::string& path);

/// Connects anew to a store that was checked before.
StoreFile reconnect_store(const std::string& path);

/// The journal is gap-free, its newest entries are chained and hold what their hashes say, and
/// every rollout is in the state that its newest entry recorded; else StoreUnusable naming the
/// first bad entry.
void check_journal(sqlite::Database& database);

}  // namespace canaryd
