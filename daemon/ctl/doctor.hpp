// What `doctor` looks at, one function a subject: private to the doctor files.
#pragma once

#include <string>
#include <vector>

#include "canaryd/policy.hpp"
#include "daemon/postgres.hpp"

namespace canaryd::ctl {

enum class Grade { ok, note, bad };

struct Finding {
    Grade grade = Grade::bad;
    std::string subject;            // one word
    std::string seen;               // a sentence
    std::vector<std::string> mend;  // SQL, or a sentence; empty where nothing is to be done
};
using Findings = std::vector<Finding>;

/// Whose rights are looked at: the daemon's.
struct Login {
    std::string name, quoted;  // as it is, and as SQL wants it
};

/// The tables of the first user's plan that canaryd reads.
inline const std::vector<std::string> plan_tables{
    "public.webhook_metrics", "public.migration_status", "public.migration_rollbacks",
    "public.webhook_dlq"};

// doctor_rights.cpp
Findings check_login(postgres::Database& database, const Login& login);
Findings check_rights(postgres::Database& database, const Login& login);
/// `tables`: "schema.table", as SQL wants it.
Findings check_rows(postgres::Database& database, const Login& login,
                    const std::vector<std::string>& tables);
Findings check_doors(postgres::Database& database);

// doctor_policy.cpp
Findings check_policy(postgres::Database& database, const Login& login, const Policy& policy);

// doctor_schema.cpp
Findings check_schema(postgres::Database& database);
Findings check_triggers(postgres::Database& database);
Findings check_indexes(postgres::Database& database);

// doctor_server.cpp
Findings check_server(postgres::Database& database);
Findings check_clock(postgres::Database& database);
Findings check_connection(postgres::Database& database, const postgres::Target& target);

}  // namespace canaryd::ctl
