#include "canaryd/settings.hpp"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "daemon/fields.hpp"
#include "daemon/postgres.hpp"

namespace canaryd {
namespace {

/// Also a file's name and, in upper case, part of a variable's: nothing may lead elsewhere.
bool is_credential(std::string_view text) {
    return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    });
}

bool is_connection(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '-';
    });
}

/// A webhook without a secret in it: plain HTTP to a port of this machine.
bool is_loopback_url(std::string_view url) {
    for (const std::string_view front : {"http://127.0.0.1:", "http://[::1]:"}) {
        if (!url.starts_with(front)) continue;
        std::string_view rest = url.substr(front.size());
        const std::string_view port = rest.substr(0, rest.find('/'));
        const auto read = read_whole(port);
        rest.remove_prefix(port.size());
        return read.value && *read.value >= 1 && *read.value <= 65535 &&
               std::all_of(rest.begin(), rest.end(), [](char c) { return c > ' ' && c < 0x7F; });
    }
    return false;
}

void read_store(Fields& fields, Settings& settings) {
    auto store = fields.mapping("store");
    if (!store) return;
    store->known({"kind", "path", "connection"});
    assign(settings.store_kind, store->word("kind", {"sqlite", "postgres"}));
    const bool postgres = settings.store_kind == "postgres";
    if (postgres) store->require({"connection"});
    if (postgres && store->has("path")) store->problem("path", "belongs to kind sqlite; remove it");
    if (!postgres && store->has("connection")) {
        store->problem("connection", "belongs to kind postgres; remove it");
    }
    assign(settings.store_path, store->text("path", {.longest = 4000}));
    assign(settings.store_connection, store->text("connection", {.longest = 63}));
    const auto named = settings.connections.find(settings.store_connection);
    if (settings.store_connection.empty()) {
        // said, or of no account
    } else if (named == settings.connections.end()) {
        store->problem("connection", as_written(settings.store_connection) +
                                         " is not among the connections; write the name of one of "
                                         "kind postgres");
    } else if (named->second.kind != "postgres") {
        store->problem("connection", as_written(settings.store_connection) + " is of kind " +
                                         named->second.kind +
                                         "; a store needs one of kind postgres");
    }
    store->done();
}

/// "127.0.0.1:9810" or "[::1]:9810"; "off".
void read_listen(Fields& fields, Settings& settings) {
    const auto text = fields.text("listen");
    if (!text) return;
    if (*text == "off") {
        settings.listen_port = 0;
        return;
    }
    const std::size_t colon = text->rfind(':');
    std::string host = text->substr(0, colon == std::string::npos ? 0 : colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string::npos) {
        host.clear();  // which of the colons begins the port?
    }
    const auto port = read_whole(colon == std::string::npos ? "" : text->substr(colon + 1));
    boost::system::error_code no_address;
    const auto address = boost::asio::ip::make_address(host, no_address);
    if (no_address || !port.value || *port.value < 1 || *port.value > 65535) {
        fields.problem("listen", as_written(*text) +
                                     " is no address with a port; write "
                                     "127.0.0.1:9810, or off");
    } else if (!address.is_loopback()) {
        fields.problem("listen", as_written(*text) +
                                     " can be reached from other machines, and there is neither "
                                     "TLS nor a token yet to tell who asks; write "
                                     "127.0.0.1:" +
                                     std::to_string(*port.value));
    } else {
        settings.listen_address = host;
        settings.listen_port = static_cast<std::uint16_t>(*port.value);
    }
}

constexpr TextRule credential_rule{
    is_credential,
    "is no credential's name; write lower-case letters, digits and '_', and put the secret itself "
    "into that credential",
    2000, false, true};

void read_webhook(Fields& entry, Connection& connection) {
    // A Slack webhook's URL is a password: whoever writes it here must not find it in a log.
    constexpr TextRule url_rule{is_loopback_url,
                                "is refused, for it could be a secret; write {credential: NAME}, "
                                "or to try it out http://127.0.0.1:PORT/…",
                                2000, false, true};
    if (entry.is_scalar("webhook")) {
        assign(connection.url, entry.text("webhook", url_rule));
    } else if (auto webhook = entry.mapping("webhook")) {
        webhook->require({"credential"});
        assign(connection.credential, webhook->text("credential", credential_rule));
        webhook->done();
    }
}

/// A URL without a password in it may stand here.
bool is_open_dsn(std::string_view text) {
    try {
        return !postgres::Target(std::string(text)).has_password();
    } catch (const std::invalid_argument&) {
        return false;
    }
}

void read_dsn(Fields& entry, Connection& connection) {
    constexpr TextRule url_rule{
        is_open_dsn,
        "is refused: it is no PostgreSQL URL, or has a password in it; write {credential: NAME}, "
        "or without a password postgresql://USER@HOST:5432/DATABASE",
        2000, false, true};
    if (entry.is_scalar("dsn")) {
        assign(connection.url, entry.text("dsn", url_rule));
    } else if (auto dsn = entry.mapping("dsn")) {
        dsn->require({"credential"});
        assign(connection.credential, dsn->text("credential", credential_rule));
        dsn->done();
    }
}

/// Each kind has one field of its own.
constexpr std::pair<std::string_view, std::string_view> kind_fields[] = {
    {"sqlite", "path"}, {"postgres", "dsn"}, {"slack", "webhook"}};

void read_connections(Fields& fields, Settings& settings) {
    constexpr TextRule name_rule{is_connection,
                                 "is no connection's name; write letters, digits, '-' and '_'", 63};
    for (auto& [name, entry] : fields.named("connections", name_rule)) {
        Connection connection;
        connection.name = name.value;
        entry.known({"kind", "path", "dsn", "webhook"});
        entry.require({"kind"});
        assign(connection.kind, entry.word("kind", {"sqlite", "postgres", "slack"},
                                           {"prometheus", "http", "haproxy", "email", "webhook"}));
        for (const auto& [kind, field] : kind_fields) {
            if (connection.kind == kind) entry.require({field});
        }
        assign(connection.path, entry.text("path", {.longest = 4000}));
        read_webhook(entry, connection);
        read_dsn(entry, connection);
        for (const auto& [kind, field] : kind_fields) {
            if (!connection.kind.empty() && connection.kind != kind && entry.has(field)) {
                entry.problem(field, "belongs to kind " + std::string(kind) + "; remove it");
            }
        }
        entry.done();
        settings.connections.emplace(name.value, std::move(connection));
    }
}

void read_settings(Fields& fields, Settings& settings) {
    assign(settings.policies, fields.text("policies", {.longest = 4000}));
    read_listen(fields, settings);
    // The kernel's sockaddr_un holds 108 bytes with the zero at its end.
    assign(settings.socket, fields.text("socket", {.longest = 107}));
    read_connections(fields, settings);
    read_store(fields, settings);
    if (auto log = fields.mapping("log")) {
        assign(settings.log_level,
               log->word("level", {"debug", "info", "notice", "warning", "error"}));
        log->done();
    }
    fields.done();
}

std::string checked_secret(std::string secret, const std::string& where) {
    while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
    if (secret.empty()) throw std::runtime_error(where + " is empty");
    if (secret.find('\0') != std::string::npos) {
        throw std::runtime_error(where + " has a NUL byte in it");
    }
    return secret;
}

}  // namespace

ParsedSettings parse_settings(std::string_view text, const std::string& file,
                              const std::string& state_dir) {
    Problems problems(file);
    Settings settings;
    if (!state_dir.empty()) {
        const std::string slash = state_dir.back() == '/' ? "" : "/";
        settings.store_path = state_dir + slash + "canaryd.db";
        settings.socket = state_dir + slash + "canaryd.sock";
    }
    const Yaml root = read_yaml(text, problems);
    if (root.kind != Yaml::Kind::empty && root.kind != Yaml::Kind::broken) {
        Fields fields(root, "", problems);
        read_settings(fields, settings);
    }
    if (!problems.empty()) return {std::nullopt, problems.in_file_order()};
    return {std::move(settings), {}};
}

std::string read_credential(const std::string& name) {
    const std::string what = "credential " + as_written(name);
    if (!is_credential(name)) throw std::runtime_error(what + ": not a credential's name");
    std::string variable = "CANARYD_CRED_" + name;
    std::transform(variable.begin(), variable.end(), variable.begin(), [](char c) {
        return static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    });
    std::string file = "$CREDENTIALS_DIRECTORY/" + name + " (the variable is not set)";
    if (const char* folder = std::getenv("CREDENTIALS_DIRECTORY")) {
        file = std::string(folder) + "/" + name;
        std::ifstream stream(file, std::ios::binary);
        if (stream) {
            const std::istreambuf_iterator<char> begin(stream), end;
            return checked_secret(std::string(begin, end), what + ": " + file);
        }
        file += std::string(" (") + std::strerror(errno) + ")";
    }
    if (const char* value = std::getenv(variable.c_str())) {
        return checked_secret(value, what + ": $" + variable);
    }
    throw std::runtime_error(what + ": neither " + file + " nor $" + variable + " is there");
}

}  // namespace canaryd
