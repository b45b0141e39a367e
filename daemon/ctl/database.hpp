// What the commands with --database share: which database, and what its errors mean to a person.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "daemon/ctl/ctl.hpp"
#include "daemon/postgres.hpp"

namespace canaryd::ctl {

/// Where PostgreSQL writes what it is told to, and nothing for longer than this.
constexpr postgres::Limits command_limits{std::chrono::seconds{10}, std::chrono::seconds{3},
                                          std::chrono::seconds{30}};

/// --database, for this command.
CLI::Option* add_database(CLI::App& command, std::string& url);
/// Whether --database or $DATABASE_URL names one.
bool names_database(const std::string& url);
/// The one of --database, else of $DATABASE_URL. Throws Usage with the mend and without the text.
postgres::Target database_of(const std::string& url);

/// "permission denied for table x (42501: insufficient privilege)" and, on lines of their own, the
/// server's hint and ours: what mends it.
std::string explained(const postgres::Error& error);
/// Ends the command: Unreachable (exit 2) when there was no connection or its loss leaves the
/// outcome unknown, else Refused (exit 1). `what` says what was tried.
[[noreturn]] void give_up(const std::string& what, const postgres::Error& error);

/// The route that is meant: `given` (a policy's name, or its file), else the only one; if there are
/// several, the only one with users on it. Throws Refused with a list.
std::string route_of(postgres::Database& database, const std::string& given);

/// `rollback --direct` in PostgreSQL: the exit status (rollback_postgres.cpp).
int roll_back_in(const postgres::Target& target, const std::string& given,
                 const std::string& reason, const Options& options);

/// A text as it stands in SQL.
std::string sql_text(const std::string& text);

}  // namespace canaryd::ctl
