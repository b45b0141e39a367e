// The files of deploy/sql as they were when this program was built (CMakeLists.txt).
#pragma once

#include <string>
#include <vector>

namespace canaryd::ctl {

struct SqlFile {
    std::string name;  // "0001_user_schema.sql"
    std::string text;
};

/// Those that `migrate` applies, in their order, and down.sql; sorted by name.
const std::vector<SqlFile>& all_sql_files();

}  // namespace canaryd::ctl
