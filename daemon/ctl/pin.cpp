// pin, unpin: one user on one side whatever the weight is, for testers.
#include <iostream>

#include "daemon/ctl/database.hpp"
#include "daemon/log.hpp"

namespace canaryd::ctl {
namespace {

struct Pin {
    std::string url, user, side, route, reason;
};

template <class Work>
int in_database(const std::string& url, Work work) {
    const postgres::Target target = database_of(url);
    postgres::Database database([target] { return target; });
    try {
        return work(database);
    } catch (const std::invalid_argument& error) {  // a NUL cannot be typed, but a script can
        throw Usage(error.what());
    } catch (const postgres::Error& error) {
        give_up("", error);
    }
}

int pin(const Options& options, const Pin& asked) {
    return in_database(asked.url, [&](postgres::Database& database) {
        const std::string route = route_of(database, asked.route);
        database.write("select canaryd.pin($1, $2, $3, $4, $5)", route, asked.user, asked.side,
                       user_name(), asked.reason);
        if (options.json) {
            print_json(json::object{{"route", route}, {"user", asked.user}, {"side", asked.side}});
            return done;
        }
        print_lines(asked.user + " is on " + asked.side + " of " + route +
                        " now, whatever its weight is, also after a rollback. Pinned users are no "
                        "evidence of anybody else's. It ends with: canaryctl unpin " +
                        asked.user,
                    options);
        return done;
    });
}

int unpin(const Options& options, const Pin& asked) {
    return in_database(asked.url, [&](postgres::Database& database) {
        const std::string route = route_of(database, asked.route);
        const bool was =
            database.write("select canaryd.unpin($1, $2)", route, asked.user).boolean(0, 0);
        if (options.json) {
            print_json(json::object{{"route", route}, {"user", asked.user}, {"was_pinned", was}});
        } else {
            print_lines(asked.user + (was ? " goes by the weight of " + route + " again."
                                          : " was not pinned in " + route + "."),
                        options);
        }
        return done;
    });
}

void add_words(CLI::App& command, Pin& asked) {
    add_database(command, asked.url);
    command.add_option("--route", asked.route, "the policy's name; the only route without")
        ->type_name("NAME");
}

constexpr const char* pin_lesson =
    "Examples:\n  canaryctl pin 7f3a81c2-90be-4d1f-8a55-0f6f3a1c9d22 canary --reason 'QA, Amina'\n"
    "  canaryctl unpin 7f3a81c2-90be-4d1f-8a55-0f6f3a1c9d22\n\n"
    "In the PostgreSQL of --database or $DATABASE_URL; who is pinned is in canaryd.pins.";

}  // namespace

void add_pin(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<Pin>();
    CLI::App* command =
        app.add_subcommand("pin", "one user on one side whatever the weight is, for testers");
    command->add_option("user", asked->user, "the id that the application routes by")
        ->type_name("USER")
        ->required();
    command->add_option("side", asked->side, "canary or legacy")
        ->type_name("canary|legacy")
        ->required()
        ->check(CLI::IsMember({"canary", "legacy"}));
    command->add_option("--reason", asked->reason, "for whoever finds it later")->type_name("WHY");
    add_words(*command, *asked);
    command->footer(pin_lesson);
    command->callback([&options, &code, asked] { code = pin(options, *asked); });

    const auto gone = std::make_shared<Pin>();
    CLI::App* back = app.add_subcommand("unpin", "that user goes by the weight again");
    back->add_option("user", gone->user, "the id that was pinned")->type_name("USER")->required();
    add_words(*back, *gone);
    back->footer(pin_lesson);
    back->callback([&options, &code, gone] { code = unpin(options, *gone); });
}

}  // namespace canaryd::ctl
