#include "daemon/sqlite.hpp"

#include <sqlite3.h>

#include <limits>

namespace canaryd::sqlite {

namespace {

// SQLite asks this often whether to go on: some microseconds apart.
constexpr int steps_between_questions = 4096;

const char* name_of(int primary) {
    switch (primary) {
        case SQLITE_BUSY:
            return "SQLITE_BUSY";
        case SQLITE_LOCKED:
            return "SQLITE_LOCKED";
        case SQLITE_READONLY:
            return "SQLITE_READONLY";
        case SQLITE_INTERRUPT:
            return "SQLITE_INTERRUPT";
        case SQLITE_IOERR:
            return "SQLITE_IOERR";
        case SQLITE_CORRUPT:
            return "SQLITE_CORRUPT";
        case SQLITE_FULL:
            return "SQLITE_FULL";
        case SQLITE_CANTOPEN:
            return "SQLITE_CANTOPEN";
        case SQLITE_CONSTRAINT:
            return "SQLITE_CONSTRAINT";
        case SQLITE_NOTADB:
            return "SQLITE_NOTADB";
        case SQLITE_MISMATCH:
            return "SQLITE_MISMATCH";
        default:  // the rest is told by its number
            return "SQLite code";
    }
}

// A name that begins with "file:" would be read as a URI where SQLite was built that way.
std::string plain_path(const std::string& path) {
    return path.starts_with("file:") ? "./" + path : path;
}

// Enough of a statement to know it again in a log line.
std::string brief(std::string_view sql) {
    constexpr std::size_t most = 100;
    const std::size_t begin = sql.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos) return "nothing";
    std::string_view line = sql.substr(begin);
    const bool cut = line.size() > most;
    line = line.substr(0, most);
    std::string out;
    for (const char c : line) out += c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
    return cut ? out + "..." : out;
}

std::string frozen_uri(const std::string& path) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string uri = "file:";
    for (const char c : path) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '%' || c == '?' || c == '#') {
            uri += '%';
            uri += digits[byte >> 4];
            uri += digits[byte & 15];
        } else {
            uri += c;
        }
    }
    return uri + "?immutable=1";
}

int open_flags(Mode mode) {
    switch (mode) {
        case Mode::read_only:
            return SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX;
        case Mode::read_write:
            return SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
        case Mode::create:
            return SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
        case Mode::frozen:
            return SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
    }
    return SQLITE_OPEN_READONLY;
}

}  // namespace

Error::Error(const std::string& path, const std::string& tried, const std::string& message,
             int extended)
    : std::runtime_error("sqlite " + path + ": " + tried + ": " + message + " (" +
                         name_of(extended & 0xff) + ", " + std::to_string(extended) + ")"),
      extended_(extended) {}

bool Error::full() const {
    return primary() == SQLITE_FULL;
}
bool Error::read_only() const {
    return primary() == SQLITE_READONLY;
}
bool Error::cannot_open() const {
    return primary() == SQLITE_CANTOPEN;
}
bool Error::busy() const {
    return primary() == SQLITE_BUSY || primary() == SQLITE_LOCKED;
}
bool Error::damaged() const {
    return primary() == SQLITE_CORRUPT || primary() == SQLITE_NOTADB;
}
bool Error::no_shared_memory() const {
    return extended_ == SQLITE_IOERR_SHMOPEN || extended_ == SQLITE_IOERR_SHMSIZE ||
           extended_ == SQLITE_IOERR_SHMMAP || extended_ == SQLITE_IOERR_SHMLOCK;
}
bool Error::interrupted() const {
    return primary() == SQLITE_INTERRUPT;
}
bool Error::constraint() const {
    return primary() == SQLITE_CONSTRAINT;
}
bool Error::mismatch() const {
    return primary() == SQLITE_MISMATCH;
}

Database::Database(std::string path, Mode mode, Duration busy_timeout) : path_(std::move(path)) {
    if (path_.empty() || path_.find('\0') != std::string::npos)
        throw Error(path_, "open", "the path is empty or has a NUL byte", SQLITE_CANTOPEN);
    const std::string name = mode == Mode::frozen ? frozen_uri(path_) : plain_path(path_);
    const int result = sqlite3_open_v2(name.c_str(), &handle_, open_flags(mode), nullptr);
    if (result != SQLITE_OK) {
        const int extended = handle_ == nullptr ? result : sqlite3_extended_errcode(handle_);
        const std::string message =
            handle_ == nullptr ? sqlite3_errstr(result) : sqlite3_errmsg(handle_);
        sqlite3_close_v2(handle_);
        throw Error(path_, "open", message, extended);
    }
    sqlite3_extended_result_codes(handle_, 1);
    sqlite3_busy_timeout(handle_, static_cast<int>(busy_timeout.count()));
    sqlite3_db_config(handle_, SQLITE_DBCONFIG_ENABLE_FKEY, 1, nullptr);
    sqlite3_db_config(handle_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(handle_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_int64 no_map = 0;
    sqlite3_file_control(handle_, "main", SQLITE_FCNTL_MMAP_SIZE, &no_map);
}

Database::~Database() {
    sqlite3_close_v2(handle_);
}

void Database::fail(const std::string& tried, int result) const {
    const int extended = sqlite3_extended_errcode(handle_);
    // The connection keeps the code of its newest call, which need not be the one that failed.
    if ((extended & 0xff) == (result & 0xff))
        throw Error(path_, tried, sqlite3_errmsg(handle_), extended);
    throw Error(path_, tried, sqlite3_errstr(result), result);
}

void Database::execute(const std::string& sql) {
    const int result = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
    if (result != SQLITE_OK) fail(brief(sql), result);
}

Statement Database::prepare(std::string_view sql) {
    return Statement(*this, sql);
}

std::string Database::first_text(std::string_view sql) {
    Statement statement = prepare(sql);
    if (!statement.step()) return {};
    switch (statement.type(0)) {
        case Type::null:
            return {};
        case Type::integer:
            return std::to_string(statement.integer(0));
        case Type::real:
            return std::to_string(statement.real(0));
        case Type::text:
        case Type::blob:
            return std::string(statement.view(0));
    }
    return {};
}

std::int64_t Database::changes() const {
    return sqlite3_changes64(handle_);
}
bool Database::in_transaction() const {
    return sqlite3_get_autocommit(handle_) == 0;
}

bool Database::only_reads() const {
    return sqlite3_db_readonly(handle_, "main") != 0;
}

void Database::keep_wal_on_close(bool keep) {
    sqlite3_db_config(handle_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep ? 1 : 0, nullptr);
}

void Database::stop_when(std::function<bool()> stop) {
    stop_ = std::move(stop);
    if (!stop_) {
        sqlite3_progress_handler(handle_, 0, nullptr, nullptr);
        return;
    }
    sqlite3_progress_handler(
        handle_, steps_between_questions,
        [](void* self) { return static_cast<Database*>(self)->stop_() ? 1 : 0; }, this);
}

void Database::interrupt() {
    sqlite3_interrupt(handle_);
}

Statement::Statement(Database& database, std::string_view sql) : database_(&database) {
    if (sql.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
        throw Error(database.path_, "prepare", "the statement is too long", SQLITE_TOOBIG);
    const char* rest = nullptr;
    const int result = sqlite3_prepare_v2(database.handle_, sql.data(),
                                          static_cast<int>(sql.size()), &statement_, &rest);
    if (result != SQLITE_OK) database.fail(brief(sql), result);
    const std::string_view more(rest, static_cast<std::size_t>(sql.data() + sql.size() - rest));
    if (statement_ == nullptr)
        throw Error(database.path_, brief(sql), "there is no statement in it", SQLITE_ERROR);
    if (more.find_first_not_of(" \t\r\n;") != std::string_view::npos) {
        sqlite3_finalize(statement_);
        throw Error(database.path_, brief(sql), "more than one statement", SQLITE_ERROR);
    }
}

Statement::~Statement() {
    sqlite3_finalize(statement_);
}

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)) {}

Statement& Statement::operator=(Statement&& other) noexcept {
    std::swap(database_, other.database_);
    std::swap(statement_, other.statement_);
    return *this;
}

void Statement::check(int result, const char* tried) const {
    if (result == SQLITE_OK) return;
    database_->fail(std::string(tried) + " in: " + brief(sqlite3_sql(statement_)), result);
}

Statement& Statement::bind(int parameter, std::nullptr_t) {
    check(sqlite3_bind_null(statement_, parameter), "bind null");
    return *this;
}

Statement& Statement::bind(int parameter, double value) {
    check(sqlite3_bind_double(statement_, parameter, value), "bind a number");
    return *this;
}

Statement& Statement::bind(int parameter, std::string_view value) {
    check(sqlite3_bind_text64(statement_, parameter, value.data() == nullptr ? "" : value.data(),
                              value.size(), SQLITE_TRANSIENT, SQLITE_UTF8),
          "bind text");
    return *this;
}

Statement& Statement::bind(int parameter, TimePoint value) {
    return bind_integer(parameter, value.time_since_epoch().count());
}

Statement& Statement::bind_integer(int parameter, std::int64_t value) {
    check(sqlite3_bind_int64(statement_, parameter, value), "bind an integer");
    return *this;
}

bool Statement::step() {
    const int result = sqlite3_step(statement_);
    if (result == SQLITE_ROW) return true;
    if (result == SQLITE_DONE) return false;
    database_->fail(brief(sqlite3_sql(statement_)), result);
}

void Statement::run() {
    while (step()) {
    }
    reset();
}

// The result is that of the step before, which was thrown then.
void Statement::reset() {
    sqlite3_reset(statement_);
}

int Statement::parameter_count() const {
    return sqlite3_bind_parameter_count(statement_);
}
int Statement::column_count() const {
    return sqlite3_column_count(statement_);
}

std::string Statement::column_name(int column) const {
    const char* name = sqlite3_column_name(statement_, column);
    return name == nullptr ? std::string() : std::string(name);
}

bool Statement::only_reads() const {
    return sqlite3_stmt_readonly(statement_) != 0;
}

Type Statement::type(int column) const {
    switch (sqlite3_column_type(statement_, column)) {
        case SQLITE_INTEGER:
            return Type::integer;
        case SQLITE_FLOAT:
            return Type::real;
        case SQLITE_TEXT:
            return Type::text;
        case SQLITE_BLOB:
            return Type::blob;
        default:  // SQLITE_NULL, and what is out of range
            return Type::null;
    }
}

void Statement::wrong_type(int column, const char* wanted) const {
    throw Error(database_->path_, brief(sqlite3_sql(statement_)),
                "column " + column_name(column) + " is not " + wanted, SQLITE_MISMATCH);
}

std::int64_t Statement::integer(int column) const {
    if (type(column) != Type::integer) wrong_type(column, "an integer");
    return sqlite3_column_int64(statement_, column);
}

double Statement::real(int column) const {
    const Type found = type(column);
    if (found != Type::real && found != Type::integer) wrong_type(column, "a number");
    return sqlite3_column_double(statement_, column);
}

std::string Statement::text(int column) const {
    if (type(column) != Type::text) wrong_type(column, "text");
    return std::string(view(column));
}

std::string_view Statement::view(int column) const {
    const Type found = type(column);
    if (found != Type::text && found != Type::blob) wrong_type(column, "text or a blob");
    // Text in the encoding of the program, whatever the file's is.
    const auto* bytes = static_cast<const char*>(
        found == Type::blob ? sqlite3_column_blob(statement_, column)
                            : static_cast<const void*>(sqlite3_column_text(statement_, column)));
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
    return bytes == nullptr ? std::string_view() : std::string_view(bytes, size);
}

TimePoint Statement::time(int column) const {
    return TimePoint(Duration(integer(column)));
}

Transaction::Transaction(Database& database, Kind kind) : database_(database) {
    database_.execute(kind == Kind::immediate ? "BEGIN IMMEDIATE" : "BEGIN DEFERRED");
    open_ = true;
}

Transaction::~Transaction() {
    static_cast<void>(roll_back());
}

void Transaction::commit() {
    database_.execute("COMMIT");
    open_ = false;
}

bool Transaction::roll_back() noexcept {
    if (!open_) return false;
    open_ = false;
    // SQLite may have rolled back by itself: after a failed COMMIT that says nothing about what
    // reached the disk, so only a rollback of our own is certain.
    if (!database_.in_transaction()) return false;
    try {
        database_.execute("ROLLBACK");
    } catch (const Error&) {
        return false;
    }
    return true;
}

}  // namespace canaryd::sqlite
