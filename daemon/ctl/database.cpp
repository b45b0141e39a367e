// Which database a command is about, and what PostgreSQL's errors mean to a person.
#include "daemon/ctl/database.hpp"

#include <array>
#include <cstdlib>

#include "daemon/http/client.hpp"

namespace canaryd::ctl {
namespace {

constexpr const char* write_url =
    "--database postgresql://USER@HOST:5432/DATABASE?sslmode=verify-full, or $DATABASE_URL";

struct Meaning {
    std::string_view sign;  // how the code begins, or words of the message
    const char* means;
    const char* mend;
};

/// The first that fits.
constexpr std::array codes{
    Meaning{"28", "the login was refused",
            "is the password in the URL, in ~/.pgpass or in $PGPASSWORD the login's?"},
    Meaning{"3D000", "no such database", "the database is the URL's last part, after the port"},
    Meaning{"42501", "insufficient privilege",
            "connect as the owner of the user table (on Supabase postgres), or let canaryctl "
            "doctor name the GRANT that is missing"},
    Meaning{"3F000", "no such schema", "canaryctl migrate --database URL makes it"},
    Meaning{"42P01", "no such table", "canaryctl migrate --database URL makes it"},
    Meaning{"42883", "no such function", "canaryctl migrate --database URL makes it"},
    Meaning{"42703", "no such column", "canaryctl migrate --database URL makes what is canaryd's"},
    Meaning{"42P17", "not possible with this object", nullptr},
    Meaning{"42710", "it is there already", nullptr},
    Meaning{"42P07", "it is there already", nullptr},
    Meaning{"25006", "this server only reads",
            "it is a standby, or was set to read-only as providers do when its disk is full: "
            "connect to the primary, or make room"},
    Meaning{"55P03", "somebody holds a lock",
            "who: select pid, usename, state, query from pg_stat_activity where pid in (select "
            "unnest(pg_blocking_pids(pid)) from pg_stat_activity); then the same command again"},
    Meaning{"57014", "it took longer than allowed",
            "the same command again, when the server is less busy"},
    Meaning{"57P", "the server ended the connection", "the same command again"},
    Meaning{"08", "the connection was lost", "the same command again"},
    Meaning{"53100", "the server's disk is full", "make room on it"},
    Meaning{"53300", "too many connections",
            "use the pooler's address, or end sessions that nobody needs"},
    Meaning{"53", "the server lacks resources", "the same command again, when it is less busy"},
    Meaning{"40P01", "a deadlock, ended by the server", "the same command again"},
    Meaning{"40", "undone by the server", "the same command again"},
    Meaning{"54", "a limit of the server", nullptr},
    Meaning{"22P05", "a character that the database's encoding does not have",
            "the database has to be in UTF8"},
    Meaning{"23", "a constraint of the table refused it", nullptr},
};

/// Refusals to connect, which come without a code.
constexpr std::array refusals{
    Meaning{"assword", "the login was refused",
            "is the password in the URL, in ~/.pgpass or in $PGPASSWORD the login's? In a URL @ is "
            "%40, / is %2F, : is %3A"},
    Meaning{"role \"", "no such login",
            "the login is the URL's first part; canaryctl migrate makes the role canaryd"},
    Meaning{"enant or user not found", "the pooler does not know this login",
            "behind Supabase's pooler the login is ROLE.PROJECT: postgres.abcdefgh"},
    Meaning{"database \"", "no such database",
            "the database is the URL's last part, after the port"},
    Meaning{"no pg_hba.conf entry", "the server lets nobody in from here so",
            "add ?sslmode=require to the URL, or a line to the server's pg_hba.conf"},
    Meaning{"SSL", "no TLS as it was asked for",
            "sslmode=require takes any certificate, sslmode=verify-full wants one that is signed "
            "by sslrootcert=FILE"},
    Meaning{"translate host name", "no such host", "is the host's name spelled rightly?"},
    Meaning{"etwork is unreachable", "no way to the host",
            "an address that only speaks IPv6 needs IPv6 here, or the provider's pooler"},
    Meaning{"onnection refused", "nobody listens there",
            "is the server up, and the host and port its own?"},
    Meaning{"connection slots", "too many connections",
            "use the pooler's address, or end sessions that nobody needs"},
    Meaning{"too many", "too many connections",
            "use the pooler's address, or end sessions that nobody needs"},
    Meaning{"imeout expired", "no answer",
            "is there a firewall between, and is the server up? ?connect_timeout=20 waits longer"},
    Meaning{"starting up", "the server is starting", "the same command again in a moment"},
    Meaning{"shutting down", "the server is going down", "the same command again when it is up"},
};

const Meaning* meaning_of(const postgres::Error& error) {
    for (const Meaning& one : codes) {
        if (!error.sqlstate().empty() && error.sqlstate().starts_with(one.sign)) return &one;
    }
    const std::string_view what = error.what();
    for (const Meaning& one : refusals) {
        if (error.sqlstate().empty() && what.find(one.sign) != std::string_view::npos) return &one;
    }
    return nullptr;
}

}  // namespace

CLI::Option* add_database(CLI::App& command, std::string& url) {
    return command
        .add_option("--database", url,
                    "postgresql://USER@HOST:5432/DATABASE or libpq's words; else $DATABASE_URL. "
                    "A password may stand in ~/.pgpass or $PGPASSWORD")
        ->type_name("URL");
}

bool names_database(const std::string& url) {
    const char* named = std::getenv("DATABASE_URL");
    return !url.empty() || (named != nullptr && *named != '\0');
}

postgres::Target database_of(const std::string& url) {
    if (!names_database(url)) throw Usage(std::string("which database? ") + write_url);
    const bool written = !url.empty();
    try {
        return postgres::Target(written ? url : std::getenv("DATABASE_URL"));
    } catch (const std::invalid_argument& error) {
        throw Usage((written ? "--database " : "$DATABASE_URL ") + std::string(error.what()));
    }
}

std::string explained(const postgres::Error& error) {
    const std::string words = error.said().empty() ? error.what() : error.said();
    const std::size_t end = std::min(words.find('\n'), words.size());
    std::string text = words.substr(0, end);
    const Meaning* meaning = meaning_of(error);
    if (!error.sqlstate().empty() && error.sqlstate() != "P0001") {
        text += " (" + error.sqlstate() +
                (meaning == nullptr ? "" : std::string(": ") + meaning->means) + ")";
    } else if (meaning != nullptr) {
        text += std::string(": ") + meaning->means;
    }
    text += words.substr(end);
    if (meaning != nullptr && meaning->mend != nullptr && end == words.size())
        text += std::string("\n") + meaning->mend;
    return text;
}

void give_up(const std::string& what, const postgres::Error& error) {
    const std::string message = (what.empty() ? "" : what + ": ") + explained(error);
    if (dynamic_cast<const postgres::UnknownOutcome*>(&error) != nullptr) {
        throw http::Unreachable(message + "\nwhether it was done is not known");
    }
    if (dynamic_cast<const postgres::Broken*>(&error) != nullptr) throw http::Unreachable(message);
    throw Refused(message);
}

std::string route_of(postgres::Database& database, const std::string& given) {
    if (given.find('/') != std::string::npos || given.ends_with(".yaml")) {
        const ParsedPolicy parsed = parse_policy(read_file(given), given);
        if (parsed.policy) return parsed.policy->name;
        print_problems(parsed.problems);
        throw Refused(given + " has mistakes; write the policy's name instead");
    }
    if (!given.empty()) return given;
    const auto routes = database.read("select name, weight from canaryd.route order by name");
    if (routes.empty()) throw Refused("canaryd.route has no row: nobody is routed by it");
    if (routes.size() == 1) return routes.text(0, 0);
    std::vector<std::string> all, used;
    for (int row = 0; row < routes.size(); ++row) {
        all.push_back(routes.text(row, 0));
        if (routes.integer(row, 1) > 0) used.push_back(all.back());
    }
    if (used.size() == 1) return used.front();
    throw Refused("say which route: " + text::list(used.empty() ? all : used));
}

std::string sql_text(const std::string& text) {
    std::string quoted = "'";
    for (const char c : text) quoted += c == '\'' ? std::string("''") : std::string(1, c);
    return quoted + "'";
}

}  // namespace canaryd::ctl
