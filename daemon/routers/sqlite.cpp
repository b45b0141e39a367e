// The route as one row of a SQLite file that applications read: a promotion or a rollback is one
// small transaction, whatever the number of users.
#include "daemon/sqlite.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "daemon/routers/routers.hpp"

namespace canaryd {

namespace {

constexpr Duration busy_limit = std::chrono::seconds{5};

constexpr const char* schema = R"(
CREATE TABLE IF NOT EXISTS canaryd_route (
    name TEXT PRIMARY KEY NOT NULL,
    weight INTEGER NOT NULL CHECK (weight BETWEEN 0 AND 10000), -- basis points of users
    revision INTEGER NOT NULL CHECK (revision >= 0),            -- grows with each change
    valid_until INTEGER,                                        -- UTC ms; later: nobody
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    changed_at INTEGER NOT NULL                                 -- UTC ms
) STRICT)";

constexpr const char* select_row =
    "SELECT weight, revision, by, reason, valid_until IS NOT NULL AND valid_until <= "
    "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) "
    "FROM canaryd_route WHERE name = ?1";

constexpr const char* upsert =
    "INSERT INTO canaryd_route (name, weight, revision, valid_until, by, reason, changed_at) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, "
    "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)) "
    "ON CONFLICT (name) DO UPDATE SET weight = excluded.weight, revision = excluded.revision, "
    "valid_until = excluded.valid_until, by = excluded.by, reason = excluded.reason, "
    "changed_at = excluded.changed_at";

/// Keeps -wal and -shm when the last connection closes. Without them a reader that may not write
/// the folder could not open the file while canaryd is down.
class WalKeeper {
public:
    explicit WalKeeper(const std::string& path) {
        int keep = 1;
        // The connection counts as one of the WAL only after it has read.
        const bool kept =
            sqlite3_open_v2(path.c_str(), &handle_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                            nullptr) == SQLITE_OK &&
            sqlite3_busy_timeout(handle_, static_cast<int>(busy_limit.count())) == SQLITE_OK &&
            sqlite3_file_control(handle_, "main", SQLITE_FCNTL_PERSIST_WAL, &keep) == SQLITE_OK &&
            sqlite3_exec(handle_, "SELECT count(*) FROM sqlite_schema", nullptr, nullptr,
                         nullptr) == SQLITE_OK;
        if (kept) return;
        const std::string message = handle_ ? sqlite3_errmsg(handle_) : "out of memory";
        sqlite3_close_v2(handle_);
        throw std::runtime_error("sqlite " + path + ": keeping the WAL: " + message);
    }
    ~WalKeeper() { sqlite3_close_v2(handle_); }
    WalKeeper(const WalKeeper&) = delete;
    WalKeeper& operator=(const WalKeeper&) = delete;

private:
    sqlite3* handle_ = nullptr;
};

/// A row as it stands.
struct Route {
    Served served;  // as written, also when it has lapsed
    bool lapsed = false;
};

/// The connection. Lives on the pool's one thread; calls own a share of it.
class RouteFile {
public:
    explicit RouteFile(std::string path) : path_(std::move(path)) {}

    void set(const Order& order) {
        with_file([&] {
            sqlite::Transaction transaction(*database_, sqlite::Transaction::Kind::immediate);
            const std::optional<Served> there = comparable(order.name);
            if (there && !takes_effect(order, *there)) return;
            std::uint64_t revision = order.revision;
            // An old order that lowers is a change of its own: the revision never goes back.
            if (there && order.revision <= there->revision) revision = there->revision + 1;
            database_
                ->query(upsert, order.name, order.weight.basis_points, revision, order.valid_until,
                        order.by, order.reason)
                .run();
            transaction.commit();
        });
    }

    Served read(const std::string& name) {
        Served served;
        with_file([&] {
            const std::optional<Route> route = row(name);
            if (!route) return;
            served = route->served;
            if (route->lapsed) served.weight = nobody;
        });
        return served;
    }

private:
    /// Lowering is a right. Else only a newer order counts, whoever wrote the row: one of the same
    /// revision is the same order again, or was overtaken.
    static bool takes_effect(const Order& order, const Served& there) {
        return order.weight < there.weight || order.revision > there.revision;
    }

    /// A row that makes no sense is as good as none: an order mends it.
    std::optional<Served> comparable(const std::string& name) {
        try {
            const std::optional<Route> route = row(name);
            return route ? std::optional(route->served) : std::nullopt;
        } catch (const std::out_of_range&) {
            return std::nullopt;
        }
    }

    /// Throws std::out_of_range when the row makes no sense.
    std::optional<Route> row(const std::string& name) {
        sqlite::Statement statement = database_->query(select_row, name);
        if (!statement.step()) return std::nullopt;
        const auto integer = [&](int column, std::int64_t most, const char* what) {
            const bool good = statement.type(column) == sqlite::Type::integer &&
                              statement.integer(column) >= 0 && statement.integer(column) <= most;
            if (!good) {
                throw std::out_of_range("sqlite " + path_ + ": canaryd_route, row " + name + ": " +
                                        what + " is no number from 0 to " + std::to_string(most));
            }
            return statement.integer(column);
        };
        const auto text = [&](int column) {
            const bool good = statement.type(column) == sqlite::Type::text;
            return good ? statement.text(column) : std::string();
        };
        Route route;
        route.served.weight.basis_points =
            static_cast<int>(integer(0, everybody.basis_points, "weight"));
        route.served.revision = static_cast<std::uint64_t>(
            integer(1, std::numeric_limits<std::int64_t>::max() - 1, "revision"));
        route.served.by = text(2);
        route.served.reason = text(3);
        route.lapsed = statement.type(4) == sqlite::Type::integer && statement.integer(4) != 0;
        return route;
    }

    template <class Call>
    void with_file(Call call) {
        try {
            open_when_needed();
            call();
        } catch (const std::out_of_range&) {
            throw;
        } catch (...) {
            close();
            throw;
        }
    }

    void open_when_needed() {
        struct stat file {};
        const bool there = ::stat(path_.c_str(), &file) == 0;
        if (database_ && there && file.st_dev == device_ && file.st_ino == inode_) return;
        close();
        if (!there) create();
        database_ = std::make_unique<sqlite::Database>(path_, sqlite::Mode::read_write, busy_limit);
        const std::string mode = database_->first_text("PRAGMA journal_mode = WAL");
        if (mode != "wal") {
            throw std::runtime_error("sqlite " + path_ + ": WAL is refused, the journal mode is " +
                                     mode + "; the route needs a local file system");
        }
        database_->execute("PRAGMA synchronous = FULL");
        database_->execute(schema);
        keeper_ = std::make_unique<WalKeeper>(path_);
        if (::stat(path_.c_str(), &file) == 0) {
            device_ = file.st_dev;
            inode_ = file.st_ino;
        }
    }

    /// Made here and not by SQLite: applications read it, whatever the daemon's umask. SQLite gives
    /// -wal and -shm the same rights.
    void create() const {
        const int file = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        const bool made = file >= 0 && ::fchmod(file, 0644) == 0;
        const int error = errno;
        if (file >= 0) ::close(file);
        if (!made) {
            throw std::runtime_error("sqlite " + path_ + ": create: " + std::strerror(error) +
                                     "; canaryd must be able to write the file and its folder");
        }
    }

    void close() {
        database_.reset();
        keeper_.reset();
    }

    std::string path_;
    std::unique_ptr<WalKeeper> keeper_;  // closes last
    std::unique_ptr<sqlite::Database> database_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

class SqliteRouter : public Router {
public:
    SqliteRouter(const Connection& connection, Pool pool)
        : file_(std::make_shared<RouteFile>(connection.path)), pool_(std::move(pool)) {}

    Async<> set(Order order) override {
        check_order(order);
        auto call = [file = file_, order = std::move(order)] { file->set(order); };
        co_await run_blocking(pool_, std::move(call));
    }

    Async<Served> read(std::string name) override {
        auto call = [file = file_, name = std::move(name)] { return file->read(name); };
        co_return co_await run_blocking(pool_, std::move(call));
    }

private:
    std::shared_ptr<RouteFile> file_;
    Pool pool_;
};

}  // namespace

std::shared_ptr<Router> make_sqlite_router(const Connection& connection, Pool pool) {
    return std::make_shared<SqliteRouter>(connection, std::move(pool));
}

}  // namespace canaryd
