// PostgreSQL as the daemon uses it: a connection that is made when it is needed, unnamed
// parameters, limits of its own for each transaction, and errors that say what became of a write.
// pqxx and libpq stay in postgres.cpp.
//
// It works the same directly and through a pooler in transaction mode: no session SET, no named
// statement, no session lock, no LISTEN; what has to hold for a while is SET LOCAL in a
// transaction.
//
// A Database belongs to one thread at a time (a pool's); only interrupt() may be called from
// another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "canaryd/settings.hpp"
#include "daemon/async.hpp"

namespace canaryd::postgres {

/// "postgres canaryd@db:5432/shop: select …: canceling statement due to …". Never a password.
class Error : public std::runtime_error {
public:
    explicit Error(const std::string& what, std::string sqlstate = {}, std::string said = {})
        : std::runtime_error(what), sqlstate_(std::move(sqlstate)), said_(std::move(said)) {}
    /// Five characters, "42501"; empty when the server did not say.
    [[nodiscard]] const std::string& sqlstate() const { return sqlstate_; }
    /// The server's own words: its message, then a hint on a line of its own. May be empty.
    [[nodiscard]] const std::string& said() const { return said_; }

private:
    std::string sqlstate_, said_;
};
/// No connection, or it was lost: whatever ran was undone, or only read.
struct Broken : Error {
    using Error::Error;
};
/// The connection was lost while a write was becoming durable: it may have or may not.
struct UnknownOutcome : Error {
    using Error::Error;
};
/// The statement or its lock took longer than allowed: undone.
struct Timeout : Error {
    using Error::Error;
};
/// The server refused the statement, see sqlstate(): undone.
struct Refused : Error {
    using Error::Error;
};

/// Values for $1, $2, … as text; the server knows their types. Throws std::invalid_argument on a
/// NUL in a text, which PostgreSQL cannot hold and libpq would cut silently.
class Params {
public:
    Params() = default;
    template <class... Values>
    explicit Params(const Values&... values) {
        (add(values), ...);
    }
    Params& add(std::nullptr_t);
    Params& add(std::string_view value);
    Params& add(const char* value) { return add(std::string_view(value)); }
    Params& add(bool value) { return add(std::string_view(value ? "t" : "f")); }
    Params& add(double value);
    /// timestamptz in UTC, to the millisecond. Years 1 to 9999.
    Params& add(TimePoint value);
    /// text[]
    Params& add(const std::vector<std::string>& values);
    /// bigint[]
    Params& add(const std::vector<std::int64_t>& values);
    template <class Integer>
    requires(std::is_integral_v<Integer> &&
             !std::is_same_v<Integer, bool>) Params& add(Integer value) {
        return add(std::string_view(std::to_string(value)));
    }
    template <class T>
    Params& add(const std::optional<T>& value) {
        return value ? add(*value) : add(nullptr);
    }
    [[nodiscard]] const std::vector<std::optional<std::string>>& values() const { return values_; }

private:
    std::vector<std::optional<std::string>> values_;
};

/// The type of a column, as far as canaryd tells them apart.
enum class Type { boolean, integer, real, numeric, text, uuid, time, time_without_zone, other };

/// Rows and columns count from 0. Copies share the rows.
class Result {
public:
    struct Rows;
    explicit Result(std::shared_ptr<const Rows> rows) : rows_(std::move(rows)) {}

    [[nodiscard]] int size() const;
    [[nodiscard]] bool empty() const { return size() == 0; }
    [[nodiscard]] int columns() const;
    [[nodiscard]] std::string column_name(int column) const;
    [[nodiscard]] Type type(int column) const;

    [[nodiscard]] bool is_null(int row, int column) const;
    // Each throws Error when the value is null or no such thing: nothing is converted silently.
    /// As the server wrote it; valid as long as a copy of the result lives.
    [[nodiscard]] std::string_view view(int row, int column) const;
    [[nodiscard]] std::string text(int row, int column) const;
    [[nodiscard]] std::int64_t integer(int row, int column) const;
    [[nodiscard]] double real(int row, int column) const;  // NaN and infinities included
    [[nodiscard]] bool boolean(int row, int column) const;
    /// Of whole milliseconds since 1970, as `floor(extract(epoch from x) * 1000)::bigint` gives.
    [[nodiscard]] TimePoint time(int row, int column) const;

private:
    std::shared_ptr<const Rows> rows_;
};

/// Where to connect, checked: libpq's words (host, port, sslmode, …) from a URL or a list.
class Target {
public:
    /// Throws std::invalid_argument with the mend, and without repeating the text: it may hold a
    /// password, and one that is not escaped (@ as %40, / as %2F) would end up in the host's name.
    explicit Target(const std::string& dsn);
    /// Of a connection of kind postgres; reads its credential now.
    static Target of(const Connection& connection);

    [[nodiscard]] const std::string& name() const { return name_; }  // "canaryd@db:5432/shop"
    [[nodiscard]] bool has_password() const { return has_password_; }
    /// For libpq: with limits of time on connecting and on a dead network where none are written.
    [[nodiscard]] const std::string& options() const { return options_; }

private:
    std::string name_, options_;
    bool has_password_ = false;
};

/// For one transaction, in force until it ends. One statement by itself knows no `idle`.
struct Limits {
    Duration statement = std::chrono::seconds{5};
    Duration lock = std::chrono::seconds{1};
    Duration idle = std::chrono::seconds{15};  // between two statements
};

/// A connection, made at the first statement and again after it was lost: never silently in the
/// middle of something. What a lost connection means to a write is in its error.
class Database {
public:
    /// The target is asked for at each connect, so that a changed credential is taken up.
    explicit Database(std::function<Target()> target);
    explicit Database(const Connection& connection);
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    /// Connects unless connected. Throws Broken.
    void open();
    void close() noexcept;
    [[nodiscard]] bool is_open() const noexcept;

    /// One statement that only reads, by itself: a lost connection is Broken. It has the limits of
    /// the login's role (ALTER ROLE … SET statement_timeout).
    template <class... Values>
    Result read(std::string_view sql, const Values&... values) {
        return read(sql, Params(values...));
    }
    Result read(std::string_view sql, const Params& params);
    /// One statement that writes, by itself (autocommit): a connection lost in it is an
    /// UnknownOutcome. A connection that was already dead is replaced first.
    template <class... Values>
    Result write(std::string_view sql, const Values&... values) {
        return write(sql, Params(values...));
    }
    Result write(std::string_view sql, const Params& params);
    /// The same with limits of its own, in one message to the server, which begins and commits with
    /// it: one way there and back, and no lock waits for us in between. Also where a role or
    /// database only reads unless told, which a provider sets when the disk is nearly full: a
    /// rollback is a few bytes. `sql` has its values as $1, $2, … and no other `$`.
    template <class... Values>
    Result write(const Limits& limits, std::string_view sql, const Values&... values) {
        return write(limits, sql, Params(values...));
    }
    Result write(const Limits& limits, std::string_view sql, const Params& params);

    /// Any number of statements without parameters, one transaction unless they say otherwise;
    /// their rows are ignored. A connection lost in it is an UnknownOutcome.
    void execute(std::string_view statements);

    /// Ends what is running as if the network had failed, for a server that does not even enforce
    /// its own limits. Any thread.
    void interrupt() noexcept;

    /// The number of the process that serves us, as whoever answered the connection told it: a
    /// pooler tells another one than the server. 0: it told none, or there is no connection.
    [[nodiscard]] int backend_pid() const noexcept;

    /// "postgres canaryd@db:5432/shop"; "postgres" before the first connection.
    [[nodiscard]] std::string name() const;

private:
    friend class Transaction;
    struct Link;
    enum class Meaning { harmless, unknown };  // what a connection lost in a statement means
    /// `tried`: how errors call it, where that is not its beginning.
    Result run(std::string_view sql, const Params* params, Meaning lost,
               std::string_view tried = {});
    [[nodiscard]] std::string with_values(std::string_view sql, const Params& params) const;
    [[noreturn]] void fail(std::string_view tried, Meaning lost);
    [[noreturn]] void lose(const std::string& what, Meaning lost, const std::string& sqlstate);

    std::function<Target()> target_;
    std::string name_ = "postgres";
    mutable std::mutex mutex_;  // of link_ itself, against interrupt()
    std::unique_ptr<Link> link_;
};

/// The Database of all who ask for the same connection on the same pool, whose one thread they
/// share: a thousand rollouts are one connection. Called on the deciding thread.
std::shared_ptr<Database> shared(const Connection& connection, const Pool& pool);

/// Rolled back unless committed. One at a time on a Database.
class Transaction {
public:
    enum class Kind {
        snapshot,  // repeatable read, read only: everything is of one moment
        write      // read committed
    };
    Transaction(Database& database, Kind kind, const Limits& limits = {});
    ~Transaction();
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;

    template <class... Values>
    Result run(std::string_view sql, const Values&... values) {
        return run(sql, Params(values...));
    }
    Result run(std::string_view sql, const Params& params);
    /// Several statements without values, of a file of SQL.
    void script(const std::string& sql);
    /// The rows of a query of any size, some thousand at a time; `take` says whether to go on.
    using Take = std::function<bool(const Result&, int row)>;
    void each(std::string_view sql, const Params& params, const Take& take);
    /// Throws UnknownOutcome when the connection is lost meanwhile. Any other error: undone.
    void commit();

private:
    Database& database_;
    bool open_ = false;    // begun and not ended
    bool failed_ = false;  // the server would answer a COMMIT with a rollback, without an error
    int cursors_ = 0;
};

}  // namespace canaryd::postgres
