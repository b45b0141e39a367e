// start, pause, resume, promote, extend, finish, ack, notify-test: what changes a rollout.
#include <filesystem>
#include <iostream>

#include "daemon/ctl/ctl.hpp"
#include "daemon/log.hpp"
#include "daemon/units.hpp"

namespace canaryd::ctl {
namespace {

struct VerbAsked {
    std::string rollout, reason, duration;
    bool override_proof = false;
};

/// A command on a rollout: its words in the shell and its place in the API.
struct Verb {
    const char* name;
    const char* endpoint;
    const char* help;
    const char* footer;
    bool needs_reason;
    Meant meant;
};

constexpr Verb pause_verb{
    "pause",
    "pause",
    "stop advancing; the watch goes on and still rolls back",
    "Example:\n  canaryctl pause --reason 'office move'\n\nGo on: canaryctl resume --reason WHY",
    false,
    Meant::running};
constexpr Verb resume_verb{"resume",
                           "resume",
                           "go on after a pause, or after a hold",
                           "Example:\n  canaryctl resume --reason 'fixed the broken agent'",
                           true,
                           Meant::running};
constexpr Verb promote_verb{
    "promote",
    "promote",
    "the next step now: waives the rest of the bake, never the proof (see --override)",
    "Examples:\n  canaryctl promote --reason 'enough seen'\n"
    "  canaryctl promote --override --reason 'lead decided, ticket 12'",
    true,
    Meant::running};
constexpr Verb extend_verb{"extend",
                           "extend",
                           "add to the present step's bake and longest time",
                           "Example:\n  canaryctl extend 2d --reason 'wait for the weekend'",
                           true,
                           Meant::running};
constexpr Verb finish_verb{"finish",
                           "finish",
                           "the soak is over: everybody stays on the canary, the watch ends",
                           "Example:\n  canaryctl finish --reason 'agreed with the owner'",
                           true,
                           Meant::running};
constexpr Verb ack_verb{"ack",
                        "acknowledge",
                        "say that you have seen it: a rollback, a hold",
                        "Example:\n  canaryctl ack",
                        false,
                        Meant::needs_someone};

/// --reason is what the journal will say in a year: asked for here, with the mend.
void need_reason(const Verb& verb, const VerbAsked& asked) {
    if (!verb.needs_reason || !asked.reason.empty()) return;
    const std::string duration = asked.duration.empty() ? "" : " " + asked.duration;
    throw Usage(std::string("canaryctl ") + verb.name + " needs a reason, for the journal: " +
                "canaryctl " + verb.name + duration + " --reason 'WHY'");
}

int run_verb(const Options& options, const Verb& verb, const VerbAsked& asked) {
    need_reason(verb, asked);
    json::object body;
    if (!asked.reason.empty()) body["reason"] = asked.reason;
    if (asked.override_proof) body["override"] = true;
    if (!asked.duration.empty()) {
        const auto read = read_duration(asked.duration, "d");
        if (!read.value) throw Usage(as_written(asked.duration) + " " + read.fault);
        body["by"] = asked.duration;
    }
    const std::string id = rollout_of(options, asked.rollout, verb.meant);
    const json::value answer =
        post(options, "/api/v1/rollouts/" + url_encoded(id) + "/" + verb.endpoint, body);
    if (options.json) {
        print_json(answer);
    } else {
        print_lines(string_of(answer, "id") + ": " + string_of(answer, "reason") + " (revision " +
                        text::number(whole_of(answer, "revision")) + ")",
                    options);
    }
    return done;
}

void add_verb(CLI::App& app, const Options& options, int& code, const Verb& verb) {
    const auto asked = std::make_shared<VerbAsked>();
    CLI::App* command = app.add_subcommand(verb.name, verb.help);
    if (std::string(verb.name) == "extend") {
        command->add_option("duration", asked->duration, "30m, 12h, 2d, 1w")
            ->type_name("DURATION")
            ->required();
    }
    if (std::string(verb.name) == "promote") {
        command->add_flag("--override", asked->override_proof,
                          "past an unproven or suspicious verdict; journaled with your name");
    }
    command->add_option("rollout", asked->rollout, "the only one without")->type_name("ROLLOUT");
    command->add_option("--reason", asked->reason, "for the journal and the people who are told")
        ->type_name("WHY");
    command->footer(verb.footer);
    command->callback([&options, &code, asked, verb] { code = run_verb(options, verb, *asked); });
}

struct StartAsked {
    std::string file;
    bool accept_false_rollbacks = false;
};

int start(const Options& options, const StartAsked& asked) {
    const std::string path = policy_path(options, asked.file);
    const std::string text = read_file(path);
    const ParsedPolicy parsed = parse_policy(text, path);
    if (!parsed.policy) {
        print_problems(parsed.problems);
        throw Refused("nothing was started: " + path + " has mistakes, see above");
    }
    preflight(options, *parsed.policy, asked.accept_false_rollbacks);
    const json::object body{{"policy_text", text},
                            {"policy_file", std::filesystem::absolute(path).string()}};
    const json::value answer = post(options, "/api/v1/rollouts", body);
    if (options.json) {
        print_json(answer);
    } else {
        print_lines(string_of(answer, "id") + ": " + string_of(answer, "reason"), options);
        std::cout << "Next: canaryctl status\n";
    }
    return done;
}

void add_start(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<StartAsked>();
    CLI::App* command = app.add_subcommand(
        "start", "begin a rollout; its policy is pinned, an edited file changes nothing");
    command->add_flag("--accept-false-rollbacks", asked->accept_false_rollbacks,
                      "although a trigger fires on more than one healthy rollout in 100");
    command->add_option("policy", asked->file, "a file, or a name in the policies folder")
        ->type_name("FILE|NAME")
        ->required();
    command->footer(
        "Examples:\n  canaryctl start policies/checkout.yaml\n"
        "  canaryctl start checkout --config /etc/canaryd/canaryd.yaml\n\n"
        "Looks at the metrics first; when they cannot be read nobody is moved. Exit codes:\n"
        "0 begun, 1 refused or mistakes found, 2 daemon unreachable.");
    command->callback([&options, &code, asked] { code = start(options, *asked); });
}

int notify_test(const Options& options, const std::string& rollout) {
    const std::string id = rollout_of(options, rollout, Meant::newest);
    const json::value answer =
        post(options, "/api/v1/rollouts/" + url_encoded(id) + "/notify-test", {});
    if (options.json) {
        print_json(answer);
        return done;
    }
    const json::value* lines = answer.as_object().if_contains("lines");
    if (lines == nullptr || !lines->is_array()) throw Refused("canaryd's answer has no \"lines\"");
    for (const json::value& line : lines->get_array()) {
        print_lines(line.is_string() ? std::string(line.get_string()) : json::serialize(line),
                    options);
    }
    return done;
}

void add_notify_test(CLI::App& app, const Options& options, int& code) {
    const auto rollout = std::make_shared<std::string>();
    CLI::App* command =
        app.add_subcommand("notify-test", "a test message to every channel; what became of each");
    command->add_option("rollout", *rollout, "the only one without")->type_name("ROLLOUT");
    command->footer("Example:\n  canaryctl notify-test");
    command->callback([&options, &code, rollout] { code = notify_test(options, *rollout); });
}

}  // namespace

void add_commands(CLI::App& app, const Options& options, int& code) {
    add_start(app, options, code);
    for (const Verb& verb :
         {pause_verb, resume_verb, promote_verb, extend_verb, finish_verb, ack_verb}) {
        add_verb(app, options, code, verb);
    }
    add_notify_test(app, options, code);
}

}  // namespace canaryd::ctl
