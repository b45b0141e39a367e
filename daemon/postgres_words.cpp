// What is sent to PostgreSQL and where: values as text, and the words of a connection, checked.
#include <libpq-fe.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "daemon/postgres.hpp"

namespace canaryd::postgres {

namespace {

std::string padded(unsigned value, std::size_t width) {
    const std::string digits = std::to_string(value);
    return std::string(width - std::min(width, digits.size()), '0') + digits;
}

/// Of libpq's list of words: 'it''s' is written 'it\'s'.
std::string quoted(const std::string& value) {
    std::string text = "'";
    for (const char c : value) {
        if (c == '\'' || c == '\\') text += '\\';
        text += c;
    }
    return text + "'";
}

}  // namespace

// --- Params -------------------------------------------------------------------------------------

Params& Params::add(std::nullptr_t) {
    values_.emplace_back();
    return *this;
}

Params& Params::add(std::string_view value) {
    if (value.find('\0') != std::string_view::npos) {
        throw std::invalid_argument("a text with a NUL byte cannot be stored in PostgreSQL: \"" +
                                    std::string(value.substr(0, value.find('\0'))) + "\"…");
    }
    values_.emplace_back(value);
    return *this;
}

Params& Params::add(double value) {
    char text[32];
    const auto end = std::to_chars(std::begin(text), std::end(text), value).ptr;
    return add(std::string_view(std::begin(text), static_cast<std::size_t>(end - text)));
}

Params& Params::add(TimePoint value) {
    namespace chrono = std::chrono;
    const auto day = chrono::floor<chrono::days>(value);
    const chrono::year_month_day date{day};
    const chrono::hh_mm_ss time{value - day};
    const int year = static_cast<int>(date.year());
    if (year < 1 || year > 9999) throw std::invalid_argument("a time outside the years 1 to 9999");
    return add(padded(static_cast<unsigned>(year), 4) + "-" +
               padded(static_cast<unsigned>(date.month()), 2) + "-" +
               padded(static_cast<unsigned>(date.day()), 2) + " " +
               padded(static_cast<unsigned>(time.hours().count()), 2) + ":" +
               padded(static_cast<unsigned>(time.minutes().count()), 2) + ":" +
               padded(static_cast<unsigned>(time.seconds().count()), 2) + "." +
               padded(static_cast<unsigned>(time.subseconds().count()), 3) + "+00");
}

Params& Params::add(const std::vector<std::string>& values) {
    std::string text = "{";
    for (const std::string& value : values) {
        text += text.size() > 1 ? ",\"" : "\"";
        for (const char c : value) {
            if (c == '"' || c == '\\') text += '\\';
            text += c;
        }
        text += '"';
    }
    return add(std::string_view(text + "}"));
}

Params& Params::add(const std::vector<std::int64_t>& values) {
    std::string text = "{";
    for (const std::int64_t value : values) {
        if (text.size() > 1) text += ',';
        text += std::to_string(value);
    }
    return add(std::string_view(text + "}"));
}

// --- Target -------------------------------------------------------------------------------------

Target::Target(const std::string& dsn) {
    const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> parsed(
        PQconninfoParse(dsn.c_str(), nullptr), PQconninfoFree);
    const char* mend =
        "; write postgresql://USER@HOST:5432/DATABASE?sslmode=verify-full, with %40 for @, %2F for "
        "/ and %3A for : inside a password";
    if (!parsed) throw std::invalid_argument(std::string("is no PostgreSQL URL") + mend);
    std::map<std::string, std::string> words{
        {"application_name", "canaryd"}, {"client_encoding", "UTF8"},  {"connect_timeout", "5"},
        {"keepalives_idle", "10"},       {"keepalives_interval", "5"}, {"keepalives_count", "3"},
        {"tcp_user_timeout", "15000"}};
    for (const PQconninfoOption* word = parsed.get(); word->keyword != nullptr; ++word) {
        if (word->val != nullptr) words[word->keyword] = word->val;
    }
    const std::string &host = words["host"], &port = words["port"], &database = words["dbname"];
    const bool has_port = std::all_of(port.begin(), port.end(),
                                      [](char c) { return (c >= '0' && c <= '9') || c == ','; });
    if (!has_port || (host + database).find('@') != std::string::npos)
        throw std::invalid_argument(
            std::string("has no host, port and database in it that could be told apart") + mend);
    has_password_ = !words["password"].empty();
    name_ = (words["user"].empty() ? "" : words["user"] + "@") + (host.empty() ? "local" : host) +
            (port.empty() ? "" : ":" + port) + (database.empty() ? "" : "/" + database);
    for (const auto& [word, value] : words) {
        if (!value.empty()) options_ += (options_.empty() ? "" : " ") + word + "=" + quoted(value);
    }
}

Target Target::of(const Connection& connection) {
    const bool plain = connection.credential.empty();
    try {
        return Target(plain ? connection.url : read_credential(connection.credential));
    } catch (const std::invalid_argument& error) {
        throw std::invalid_argument(
            (plain ? "connection " + connection.name : "credential " + connection.credential) +
            " " + error.what());
    }
}

}  // namespace canaryd::postgres
