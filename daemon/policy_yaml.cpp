// parse_policy(): a policy file's text, all of its problems or a policy with every default.
#include <algorithm>

#include "canaryd/policy.hpp"
#include "daemon/policy_rules.hpp"
#include "daemon/sha256.hpp"

namespace canaryd {
namespace {

using namespace std::chrono_literals;

bool is_policy_name(std::string_view text) {
    const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    return !text.empty() && fits(text.front()) &&
           std::all_of(text.begin(), text.end(), [&](char c) { return fits(c) || c == '-'; });
}
constexpr TextRule policy_name_rule{
    is_policy_name,
    "is no policy's name; write lower-case letters, digits and '-', at most 63, beginning with a "
    "letter or digit",
    63};

std::vector<std::string> values_of(const std::vector<Text>& texts) {
    std::vector<std::string> values;
    for (const Text& text : texts) values.push_back(text.value);
    return values;
}

void read_services(Fields& fields, Problems& problems, Policy& policy) {
    assign(policy.name, fields.text("name", policy_name_rule));
    std::vector<Text> named = fields.one_or_many("baseline");
    policy.baseline = values_of(named);
    policy.protected_names = values_of(fields.one_or_many("protected"));
    if (const auto canary = fields.text_at("canary")) {
        policy.canary = canary->value;
        for (const Text& baseline : named) {
            if (baseline.value != canary->value) continue;
            problems.add(baseline.at, baseline.path,
                         as_written(baseline.value) + " is the canary as well; remove it here");
        }
        named.push_back(*canary);
    }
    for (const Text& service : named) {
        const auto& kept = policy.protected_names;
        if (std::find(kept.begin(), kept.end(), service.value) == kept.end()) continue;
        problems.add(service.at, service.path,
                     as_written(service.value) + " is protected; remove it here or there");
    }
}

/// It is renewed when a quarter of it has gone, and a look or two may be slow.
std::optional<Duration> read_lease(Fields& router, const Policy& policy) {
    router.known({"exposure_lease"});
    if (router.raw("exposure_lease") == "off") return std::nullopt;
    const auto lease = router.duration("exposure_lease", {.min = 1min, .unit = "h"});
    const Duration least = 4 * policy.evaluate_every;
    if (lease && *lease < least) {
        router.problem("exposure_lease", router.written("exposure_lease") +
                                             " is shorter than four looks (" + as_yaml(least) +
                                             "), so that a slow one would move users; write at "
                                             "least that");
    }
    return lease;
}

void read_ports(Fields& fields, Policy& policy) {
    policy.source.table = "webhook_metrics";
    if (auto source = fields.mapping("source")) {
        source->require({"kind", "connection"});
        assign(policy.source.kind, source->word("kind", {"sqlite", "postgres"}, {"prometheus"}));
        assign(policy.source.connection, source->text("connection"));
        assign(policy.source.table, source->text("table", identifier_rule));
        policy.source.query = read_source_query(*source);
        if (source->has("query") && source->has("table")) {
            source->problem("query", "stands in the place of a table; remove one of them");
        } else if (source->has("query") && policy.source.kind == "sqlite") {
            source->problem("query",
                            "belongs to kind postgres; write a table, which may be a view");
        }
        source->done();
    }
    if (auto router = fields.mapping("router")) {
        router->require({"kind", "connection"});
        assign(policy.router.kind, router->word("kind", {"sql"}, {"http", "exec", "haproxy"}));
        assign(policy.router.connection, router->text("connection"));
        if (const auto word = router->word("readers", {"function", "column", "both"})) {
            policy.router.readers = *word == "function" ? Readers::function
                                    : *word == "column" ? Readers::column
                                                        : Readers::both;
        }
        policy.router.exposure_lease = read_lease(*router, policy);
        router->done();
    }
}

void check_weight(Fields& entry, Weight before, Weight weight, bool last) {
    const std::string written = entry.written("weight");
    if (weight <= nobody) {
        entry.problem("weight", written + " moves nobody; write one above 0%");
    } else if (weight > everybody) {
        entry.problem("weight", written + " is more than everybody; write at most 100%");
    } else if (weight <= before) {
        entry.problem("weight", written + (weight == before ? " repeats" : " falls below") +
                                    " the weight of the step before; weights must rise");
    } else if (last && weight < everybody) {
        entry.problem("weight", written +
                                    " ends the ladder below 100%; add a step "
                                    "{weight: 100%, bake: 7d}");
    }
}

void read_steps(Fields& fields, Policy& policy) {
    auto entries = fields.mappings("steps",
                                   "has no steps; write at least "
                                   "`- {weight: 100%, bake: 7d}`");
    std::vector<std::string> given, defaults;
    Weight before = nobody;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        Fields& entry = entries[i];
        Step step;
        entry.known({"name"});
        entry.require({"weight", "bake"});
        entry.later({"gate"});
        if (const auto weight = entry.weight("weight")) {
            check_weight(entry, before, *weight, i + 1 == entries.size());
            step.weight = before = *weight;
        }
        assign(step.bake, entry.duration("bake", {.min = 1ms, .unit = "d"}));
        given.push_back(entry.text("name", label_rule).value_or(""));
        defaults.push_back("step-" + std::to_string(i + 1));
        entry.done();
        policy.steps.push_back(step);
    }
    const auto names = names_for(entries, given, defaults);
    for (std::size_t i = 0; i < names.size(); ++i) policy.steps[i].name = names[i];

    const auto max_step = fields.duration("max_step", {.min = 1ms, .unit = "d"});
    if (!max_step) return;
    policy.max_step = *max_step;
    const auto longest =
        std::max_element(policy.steps.begin(), policy.steps.end(),
                         [](const Step& a, const Step& b) { return a.bake < b.bake; });
    if (longest == policy.steps.end() || longest->bake <= *max_step) return;
    fields.problem("max_step", fields.written("max_step") +
                                   " is shorter than a step's bake, which "
                                   "could then never end; write at least " +
                                   as_yaml(longest->bake));
}

void read_cadence(Fields& fields, Policy& policy) {
    assign(policy.evaluate_every, fields.duration("evaluate_every", {.min = 1s, .max = 1h}));
    const Duration every = policy.evaluate_every;
    policy.peek_every = std::min(policy.peek_every, every);
    assign(policy.peek_every, fields.duration("peek_every", {.min = 1s, .unit = "s"}));
    if (policy.peek_every > every) {
        fields.problem("peek_every", fields.written("peek_every") +
                                         " is longer than evaluate_every (" + as_yaml(every) +
                                         "); write at most that");
    }
    policy.settle = std::min(policy.settle, 2 * every);
    assign(policy.settle, fields.duration("settle", {.unit = "s"}));
    if (policy.settle > 2 * every) {
        fields.problem("settle", fields.written("settle") + " is longer than two looks (" +
                                     as_yaml(2 * every) + "); write at most that");
    }
    assign(policy.warm_up, fields.duration("warm_up"));
    assign(policy.confirm_without_baseline, fields.duration("confirm_without_baseline"));
}

void read_segments(Fields& fields, Policy& policy) {
    auto named = fields.named("segments", label_rule, "names no segment; remove the line");
    for (std::size_t i = 0; i < named.size(); ++i) {
        auto& [name, entry] = named[i];
        entry.require({"column", "expect"});
        const auto column = entry.text("column", identifier_rule);
        const auto expected = entry.texts("expect", {}, "lists no value; write those you know");
        entry.done();
        if (i > 0) {
            entry.problem("is a second segment; there can be one at most, remove it");
            continue;
        }
        policy.segment = name.value;
        assign(policy.segment_column, column);
        policy.segments = values_of(expected);
    }
    if (auto seen = fields.mapping("segment_seen")) {
        assign(policy.segment_requests, seen->whole("requests"));
        assign(policy.segment_users, seen->whole("users"));
        if (const auto word = seen->word("if_not", {"ask", "ignore"})) {
            policy.segment_ask = *word == "ask";
        }
        seen->done();
    }
}

void read_blind(Fields& fields, Policy& policy) {
    auto blind = fields.mapping("blind");
    if (!blind) return;
    assign(policy.blind_hold_after, blind->duration("hold_after", {.min = 1s}));
    blind->known({"rollback_after"});
    if (blind->raw("rollback_after") != "never") {
        policy.blind_rollback_after = blind->duration("rollback_after", {.min = 1s});
    }
    if (policy.blind_rollback_after && *policy.blind_rollback_after < policy.blind_hold_after) {
        blind->problem("rollback_after",
                       blind->written("rollback_after") + " is shorter than hold_after (" +
                           as_yaml(policy.blind_hold_after) + "); write a longer one, or never");
    }
    blind->done();
}

void read_watch(Fields& fields, Policy& policy) {
    if (const auto word = fields.word("on_shared_outage", {"hold", "rollback"})) {
        policy.hold_on_shared_outage = *word == "hold";
    }
    read_blind(fields, policy);
    auto expect = fields.mapping("expect_traffic");
    if (!expect) return;
    assign(policy.expect_requests, expect->whole("requests", {.min = 1}));
    assign(policy.expect_within, expect->duration("within", {.min = 1s, .unit = "h"}));
    assign(policy.expect_over, expect->duration("over", {.min = 1s, .unit = "h"}));
    if (const auto share = expect->share("share")) {
        policy.expect_share = share->value();
        if (share->billionths >= Share::whole) {
            expect->problem("share", expect->written("share") +
                                         " is never reached by half of all canaries; write one "
                                         "like 50%");
        }
    }
    expect->done();
}

/// A chance of being wrong: above 0, at most one half.
void read_chance(Fields& fields, std::string_view name, double& chance) {
    const auto share = fields.share(name);
    if (!share) return;
    chance = share->value();
    if (share->billionths > 0 && share->billionths <= Share::whole / 2) return;
    fields.problem(name, fields.written(name) +
                             " cannot be promised; write one above 0% and at "
                             "most 50%");
}

/// How many times wider legacy's counts vary than chance: 1 is chance itself, and past 1000 no
/// evidence would be left.
void read_dispersion(Fields& fields, Policy& policy) {
    auto dispersion = fields.mapping("dispersion");
    if (!dispersion) return;
    const auto read = [&](std::string_view name, double& phi) {
        const auto number = dispersion->number(name);
        if (!number) return;
        phi = *number;
        if (phi >= 1 && phi <= 1000) return;
        dispersion->problem(name, dispersion->written(name) +
                                      " is out of range; write 1 to 1000, as canaryctl aa measures "
                                      "it (1: no wider than chance)");
    };
    read("limits", policy.dispersion.limits);
    read("comparisons", policy.dispersion.comparisons);
    dispersion->done();
}

void read_statistics(Fields& fields, Policy& policy) {
    if (auto floor = fields.mapping("harm_floor")) {
        assign(policy.floor_users, floor->whole("users", {.min = 1, .max = 1000}));
        assign(policy.floor_within, floor->duration("within", {.min = 1s, .max = 24h}));
        if (Duration{24h} % policy.floor_within != Duration{0}) {
            floor->problem("within", floor->written("within") +
                                         " does not divide a day; write one that does, like 30m "
                                         "or 60m");
        }
        floor->done();
    }
    read_dispersion(fields, policy);
    if (const auto text = fields.text("suspicious")) {
        constexpr std::string_view rest = " of 100";
        const bool shape = text->ends_with(rest);
        const auto read = read_number(text->substr(0, text->size() - (shape ? rest.size() : 0)));
        if (!shape || !read.value) {
            fields.problem("suspicious", as_written(*text) + " is not `n of 100`; write 5 of 100");
        } else if (*read.value <= 0 || *read.value >= 100) {
            fields.problem("suspicious", as_written(*text) +
                                             " is not between 0 and 100, where it rolls back; "
                                             "write 5 of 100");
        } else {
            policy.suspicious = *read.value / 100;
        }
    }
    read_chance(fields, "false_rollback", policy.false_rollback);
    read_chance(fields, "false_hold", policy.false_hold);
    read_chance(fields, "false_promotion", policy.false_promotion);
}

void read_finish(Fields& fields, Policy& policy) {
    auto finish = fields.mapping("finish");
    if (finish) {
        finish->later({"baseline_silent", "approvals", "from", "run", "actions"});
        assign(policy.soak, finish->duration("soak", {.min = 1ms, .unit = "d"}));
        finish->done();
    }
    if (policy.steps.empty() || policy.soak >= policy.steps.back().bake) return;
    const std::string bake = as_yaml(policy.steps.back().bake);
    if (finish && finish->has("soak")) {
        finish->problem("soak", finish->written("soak") +
                                    " is shorter than the last step's bake, which is part of it; "
                                    "write at least " +
                                    bake);
    } else {
        fields.problem("steps", "the last step's bake (" + bake +
                                    ") is part of finish.soak, which "
                                    "is " +
                                    as_yaml(policy.soak) +
                                    " by default; write finish: {soak: " + bake + "} or longer");
    }
}

void read_people(Fields& fields, Policy& policy) {
    for (Fields& entry : fields.mappings("notify")) {
        NotifySpec channel;
        entry.require({"kind"});
        entry.known({"connection", "channel"});
        entry.later({"only", "to"});
        assign(channel.kind, entry.word("kind", {"slack", "log"}, {"email", "webhook"}));
        assign(channel.connection, entry.text("connection"));
        assign(channel.channel, entry.text("channel", {.longest = 80}));
        if (channel.kind == "slack") entry.require({"connection"});
        for (const std::string_view name : {"connection", "channel"}) {
            if (channel.kind == "log" && entry.has(name)) {
                entry.problem(name, "the log has none; remove it");
            }
        }
        entry.done();
        policy.notify.push_back(channel);
    }
    if (auto report = fields.mapping("report")) {
        assign(policy.report_day_1, report->duration("day_1", {.min = 1s, .unit = "h"}));
        assign(policy.report_day_2_and_3,
               report->duration("day_2_and_3", {.min = 1s, .unit = "h"}));
        assign(policy.report_later, report->duration("later", {.min = 1s, .unit = "h"}));
        report->done();
    }
}

void read_policy(Fields& fields, Problems& problems, Policy& policy) {
    fields.require({"name", "canary", "source", "router", "steps", "criteria"});
    fields.later({"gates", "freeze", "preflight", "escalate", "time_zone"});
    read_services(fields, problems, policy);
    read_steps(fields, policy);
    read_cadence(fields, policy);
    read_ports(fields, policy);  // after the cadence, which a lease refers to
    policy.metrics = read_metrics(fields);
    policy.criteria = read_criteria(fields, policy);
    read_segments(fields, policy);
    policy.triggers = read_triggers(fields, policy);
    read_watch(fields, policy);
    read_statistics(fields, policy);
    read_finish(fields, policy);
    read_people(fields, policy);
    fields.done();
}

}  // namespace

ParsedPolicy parse_policy(std::string_view text, const std::string& file) {
    Problems problems(file);
    Policy policy;
    const Yaml root = read_yaml(text, problems);
    if (root.kind == Yaml::Kind::empty) {
        problems.add({1, 1}, "", "the file is empty; a policy begins with `name: …`");
    } else if (root.kind != Yaml::Kind::broken) {
        Fields fields(root, "", problems);
        read_policy(fields, problems, policy);
    }
    if (!problems.empty()) return {std::nullopt, problems.in_file_order()};
    policy.hash = sha256_hex(text);
    return {std::move(policy), {}};
}

}  // namespace canaryd
