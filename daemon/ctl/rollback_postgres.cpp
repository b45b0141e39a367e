// rollback --direct in PostgreSQL: canaryd.rollback(), and the flags of those who read the column.
#include <chrono>
#include <iostream>
#include <thread>

#include "daemon/ctl/database.hpp"
#include "daemon/log.hpp"
#include "daemon/postgres.hpp"
#include "daemon/postgres_user_tables.hpp"

namespace canaryd::ctl {
namespace {

struct Row {
    Weight weight;
    std::int64_t revision = 0;
    std::string by, readers;
};

Row read_row(postgres::Database& database, const std::string& name) {
    const auto rows = database.read(
        "select weight, revision, by, readers from canaryd.route where name = $1", name);
    if (rows.empty()) {
        throw Refused("canaryd.route has no row " + name +
                      "; who else is there: select name, weight from canaryd.route");
    }
    return {Weight{static_cast<int>(rows.integer(0, 0))}, rows.integer(0, 1), rows.text(0, 2),
            rows.text(0, 3)};
}

/// Lowering may be repeated, so that a lost connection or somebody's lock is only a moment.
void order(postgres::Database& database, const std::string& name, const std::string& reason) {
    constexpr int tries = 3;
    for (int i = 1;; ++i) {
        try {
            database.write("select canaryd.rollback($1, $2)", reason, name);
            return;
        } catch (const postgres::Refused&) {
            throw;
        } catch (const postgres::Error&) {
            if (i == tries) throw;
        }
        std::this_thread::sleep_for(std::chrono::seconds{1});
    }
}

/// What a running daemon does by itself. Stopping it in the middle loses nothing; rows that
/// somebody keeps locked are not waited for without end.
std::string follow(postgres::Database& database, const std::string& name, bool loud) {
    constexpr int patience = 300;  // a tenth of a second each
    constexpr std::int64_t blocks = 64;
    std::int64_t changed = 0;
    const std::string others =
        "A running daemon sees to it, or as the owner: call canaryd.follow(" + sql_text(name) + ")";
    try {
        std::int64_t in_vain = 0;
        for (;;) {
            const auto row = database.write(
                "select done, changed, at_block, of_blocks from canaryd.follow_flags($1, $2)", name,
                blocks);
            changed += row.integer(0, 1);
            if (row.boolean(0, 0)) break;
            const std::int64_t at = row.integer(0, 2), of = row.integer(0, 3);
            if (loud && of > 0) std::cout << "\rflags: " << at * 100 / of << " % " << std::flush;
            in_vain = row.integer(0, 1) == 0 ? in_vain + 1 : 0;
            // Others hold the rows, or a daemon is at it: two passes of four batches a place that
            // change nothing would have been the end.
            const std::int64_t two_passes = 2 * 4 * (of / blocks + 1);
            if (in_vain == two_passes + patience)
                return "the flags have not all followed yet. " + others;
            if (in_vain > two_passes) std::this_thread::sleep_for(std::chrono::milliseconds{100});
        }
    } catch (const postgres::Error& error) {
        if (loud) std::cout << '\n';
        return "the flags did not follow here: " + explained(error) + "\n" + others;
    }
    if (loud) std::cout << "\r";
    return text::counted(changed, "flag", "flags") + " set back for readers of the column";
}

}  // namespace

int roll_back_in(const postgres::Target& target, const std::string& given,
                 const std::string& reason, const Options& options) {
    const std::string by = user_name() + ", canaryctl rollback --direct";
    const std::string why = reason.empty() ? by : reason + " (" + by + ")";
    postgres::Database database([target] { return target; });
    try {
        const std::string name = route_of(database, given);
        const Row before = read_row(database, name);
        order(database, name, why);
        const Row after = read_row(database, name);
        if (after.weight > nobody) {
            throw Refused("the route says " + text::weight(after.weight) + " again, set by " +
                          after.by);
        }
        const bool flags = name == user_tables::flagged_route && after.readers != "function";
        const std::string sql = "select canaryd.rollback('why', " + sql_text(name) + ");";
        if (!options.json) {
            std::cout << escaped(name) << ": the route was " << text::weight(before.weight)
                      << " and is 0 % now, read back: users are on legacy.\n";
        }
        const std::string followed =
            flags ? follow(database, name, paper_of(options).colour) : std::string();
        if (options.json) {
            print_json(json::object{{"name", name},
                                    {"was", before.weight.basis_points / 100.0},
                                    {"weight", 0},
                                    {"revision", after.revision},
                                    {"by", after.by},
                                    {"flags", followed},
                                    {"sql", sql}});
            return done;
        }
        if (flags) print_lines(followed, options);
        std::cout
            << "A running daemon records it at its next read-back, else the next start does.\n"
            << "By hand, in " << escaped(database.name()) << ":\n  " << escaped(sql) << '\n';
        return done;
    } catch (const postgres::Error& error) {
        const std::string& state = error.sqlstate();
        const bool unmade = state == "3F000" || state == "42P01" || state == "42883";
        if (!unmade) give_up("", error);
        throw Refused(
            explained(error) +
            "\nuntil then the flags decide: UPDATE users SET use_unified_webhook = false;");
    }
}

}  // namespace canaryd::ctl
