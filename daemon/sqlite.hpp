// SQLite as the daemon uses it: RAII over the C API, typed binds and columns, errors as exceptions
// that name the file, the extended code and what was tried. sqlite3.h stays in sqlite.cpp.
//
// A Database and its Statements belong to one thread at a time (a pool's); only interrupt() may be
// called from another one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "canaryd/policy.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace canaryd::sqlite {

/// "sqlite /x/y.db: commit: database or disk is full (SQLITE_FULL, 13)".
class Error : public std::runtime_error {
public:
    Error(const std::string& path, const std::string& tried, const std::string& message,
          int extended);
    [[nodiscard]] int extended() const { return extended_; }
    [[nodiscard]] int primary() const { return extended_ & 0xff; }
    [[nodiscard]] bool full() const;       // no space
    [[nodiscard]] bool read_only() const;  // file, folder or disk
    [[nodiscard]] bool cannot_open() const;
    [[nodiscard]] bool busy() const;              // locked by another connection for too long
    [[nodiscard]] bool damaged() const;           // corrupt, or no database at all
    [[nodiscard]] bool no_shared_memory() const;  // the -shm of a WAL file cannot be made
    [[nodiscard]] bool interrupted() const;
    [[nodiscard]] bool constraint() const;
    [[nodiscard]] bool mismatch() const;  // a column of another type than asked for

private:
    int extended_;
};

enum class Mode {
    read_only,   // never creates, never writes; needs a live -shm or the right to make one on WAL
    read_write,  // must exist
    create,      // made when missing, with the umask's rights
    frozen       // nobody at all writes: no locks, no -shm; wrong for a file with a live WAL
};

/// A column's storage class in the present row.
enum class Type { null, integer, real, text, blob };

class Database;

/// A prepared statement. Columns count from 0, parameters from 1.
class Statement {
public:
    ~Statement();
    Statement(Statement&& other) noexcept;
    Statement& operator=(Statement&& other) noexcept;

    Statement& bind(int parameter, std::nullptr_t);
    Statement& bind(int parameter, double value);
    Statement& bind(int parameter, std::string_view value);  // copied; NUL bytes survive
    /// Milliseconds UTC.
    Statement& bind(int parameter, TimePoint value);
    template <class Integer>
    requires std::is_integral_v<Integer> Statement& bind(int parameter, Integer value) {
        return bind_integer(parameter, static_cast<std::int64_t>(value));
    }
    Statement& bind(int parameter, const char* value) {
        return bind(parameter, std::string_view(value));
    }
    template <class T>
    Statement& bind(int parameter, const std::optional<T>& value) {
        return value ? bind(parameter, *value) : bind(parameter, nullptr);
    }
    /// Binds parameters 1, 2, … in this order.
    template <class... Values>
    Statement& bind_all(const Values&... values) {
        int parameter = 0;
        (bind(++parameter, values), ...);
        return *this;
    }

    /// To the next row; false after the last one.
    bool step();
    /// For a statement without rows.
    void run();
    /// Ready to be bound and stepped again; bindings are kept.
    void reset();

    [[nodiscard]] int parameter_count() const;
    [[nodiscard]] int column_count() const;
    [[nodiscard]] std::string column_name(int column) const;
    /// Whether it writes nothing to the database.
    [[nodiscard]] bool only_reads() const;

    [[nodiscard]] Type type(int column) const;
    [[nodiscard]] bool is_null(int column) const { return type(column) == Type::null; }
    // Each throws when the column holds another type: nothing is converted silently. `real` takes
    // an integer as well.
    [[nodiscard]] std::int64_t integer(int column) const;
    [[nodiscard]] double real(int column) const;
    [[nodiscard]] std::string text(int column) const;
    /// Of a text or blob; valid until the next step().
    [[nodiscard]] std::string_view view(int column) const;
    [[nodiscard]] TimePoint time(int column) const;

private:
    friend class Database;
    Statement(Database& database, std::string_view sql);
    Statement& bind_integer(int parameter, std::int64_t value);
    void check(int result, const char* tried) const;
    [[noreturn]] void wrong_type(int column, const char* wanted) const;

    Database* database_;
    sqlite3_stmt* statement_ = nullptr;
};

/// A connection. Opened with extended codes, foreign_keys on, trusted_schema off, defensive, no
/// mmap. SQLite opens lazily: a damaged or missing WAL shows at the first statement.
class Database {
public:
    Database(std::string path, Mode mode, Duration busy_timeout = std::chrono::seconds{5});
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    /// Any number of statements, without parameters; rows are ignored.
    void execute(const std::string& sql);
    /// Exactly one statement; a second one in the text is refused.
    Statement prepare(std::string_view sql);
    /// prepare() and bind_all().
    template <class... Values>
    Statement query(std::string_view sql, const Values&... values) {
        Statement statement = prepare(sql);
        statement.bind_all(values...);
        return statement;
    }
    /// First column of the first row as text, whatever its type: for pragmas.
    std::string first_text(std::string_view sql);

    /// Rows changed by the last statement.
    [[nodiscard]] std::int64_t changes() const;
    [[nodiscard]] bool in_transaction() const;
    [[nodiscard]] const std::string& path() const { return path_; }
    /// Whether SQLite fell back to reading because the file or its disk cannot be written.
    [[nodiscard]] bool only_reads() const;
    /// Whether closing leaves the WAL as it is: nothing of the file is touched.
    void keep_wal_on_close(bool keep);

    /// Asked every few thousand steps of a running statement; true ends it with
    /// Error::interrupted(). Must not throw. An empty function takes it away.
    void stop_when(std::function<bool()> stop);
    /// Ends what is running. Any thread.
    void interrupt();

    /// Throws Error with the connection's newest message.
    [[noreturn]] void fail(const std::string& tried, int result) const;

private:
    friend class Statement;
    std::string path_;
    sqlite3* handle_ = nullptr;
    std::function<bool()> stop_;
};

/// Rolled back unless committed.
class Transaction {
public:
    enum class Kind { deferred, immediate };
    /// Readers take deferred (one snapshot); writers immediate, so that busy shows at once.
    explicit Transaction(Database& database, Kind kind);
    ~Transaction();
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    /// An error here means that the outcome is unknown.
    void commit();
    /// Whether the rollback was certain: nothing of this transaction was made durable.
    [[nodiscard]] bool roll_back() noexcept;

private:
    Database& database_;
    bool open_ = false;
};

}  // namespace canaryd::sqlite
