// init: a first policy that passes check. Asks on a terminal, takes flags everywhere.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>

#include "daemon/ctl/ctl.hpp"
#include "daemon/log.hpp"

namespace canaryd::ctl {
namespace {

struct Init {
    std::string name, canary, source, router, notify, channel, output;
    std::string segment = "agent", column;
    std::vector<std::string> baseline, segments;
};

/// A YAML text that means itself, whatever is in it.
std::string quoted(const std::string& text) {
    const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_';
    }) && ((text[0] >= 'a' && text[0] <= 'z') || (text[0] >= 'A' && text[0] <= 'Z'));
    static const std::vector<std::string> words{"true", "false", "yes", "no", "on",
                                                "off",  "null",  "y",   "n"};
    if (plain && std::find(words.begin(), words.end(), text) == words.end()) return text;
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
    return out + "'";
}

std::string listed(const std::vector<std::string>& items) {
    std::string out;
    for (const std::string& item : items) out += (out.empty() ? "" : ", ") + quoted(item);
    return "[" + out + "]";
}

std::string policy_text(const Init& asked) {
    std::string text =
        "# Moves users to " + escaped(asked.canary) +
        " in steps, on proof. What it does, in a page:\n"
        "#   canaryctl check FILE      every field with its value: canaryctl check FILE --explain\n"
        "name: " +
        quoted(asked.name) +
        "          # also the salt of the users' buckets: same name, same users\n"
        "canary: " +
        quoted(asked.canary) + "\n";
    if (!asked.baseline.empty()) text += "baseline: " + listed(asked.baseline) + "\n";
    text +=
        "\nsource: {kind: sqlite, connection: " + quoted(asked.source) +
        "}   # connections are in canaryd.yaml\n"
        "router: {kind: sql, connection: " +
        quoted(asked.router) +
        "}\n\n"
        "# A step ends when its bake is complete and every criterion is proven.\n"
        "steps:\n"
        "  - {name: tenth, weight: 10%, bake: 7d}\n"
        "  - {name: half, weight: 50%, bake: 7d}\n"
        "  - {name: all, weight: 100%, bake: 7d}\n\n"
        "# Criteria are proven: to go up, and to roll back.\n"
        "criteria:\n"
        "  - {name: errors, metric: error_rate, below: 1%}\n"
        "  - {name: latency, metric: latency_p95, below: 2s}\n\n"
        "# Triggers are counted: plain rules for the obvious disaster.\n"
        "triggers:\n"
        "  - {name: error-burst, metric: error_rate, above: 5%, over: 15m, for: 2 of 3 looks}\n";
    if (!asked.segments.empty()) {
        text += "\nsegments:\n  " + quoted(asked.segment) +
                ": {column: " + quoted(asked.column.empty() ? asked.segment : asked.column) +
                ", expect: " + listed(asked.segments) + "}\n";
    }
    if (!asked.notify.empty()) {
        text += "\nnotify:\n  - {kind: slack, connection: " + quoted(asked.notify) +
                (asked.channel.empty() ? "" : ", channel: " + quoted(asked.channel)) + "}\n";
    }
    return text;
}

std::vector<std::string> split(const std::string& line) {
    std::vector<std::string> words;
    std::string word;
    for (const char c : line + ",") {
        if (c != ',' && c != ' ') {
            word += c;
        } else if (!word.empty()) {
            words.push_back(std::move(word));
            word.clear();
        }
    }
    return words;
}

std::string ask(const std::string& question, const std::string& otherwise) {
    std::cout << question << (otherwise.empty() ? "" : " [" + otherwise + "]") << ": "
              << std::flush;
    std::string line;
    if (!std::getline(std::cin, line)) throw Refused("nothing was written");
    return line.empty() ? otherwise : line;
}

/// What no flag said is asked for on a terminal.
void ask_for_missing(Init& asked) {
    if (asked.name.empty()) asked.name = ask("Name of the rollout", "");
    if (asked.canary.empty()) asked.canary = ask("The new service (canary)", asked.name);
    if (asked.baseline.empty()) {
        asked.baseline = split(ask("The old services it replaces (baseline), by commas", ""));
    }
    if (asked.source.empty()) asked.source = ask("Connection with the metrics", "metrics");
    if (asked.router.empty()) asked.router = ask("Connection with the route", "route");
    if (asked.segments.empty()) {
        asked.segments =
            split(ask("Agents (or tenants, regions) to watch apart, by commas; "
                      "empty: none",
                      ""));
    }
    if (asked.notify.empty()) asked.notify = ask("Slack connection; empty: none", "");
}

void need_flags(const Init& asked) {
    std::vector<std::string> missing;
    if (asked.name.empty()) missing.emplace_back("--name");
    if (asked.canary.empty()) missing.emplace_back("--canary");
    if (asked.source.empty()) missing.emplace_back("--source-connection");
    if (asked.router.empty()) missing.emplace_back("--router-connection");
    if (!missing.empty()) {
        throw Usage("canaryctl init needs " + text::list(missing) +
                    "; on a terminal it asks for them");
    }
}

/// A file that is there is somebody's: it is never overwritten.
void write_new(const std::string& path, const std::string& text) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file < 0 && errno == EEXIST) {
        throw Refused(path + " is there already and stays as it is; choose another --output");
    }
    if (file < 0) throw Refused(path + ": " + std::strerror(errno));
    std::size_t at = 0;
    while (at < text.size()) {
        const ssize_t written = ::write(file, text.data() + at, text.size() - at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            const std::string why = std::strerror(errno);
            ::close(file);
            ::unlink(path.c_str());
            throw Refused(path + ": " + why);
        }
        at += static_cast<std::size_t>(written);
    }
    ::close(file);
}

int init(const Options& options, Init asked) {
    if (::isatty(STDIN_FILENO) != 0 && !options.json) {
        ask_for_missing(asked);
    }
    need_flags(asked);
    const std::string path = asked.output.empty() ? asked.name + ".yaml" : asked.output;
    const std::string text = policy_text(asked);
    const ParsedPolicy parsed = parse_policy(text, path);
    if (!parsed.policy) {
        print_problems(parsed.problems);
        throw Refused("nothing was written: these answers make no good policy, see above");
    }
    write_new(path, text);
    if (options.json) {
        print_json(json::object{{"file", path}, {"name", parsed.policy->name}});
        return done;
    }
    std::cout << escaped(path) << " is written and passes check. Next:\n  canaryctl check "
              << escaped(path) << "\n  canaryctl start " << escaped(path) << '\n';
    return done;
}

}  // namespace

void add_init(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<Init>();
    CLI::App* command =
        app.add_subcommand("init", "write a first policy that passes check; asks, or takes flags");
    command->add_option("--name", asked->name, "of the rollout; also the salt of the buckets");
    command->add_option("--canary", asked->canary, "the new service");
    command->add_option("--baseline", asked->baseline, "the old services, by commas")
        ->delimiter(',');
    command->add_option("--source-connection", asked->source, "with the metrics (canaryd.yaml)");
    command->add_option("--router-connection", asked->router, "with the route (canaryd.yaml)");
    command->add_option("--segments", asked->segments, "what is watched apart, by commas")
        ->delimiter(',');
    command->add_option("--segment-name", asked->segment, "what one of them is called")
        ->capture_default_str();
    command->add_option("--segment-column", asked->column, "its column in the metrics");
    command->add_option("--notify-connection", asked->notify, "a Slack connection");
    command->add_option("--channel", asked->channel, "its channel");
    command->add_option("--output", asked->output, "NAME.yaml without; never overwritten");
    command->footer(
        "Example:\n  canaryctl init --name checkout-v2 --canary checkout-v2 --baseline checkout-v1 "
        "\\\n      --source-connection metrics --router-connection route --segments web,app \\\n"
        "      --segment-name client --segment-column client_type\n\nNo daemon is needed.");
    command->callback([&options, &code, asked] { code = init(options, *asked); });
}

}  // namespace canaryd::ctl
