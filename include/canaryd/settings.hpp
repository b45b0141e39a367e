// What canaryd.yaml says: where the daemon itself lives. Policies say what it does.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "canaryd/policy.hpp"

namespace canaryd {

/// One named connection. Secrets are never text in the file: `{credential: NAME}` is looked up in
/// $CREDENTIALS_DIRECTORY/NAME, else in the variable CANARYD_CRED_NAME (upper case).
struct Connection {
    std::string name;
    std::string kind;        // sqlite, postgres, slack
    std::string path;        // sqlite: a file
    std::string credential;  // slack: of the webhook's URL; postgres: of the connection's (dsn)
    // Without a secret in it. slack: http:// on loopback, for trying out; postgres: a URL or
    // libpq's words, for a login that needs no password (a socket, a certificate, ~/.pgpass).
    std::string url;
};

struct Settings {
    std::string store_kind = "sqlite";  // or postgres
    /// sqlite: the file. Its folder is the daemon's own in either case.
    std::string store_path = "/var/lib/canaryd/canaryd.db";
    std::string store_connection;  // postgres: a name in `connections`
    std::string policies = "/etc/canaryd/policies";
    std::string listen_address = "127.0.0.1";
    std::uint16_t listen_port = 9810;  // 0: none
    std::string socket = "/run/canaryd/canaryd.sock";
    std::map<std::string, Connection> connections;
    std::string log_level = "info";  // debug, info, notice, warning, error
};

struct ParsedSettings {
    std::optional<Settings> settings;
    std::vector<Problem> problems;
};
/// Reads canaryd.yaml's text; an empty text is all defaults. `state_dir`, when given, moves the
/// store and the socket there.
ParsedSettings parse_settings(std::string_view text, const std::string& file,
                              const std::string& state_dir = {});

/// The secret of a credential, without a trailing newline. Throws with the two places it looked.
std::string read_credential(const std::string& name);

}  // namespace canaryd
