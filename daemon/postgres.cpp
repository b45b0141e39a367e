#include "daemon/postgres.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <pqxx/pqxx>

namespace canaryd::postgres {

namespace {

/// The first line, without the server's word for how bad it is.
std::string one_line(std::string_view text) {
    for (const std::string_view front : {"ERROR:  ", "FATAL:  "}) {
        if (text.starts_with(front)) text.remove_prefix(front.size());
    }
    return std::string(text.substr(0, text.find('\n')));
}

/// The server's message and its hint.
std::string server_words(std::string_view text) {
    const std::size_t hint = text.find("\nHINT:  ");
    if (hint == std::string_view::npos) return one_line(text);
    return one_line(text) + "\n" + one_line(text.substr(hint + std::strlen("\nHINT:  ")));
}

/// The beginning of a statement, as people may see it.
std::string shown(std::string_view sql) {
    constexpr std::size_t most = 60;
    std::string text;
    for (const char c : sql.substr(0, most)) text += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    return sql.size() > most ? text + "…" : text;
}

/// Whether the other side has hung up: what is sent then would be lost, and nobody could tell.
bool hung_up(int socket) {
    pollfd state{socket, POLLRDHUP, 0};
    return ::poll(&state, 1, 0) > 0;
}

bool is_lost(const std::string& sqlstate) {
    return sqlstate.starts_with("08") || sqlstate.starts_with("57P");
}

/// For the transaction that this is sent in.
std::string set_local(std::string_view what, Duration limit) {
    return "set local " + std::string(what) + " = " +
           std::to_string(std::max<Duration::rep>(1, limit.count())) + "; ";
}

std::string set_local(const Limits& limits) {
    return set_local("statement_timeout", limits.statement) +
           set_local("lock_timeout", limits.lock);
}

}  // namespace

// --- Result -------------------------------------------------------------------------------------

struct Result::Rows {
    pqxx::result rows;
    [[nodiscard]] pqxx::field at(int row, int column) const {
        if (row < 0 || row >= static_cast<int>(rows.size()) || column < 0 ||
            column >= static_cast<int>(rows.columns())) {
            throw Error("postgres: row " + std::to_string(row) + ", column " +
                        std::to_string(column) + " is not in the answer");
        }
        return rows[static_cast<pqxx::result::size_type>(row)]
                   [static_cast<pqxx::row::size_type>(column)];
    }
    [[noreturn]] void wrong(int row, int column, const char* due) const {
        const pqxx::field field = at(row, column);
        throw Error(std::string("postgres: column ") + field.name() + " is " +
                    (field.is_null() ? "null" : "\"" + shown(field.c_str()) + "\"") + ", not " +
                    due);
    }
    template <class Number>
    [[nodiscard]] Number number(int row, int column, const char* due) const {
        const pqxx::field field = at(row, column);
        Number value{};
        const char* end = field.c_str() + field.size();
        const auto read = std::from_chars(field.c_str(), end, value);
        if (field.is_null() || read.ec != std::errc{} || read.ptr != end) wrong(row, column, due);
        return value;
    }
};

int Result::size() const {
    return static_cast<int>(rows_->rows.size());
}
int Result::columns() const {
    return static_cast<int>(rows_->rows.columns());
}
std::string Result::column_name(int column) const {
    return rows_->rows.column_name(static_cast<pqxx::row::size_type>(column));
}

Type Result::type(int column) const {
    // Numbers of pg_type that never change.
    static const std::map<unsigned, Type> types{
        {16, Type::boolean},   {20, Type::integer},
        {21, Type::integer},   {23, Type::integer},
        {700, Type::real},     {701, Type::real},
        {1700, Type::numeric}, {25, Type::text},
        {19, Type::text},      {1042, Type::text},
        {1043, Type::text},    {2950, Type::uuid},
        {1184, Type::time},    {1114, Type::time_without_zone}};
    const auto found = types.find(
        static_cast<unsigned>(rows_->rows.column_type(static_cast<pqxx::row::size_type>(column))));
    return found == types.end() ? Type::other : found->second;
}

bool Result::is_null(int row, int column) const {
    return rows_->at(row, column).is_null();
}

std::string_view Result::view(int row, int column) const {
    const pqxx::field field = rows_->at(row, column);
    if (field.is_null()) rows_->wrong(row, column, "a text");
    return {field.c_str(), field.size()};
}

std::string Result::text(int row, int column) const {
    return std::string(view(row, column));
}

std::int64_t Result::integer(int row, int column) const {
    return rows_->number<std::int64_t>(row, column, "a whole number");
}

double Result::real(int row, int column) const {
    return rows_->number<double>(row, column, "a number");
}

bool Result::boolean(int row, int column) const {
    const std::string_view value = view(row, column);
    if (value != "t" && value != "f") rows_->wrong(row, column, "true or false");
    return value == "t";
}

TimePoint Result::time(int row, int column) const {
    return TimePoint(Duration(integer(row, column)));
}

// --- Database -----------------------------------------------------------------------------------

struct Database::Link {
    explicit Link(const std::string& options) : connection(options), quiet(connection) {
        // Else libpqxx connects again by itself, and nobody learns that an outcome is unknown. The
        // word is deprecated in favour of libpqxx 7, which never connects again.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        connection.inhibit_reactivation(true);
#pragma GCC diagnostic pop
    }
    pqxx::connection connection;
    pqxx::quiet_errorhandler quiet;  // errors are thrown; notices are not for the log
};

Database::Database(std::function<Target()> target) : target_(std::move(target)) {}
Database::Database(const Connection& connection)
    : Database([connection] { return Target::of(connection); }) {}
Database::~Database() {
    close();
}

std::string Database::name() const {
    return name_;
}

void Database::open() {
    if (link_ && is_open() && !hung_up(link_->connection.sock())) return;
    close();
    std::unique_ptr<Link> link;
    try {
        const Target target = target_();
        name_ = "postgres " + target.name();
        link = std::make_unique<Link>(target.options());
    } catch (const pqxx::pqxx_exception& error) {
        throw Broken(name_ + ": connect: " + one_line(error.base().what()));
    } catch (const std::exception& error) {
        throw Broken(name_ + ": " + error.what());
    }
    const std::lock_guard lock(mutex_);
    link_ = std::move(link);
}

void Database::close() noexcept {
    std::unique_ptr<Link> old;
    {
        const std::lock_guard lock(mutex_);
        old = std::move(link_);
    }
}

bool Database::is_open() const noexcept {
    return link_ && link_->connection.is_open();
}

int Database::backend_pid() const noexcept {
    return link_ ? link_->connection.backendpid() : 0;
}

void Database::interrupt() noexcept {
    const std::lock_guard lock(mutex_);
    if (link_ && link_->connection.sock() >= 0) ::shutdown(link_->connection.sock(), SHUT_RDWR);
}

Result Database::read(std::string_view sql, const Params& params) {
    open();
    return run(sql, &params, Meaning::harmless);
}

Result Database::write(std::string_view sql, const Params& params) {
    open();
    return run(sql, &params, Meaning::unknown);
}

Result Database::write(const Limits& limits, std::string_view sql, const Params& params) {
    open();
    return run("set transaction read write; " + set_local(limits) + with_values(sql, params),
               nullptr, Meaning::unknown, sql);
}

/// A message of several statements takes no parameters.
std::string Database::with_values(std::string_view sql, const Params& params) const {
    std::string text;
    for (std::size_t at = 0; at < sql.size();) {
        if (sql[at] != '$') {
            text += sql[at++];
            continue;
        }
        std::size_t number = 0;
        const auto read = std::from_chars(sql.data() + at + 1, sql.data() + sql.size(), number);
        const auto& value = params.values().at(number - 1);
        text += value ? link_->connection.quote(*value) : "null";
        at = static_cast<std::size_t>(read.ptr - sql.data());
    }
    return text;
}

void Database::execute(std::string_view statements) {
    open();
    run(statements, nullptr, Meaning::unknown);
}

/// Without params the text may hold several statements.
Result Database::run(std::string_view sql, const Params* params, Meaning lost,
                     std::string_view tried) {
    if (tried.empty()) tried = sql;
    if (!is_open()) lose("the connection was lost before " + shown(tried), Meaning::harmless, "");
    try {
        auto rows = std::make_shared<Result::Rows>();
        pqxx::nontransaction work(link_->connection);
        if (params == nullptr) {
            rows->rows = work.exec(std::string(sql));
        } else {
            std::vector<const char*> values;
            for (const auto& value : params->values())
                values.push_back(value ? value->c_str() : nullptr);
            rows->rows =
                work.exec_params(std::string(sql), pqxx::prepare::make_dynamic_params(values));
        }
        return Result(std::move(rows));
    } catch (const std::exception&) {
        fail(tried, lost);
    }
}

/// Says what the exception in flight means.
void Database::fail(std::string_view tried, Meaning lost) {
    const std::string front = name_ + ": " + shown(tried) + ": ";
    const auto refused = [&](const std::exception& error, const std::string& sqlstate) {
        const std::string what = front + one_line(error.what());
        if (!is_open() || is_lost(sqlstate)) lose(what, lost, sqlstate);
        const std::string said = server_words(error.what());
        if (sqlstate == "57014" || sqlstate == "55P03") throw Timeout(what, sqlstate, said);
        throw Refused(what, sqlstate, said);
    };
    try {
        throw;
    } catch (const pqxx::in_doubt_error& error) {
        lose(front + one_line(error.what()), lost, "");
    } catch (const pqxx::statement_completion_unknown& error) {
        lose(front + one_line(error.what()), lost, "40003");
    } catch (const pqxx::broken_connection& error) {
        lose(front + one_line(error.what()), lost, "");
    } catch (const pqxx::serialization_failure& error) {
        refused(error, "40001");
    } catch (const pqxx::deadlock_detected& error) {
        refused(error, "40P01");
    } catch (const pqxx::transaction_rollback& error) {
        refused(error, "40000");
    } catch (const pqxx::insufficient_privilege& error) {
        refused(error, "42501");  // the one that libpqxx leaves without its code
    } catch (const pqxx::sql_error& error) {
        refused(error, error.sqlstate());
    } catch (const std::exception& error) {
        refused(error, "");
    }
    throw Error(front + "failed");
}

void Database::lose(const std::string& what, Meaning lost, const std::string& sqlstate) {
    close();
    if (lost == Meaning::unknown) throw UnknownOutcome(what, sqlstate);
    throw Broken(what, sqlstate);
}

std::shared_ptr<Database> shared(const Connection& connection, const Pool& pool) {
    struct Known {
        Connection connection;
        Pool pool;
        std::weak_ptr<Database> database;
    };
    static std::vector<Known> all;
    std::erase_if(all, [](const Known& known) { return known.database.expired(); });
    for (const Known& known : all) {
        if (known.connection.name == connection.name && known.connection.url == connection.url &&
            known.connection.credential == connection.credential && known.pool == pool) {
            // Its last user may let go on another thread in this very moment.
            if (auto there = known.database.lock()) return there;
        }
    }
    auto database = std::make_shared<Database>(connection);
    all.push_back({connection, pool, database});
    return database;
}

// --- Transaction --------------------------------------------------------------------------------

Transaction::Transaction(Database& database, Kind kind, const Limits& limits)
    : database_(database) {
    database_.open();
    const std::string begin = kind == Kind::snapshot
                                  ? "begin isolation level repeatable read read only; "
                                  : "begin isolation level read committed read write; ";
    database_.run(
        begin + set_local(limits) + set_local("idle_in_transaction_session_timeout", limits.idle) +
            // A cursor is read to its end: plan it so. To compile takes longer than a look.
            "set local cursor_tuple_fraction = 1; set local jit = off",
        nullptr, Database::Meaning::harmless);
    open_ = true;
}

Transaction::~Transaction() {
    if (!open_ || !database_.is_open()) return;
    try {
        database_.run("rollback", nullptr, Database::Meaning::harmless);
    } catch (const Error&) {
        database_.close();
    }
}

Result Transaction::run(std::string_view sql, const Params& params) {
    try {
        return database_.run(sql, &params, Database::Meaning::harmless);
    } catch (const Error&) {
        failed_ = true;
        throw;
    }
}

void Transaction::script(const std::string& sql) {
    try {
        database_.run(sql, nullptr, Database::Meaning::harmless);
    } catch (const Error&) {
        failed_ = true;
        throw;
    }
}

void Transaction::each(std::string_view sql, const Params& params, const Take& take) {
    const std::string cursor = "canaryd_" + std::to_string(++cursors_);
    run("declare " + cursor + " no scroll cursor for " + std::string(sql), params);
    for (bool more = true; more;) {
        constexpr int at_once = 2000;
        const Result rows = run("fetch forward " + std::to_string(at_once) + " from " + cursor);
        more = rows.size() == at_once;
        for (int row = 0; row < rows.size(); ++row) {
            if (take(rows, row)) continue;
            more = false;
            break;
        }
    }
    run("close " + cursor);
}

void Transaction::commit() {
    if (failed_ || !open_) throw std::logic_error("commit of a transaction that has failed");
    open_ = false;
    database_.run("commit", nullptr, Database::Meaning::unknown);
}

}  // namespace canaryd::postgres
