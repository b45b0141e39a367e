// status, explain, route: what can be looked at.
#include <unistd.h>

#include <array>
#include <chrono>
#include <iostream>
#include <thread>

#include "daemon/ctl/ctl.hpp"
#include "daemon/http/client.hpp"
#include "daemon/log.hpp"

namespace canaryd::ctl {
namespace {

struct Status {
    std::string rollout;
    bool watch = false;
};

std::string status_target(const Options& options, const Status& asked) {
    const text::Paper paper = paper_of(options);
    std::string target =
        "/status?width=" + std::to_string(paper.width) + "&colour=" + (paper.colour ? "1" : "0");
    if (!asked.rollout.empty()) target += "&rollout=" + url_encoded(asked.rollout);
    return target;
}

/// One page; its exit status is the daemon's word, so that scripts and people see the same.
int status_once(const Options& options, const Status& asked) {
    std::string query = asked.rollout.empty() ? "" : "?rollout=" + url_encoded(asked.rollout);
    const json::value document = get_json(options, "/status" + query);
    if (options.json) {
        print_json(document);
    } else {
        std::cout << get_text(options, status_target(options, asked)) << std::flush;
    }
    return static_cast<int>(whole_of(document, "exit_code"));
}

/// Until interrupted. A daemon that restarts is waited for.
[[noreturn]] void watch(const Options& options, const Status& asked) {
    const bool terminal = ::isatty(STDOUT_FILENO) != 0 && !options.json;
    for (;;) {
        if (terminal) std::cout << "\x1b[H\x1b[2J";
        try {
            status_once(options, asked);
        } catch (const http::Unreachable& error) {
            std::cerr << escaped(error.what()) << "; trying again\n";
        }
        if (!terminal && !options.json) std::cout << '\n';
        std::cout.flush();
        std::this_thread::sleep_for(std::chrono::seconds{2});
    }
}

void add_status(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<Status>();
    CLI::App* command =
        app.add_subcommand("status", "must I act, what comes next, and the evidence");
    command->add_option("rollout", asked->rollout, "all of them without")->type_name("ROLLOUT");
    command->add_flag("--watch", asked->watch, "again every 2 s, until interrupted");
    command->footer(
        "Examples:\n  canaryctl status\n  canaryctl status checkout --watch\n"
        "  canaryctl status --json | jq .rollouts[0].state\n\n"
        "Exit codes: 0 fine, 2 daemon unreachable, 3 rolled back, 4 held, paused or\n"
        "waiting for a person.");
    command->callback([&options, &code, asked] {
        if (asked->watch) watch(options, *asked);
        code = status_once(options, *asked);
    });
}

/// [ROLLOUT] [trigger NAME]
struct Explain {
    std::array<std::string, 3> words;
    bool maths = false;
    std::uint64_t revision = 0;  // 0: as it is now
};

/// What the daemon says of the present, said of an earlier entry of the journal.
int explain_then(const Options& options, const std::string& id, const Explain& asked,
                 const std::string& trigger) {
    const Then then = rollout_at(options, id, asked.revision);
    const std::string page = !trigger.empty() ? text::explain_trigger(then.view, trigger)
                             : asked.maths    ? text::explain_maths(then.view)
                                              : text::explain(then.view);
    const std::string head = "As of revision " + std::to_string(asked.revision) + ", " +
                             text::moment(then.view.now) + ": " + then.reason + "\n\n";
    if (options.json) {
        print_json(json::object{{"text", head + page}});
    } else {
        print_lines(head + page, options);
    }
    return done;
}

int explain(const Options& options, const Explain& asked) {
    std::vector<std::string> words;
    for (const std::string& word : asked.words) {
        if (!word.empty()) words.push_back(word);
    }
    const std::size_t named = words.size() == 1 || words.size() == 3 ? 1 : 0;
    std::string trigger;
    if (words.size() >= 2) {
        if (words[named] != "trigger") {
            throw Usage("canaryctl explain takes [ROLLOUT] [trigger NAME]");
        }
        trigger = words[named + 1];
    } else if (named == 1 && words[0] == "trigger") {
        throw Usage(
            "canaryctl explain trigger needs the trigger's NAME; canaryctl status shows "
            "which is closest");
    }
    const std::string id = rollout_of(options, named == 1 ? words[0] : "", Meant::newest);
    if (!trigger.empty() && asked.maths) {
        throw Usage("canaryctl explain --maths is about the criteria; leave out the trigger");
    }
    if (asked.revision > 0) return explain_then(options, id, asked, trigger);
    std::string target = "/api/v1/rollouts/" + url_encoded(id) + "/explain";
    if (!trigger.empty()) target += "?trigger=" + url_encoded(trigger);
    if (asked.maths) target += "?maths=1";
    const json::value document = get_json(options, target);
    if (options.json) {
        print_json(document);
    } else {
        print_lines(string_of(document, "text"), options);
    }
    return done;
}

void add_explain(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<Explain>();
    CLI::App* command =
        app.add_subcommand("explain", "why it did not promote, why it rolled back; or a trigger");
    command->add_option("rollout", asked->words[0], "the only one without")->type_name("ROLLOUT");
    command->add_option("trigger", asked->words[1], "the word `trigger`")->type_name("trigger");
    command->add_option("name", asked->words[2], "its counts, to be checked by hand")
        ->type_name("NAME");
    command->add_flag("--maths", asked->maths, "the ledgers' numbers, to be worked out again");
    command
        ->add_option("--revision", asked->revision,
                     "as it was after this entry of the journal (canaryctl history)")
        ->type_name("N")
        ->check(CLI::PositiveNumber);
    command->footer(
        "Examples:\n  canaryctl explain\n  canaryctl explain --maths\n  canaryctl explain "
        "--revision 641\n  canaryctl explain trigger "
        "error-burst\n"
        "  canaryctl explain checkout-2 trigger error-burst");
    command->callback([&options, &code, asked] { code = explain(options, *asked); });
}

struct Route {
    std::string user, rollout;
};

int route(const Options& options, const Route& asked) {
    const std::string id = rollout_of(options, asked.rollout, Meant::newest);
    const json::value document = get_json(
        options, "/api/v1/rollouts/" + url_encoded(id) + "/route?user=" + url_encoded(asked.user));
    if (options.json) {
        print_json(document);
        return done;
    }
    const json::value* served = document.as_object().if_contains("served_by");
    std::vector<std::string> by;
    if (served != nullptr && served->is_array()) {
        for (const json::value& one : served->get_array()) {
            if (one.is_string()) by.emplace_back(one.get_string().c_str());
        }
    }
    const std::int64_t bucket = whole_of(document, "bucket");
    print_lines(string_of(document, "user") + ": " +
                    (string_of(document, "route") == "canary" ? "canary" : "legacy") +
                    (by.empty() ? "" : " (" + text::list(by) + ")") + "; bucket " +
                    text::number(bucket) + " of 10,000, on the canary from " +
                    text::weight(Weight{static_cast<int>(bucket) + 1}) + " on",
                options);
    return done;
}

void add_route(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<Route>();
    CLI::App* command =
        app.add_subcommand("route", "which side a user is on, and from which share");
    command->add_option("user", asked->user, "the id that the application routes by")
        ->type_name("USER")
        ->required();
    command->add_option("rollout", asked->rollout, "the only one without")->type_name("ROLLOUT");
    command->footer("Example:\n  canaryctl route 7f3a81c2-90be-4d1f-8a55-0f6f3a1c9d22");
    command->callback([&options, &code, asked] { code = route(options, *asked); });
}

}  // namespace

void add_watch(CLI::App& app, const Options& options, int& code) {
    add_status(app, options, code);
    add_explain(app, options, code);
    add_route(app, options, code);
}

}  // namespace canaryd::ctl
