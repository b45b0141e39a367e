// canaryctl: one small file for each group of commands; what they share is here.
#pragma once

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "canaryd/planner.hpp"
#include "canaryd/self_test.hpp"
#include "canaryd/settings.hpp"
#include "canaryd/text.hpp"
#include "canaryd/view.hpp"

namespace canaryd::backtest {
struct Reading;
}

namespace canaryd::ctl {

namespace json = boost::json;

/// What a shell script can rely on.
enum Exit { done = 0, refused = 1, unreachable = 2, rolled_back = 3, waits = 4, usage = 64 };

/// What every command takes.
struct Options {
    std::string socket;  // empty: the environment, the settings, the default
    std::string config;  // empty: /etc/canaryd/canaryd.yaml if it is there
    bool json = false;
    bool no_color = false;
    int width = 0;  // 0: the terminal's, 80 elsewhere
};

/// Typed wrongly: exit 64. The message names the mend.
struct Usage : std::runtime_error {
    using std::runtime_error::runtime_error;
};
/// Refused, or mistakes found: exit 1.
struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Each adds its commands to the app; running one writes its exit status to `code`.
void add_check(CLI::App& app, const Options& options, int& code);
void add_plan(CLI::App& app, const Options& options, int& code);
void add_aa(CLI::App& app, const Options& options, int& code);
void add_init(CLI::App& app, const Options& options, int& code);
void add_watch(CLI::App& app, const Options& options, int& code);     // status, explain, route
void add_history(CLI::App& app, const Options& options, int& code);   // history, verify
void add_commands(CLI::App& app, const Options& options, int& code);  // start, pause, promote …
void add_rollback(CLI::App& app, const Options& options, int& code);
// In PostgreSQL, without the daemon.
void add_migrate(CLI::App& app, const Options& options, int& code);
void add_doctor(CLI::App& app, const Options& options, int& code);
void add_report(CLI::App& app, const Options& options, int& code);
void add_pin(CLI::App& app, const Options& options, int& code);  // pin, unpin
void add_backtest(CLI::App& app, const Options& options, int& code);

// --- records of the past (backtest.cpp) -------------------------------------------------------

/// What to read: a file as it is, else a table of the policy's connection; empty: its own table.
/// Throws Refused with the mend.
backtest::Reading reading_of(const Options& options, const Policy& policy, const std::string& from);

// --- the planner (plan.cpp, aa.cpp) -----------------------------------------------------------

/// What legacy's history says: its traffic, and what acted on it at each step; at 100 % everybody
/// plays the canary, with nothing beside it.
struct Past {
    Traffic traffic;
    std::vector<SelfTest> tests;  // in the order of the policy's steps
};
/// From a file, or with an empty name from the table of the policy's source. Throws with the
/// reason, and when its rows are not read within `patience`; 0: however long that takes.
Past read_past(const Options& options, const Policy& policy, const std::string& file,
               Duration patience = Duration{0});
/// `said`: "N/min[, AGENT=SHARE…]", a file of requests, or empty: the table of the policy's source.
/// Throws Usage with the mend. `patience` as of read_past().
Plan plan_of(const Options& options, const Policy& policy, const std::string& said,
             Duration patience = Duration{0});
json::object plan_json(const Policy& policy, const Plan& plan);
/// Before a rollout: notes of what its traffic cannot show and which assumption breaks, on stderr.
/// Throws Refused where a trigger would roll back more than one healthy rollout in 100.
void preflight(const Options& options, const Policy& policy, bool accept_false_rollbacks);

// --- files (files.cpp) ------------------------------------------------------------------------

/// The settings of --config; all defaults when there is no file at the default place.
Settings load_settings(const Options& options);
/// A policy's file: a path as it is, else NAME.yaml in the policies folder.
std::string policy_path(const Options& options, const std::string& file_or_name);
/// The file's bytes, at most 1 MiB. Throws Refused with the reason.
std::string read_file(const std::string& path);
/// Whom programs ask for a route in PostgreSQL that is not the one of get_webhook_route(); empty
/// where that is no question, as far as the policy and --config tell.
std::string route_note(const Options& options, const Policy& policy);
/// without_counts(), and says on stderr what is left out.
Policy policy_of_requests(const Options& options, const Policy& policy);
/// All of a policy's problems, one a line, on stderr.
void print_problems(const std::vector<Problem>& problems);

// --- the terminal (files.cpp) -----------------------------------------------------------------

text::Paper paper_of(const Options& options);
/// Lines from the daemon: each escaped and wrapped.
void print_lines(const std::string& lines, const Options& options);
/// The caller's login: who gives a command.
std::string user_name();
/// A document as the daemon sent it, on a line of its own.
void print_json(const json::value& document);

// --- the daemon (talk.cpp) --------------------------------------------------------------------

std::string socket_of(const Options& options);
/// "a b" becomes "a%20b": a value in a query or path.
std::string url_encoded(std::string_view text);
std::string get_text(const Options& options, const std::string& target);
json::value get_json(const Options& options, const std::string& target);
/// Throws Refused with the daemon's own sentences when it says no.
json::value post(const Options& options, const std::string& target, const json::object& body);

/// Fields of the daemon's answers; an answer without them is not understood (Refused).
std::string string_of(const json::value& document, std::string_view field);
std::int64_t whole_of(const json::value& document, std::string_view field);

/// Which rollout a command without an argument means.
enum class Meant {
    running,       // the only unfinished one
    newest,        // that, else the newest
    needs_someone  // a rolled back one that nobody acknowledged, else the only unfinished one
};
/// Its id; `given` as it is. Throws Refused with a sentence that lists them when it is not clear.
std::string rollout_of(const Options& options, const std::string& given, Meant meant);

/// The rollout as it was after that entry of its journal, worked out again from the entries before
/// it; `reason` is the entry's (history.cpp). Throws Refused when there is no such entry.
struct Then {
    View view;
    std::string reason;
};
Then rollout_at(const Options& options, const std::string& id, std::uint64_t revision);

}  // namespace canaryd::ctl
