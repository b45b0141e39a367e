// What `doctor` looks at, one function a subject: private to the doctor files.
#pragma once

#include <string>
#include <vector>

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

// doctor_rights.cpp
Findings check_login(postgres::Database& database, const Login& login);
Findings check_rights(postgres::Database& database, const Login& login);
Findings check_rows(postgres::Database& database, const Login& login);
Findings check_doors(postgres::Database& database);

// doctor_schema.cpp
Findings check_schema(postgres::Database& database);
Findings check_triggers(postgres::Database& database);
Findings check_indexes(postgres::Database& database);

// doctor_server.cpp
Findings check_server(postgres::Database& database);
Findings check_clock(postgres::Database& database);
Findings check_connection(postgres::Database& database, const postgres::Target& target);

}  // namespace canaryd::ctl
