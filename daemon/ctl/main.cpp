// canaryctl: everything an operator types.
#include <iostream>

#include "daemon/ctl/ctl.hpp"
#include "daemon/http/client.hpp"
#include "daemon/log.hpp"

namespace canaryd::ctl {
namespace {

constexpr const char* lesson = R"(Examples:
  canaryctl check policies/checkout.yaml     what it will do, or every mistake in it
  canaryctl plan checkout --traffic 60/min   what this traffic can show, before day one
  canaryctl aa checkout                      the statistics on legacy's own history
  canaryctl backtest policies/checkout.yaml --from metrics.csv
                                             the same on recorded metrics
  canaryctl start policies/checkout.yaml     begin; the policy is pinned from now on
  canaryctl status                           must I act, and what comes next
  canaryctl explain                          why it did not promote, why it rolled back
  canaryctl rollback                         everybody to legacy, now; asks nothing
  canaryctl rollback --direct checkout       the same when the daemon is down

With PostgreSQL (--database URL, or $DATABASE_URL):
  canaryctl migrate                          what canaryd needs in your database
  canaryctl doctor                           can it work there; what mends what is wrong
  canaryctl report                           the twelve monitoring queries on one page
  canaryctl rollback --direct --database URL everybody to legacy past the daemon

Exit codes:
  status     0 fine, 2 daemon unreachable, 3 rolled back, 4 held, paused or
             waiting for a person
  backtest   0 fine, 1 mistakes, 3 rolled back, 4 held or waiting for a person
  doctor     0 canaryd can work there, 1 not, or the database was not reached
  others     0 done, 1 refused or mistakes found, 2 daemon or database unreachable
  all        64 typed wrongly

Environment:
  CANARYD_SOCKET  the daemon's socket, unless --socket is given
  DATABASE_URL    the PostgreSQL of migrate, doctor, report, pin, unpin and
                  rollback --direct; plan, aa, check, start and backtest use it
                  in place of the daemon's credential
  NO_COLOR        no colours; there are none anyway where no terminal is

ROLLOUT is an id (checkout-2) or a name (its newest). It may be left out where
only one rollout is running. `canaryctl COMMAND --help` teaches each command.)";

void add_options(CLI::App& app, Options& options) {
    app.add_option("--socket", options.socket,
                   "the daemon's socket; else $CANARYD_SOCKET, else the one of a --config that is "
                   "given, else /run/canaryd/canaryd.sock")
        ->type_name("PATH");
    app.add_option("--config", options.config,
                   "canaryd.yaml: the policies folder, the connections; "
                   "/etc/canaryd/canaryd.yaml if it is there")
        ->type_name("FILE");
    app.add_flag("--json", options.json, "for programs");
    app.add_flag("--no-color,--no-colour", options.no_color, "no colours on a terminal");
    app.add_option("--width", options.width, "columns of a page, 40 to 200")
        ->type_name("N")
        ->check(CLI::Range(40, 200));
}

/// One problem a line; nothing from a file or the daemon moves the cursor.
void complain(const std::string& message) {
    std::size_t from = 0;
    std::string front = "canaryctl: ";
    while (from <= message.size()) {
        const std::size_t end = std::min(message.find('\n', from), message.size());
        std::cerr << front << escaped(message.substr(from, end - from)) << '\n';
        front = "  ";
        from = end + 1;
    }
}

/// CLI11 has exit numbers of its own; ours are 0 for help and 64 for everything else.
int parse_error(const CLI::App& app, const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
        app.exit(error, std::cout, std::cerr);
        return done;
    }
    complain(error.what());
    std::string command = "canaryctl";
    for (const CLI::App* sub : app.get_subcommands()) command += " " + sub->get_name();
    std::cerr << "  " << command << " --help\n";
    return usage;
}

int run(int argc, char** argv) {
    Options options;
    int code = done;
    CLI::App app{
        "canaryctl moves users from an old service to a new one in steps, on proof.\n"
        "It talks to canaryd on this machine.",
        "canaryctl"};
    app.footer(lesson);
    app.set_version_flag("--version", std::string("canaryctl ") + CANARYD_VERSION);
    app.fallthrough();
    app.require_subcommand(1);
    add_options(app, options);
    add_watch(app, options, code);
    add_check(app, options, code);
    add_plan(app, options, code);
    add_aa(app, options, code);
    add_init(app, options, code);
    add_rollback(app, options, code);
    add_commands(app, options, code);
    add_history(app, options, code);
    add_migrate(app, options, code);
    add_doctor(app, options, code);
    add_report(app, options, code);
    add_pin(app, options, code);
    add_backtest(app, options, code);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return parse_error(app, error);
    } catch (const Usage& error) {
        complain(error.what());
        return usage;
    } catch (const http::Unreachable& error) {
        complain(error.what());
        return unreachable;
    } catch (const std::exception& error) {
        complain(error.what());
        return refused;
    }
    std::cout.flush();
    return code;
}

}  // namespace
}  // namespace canaryd::ctl

int main(int argc, char** argv) {
    return canaryd::ctl::run(argc, argv);
}
