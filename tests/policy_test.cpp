#include "canaryd/policy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "daemon/fields.hpp"
#include "daemon/sha256.hpp"

#ifndef CANARYD_SOURCE_DIR
#define CANARYD_SOURCE_DIR "."
#endif

using namespace canaryd;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

const fs::path root{CANARYD_SOURCE_DIR};

std::string content(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    REQUIRE_MESSAGE(stream, file.string());
    const std::istreambuf_iterator<char> begin(stream), end;
    return {begin, end};
}

std::vector<fs::path> yaml_files(const fs::path& folder) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(root / folder)) {
        if (entry.path().extension() == ".yaml") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
}

std::string all_of(const std::vector<Problem>& problems) {
    std::string text;
    for (const Problem& problem : problems) text += to_string(problem) + "\n";
    return text;
}

Policy good(const fs::path& file) {
    const auto parsed = parse_policy(content(root / file), file.filename().string());
    INFO(all_of(parsed.problems));
    REQUIRE(parsed.policy);
    return *parsed.policy;
}

/// A small policy with more lines at its end.
std::string small(const std::string& more = "", const std::string& criteria = "") {
    return "name: a\ncanary: new\nbaseline: old\n"
           "source: {kind: sqlite, connection: m}\nrouter: {kind: sql, connection: r}\n"
           "steps: [{weight: 100%, bake: 1d}]\ncriteria:\n" +
           (criteria.empty() ? std::string("  - {metric: error_rate, below: 1%}\n") : criteria) +
           more;
}

Policy policy_of(const std::string& text) {
    const auto parsed = parse_policy(text, "test.yaml");
    INFO(all_of(parsed.problems));
    REQUIRE(parsed.policy);
    return *parsed.policy;
}

Trigger trigger_of(const std::string& rule) {
    const Policy policy = policy_of(small("triggers: [{" + rule + "}]\n"));
    REQUIRE(policy.triggers.size() == 1);
    return policy.triggers[0];
}

}  // namespace

TEST_SUITE("policy") {
    TEST_CASE("every bad policy is refused with its place, its fault and the mend, all at once") {
        const auto files = yaml_files("tests/policies/bad");
        REQUIRE(files.size() > 100);
        for (const fs::path& file : files) {
            const auto parsed = parse_policy(content(file), file.filename().string());
            CHECK_MESSAGE(!parsed.policy, file.filename().string());
            fs::path expected = file;
            CHECK(all_of(parsed.problems) == content(expected.replace_extension(".expected")));
        }
    }

    TEST_CASE("what a query counts is limited per hour, of which a day has 24, or as a share") {
        const Policy policy = good("tests/policies/good/what-queries-count.yaml");
        REQUIRE(policy.criteria.size() == 4);
        const Signal crashes{Signal::Kind::counted, Duration{0}, "crashes", Per::hour};
        CHECK(policy.criteria[1].signal == crashes);
        CHECK(policy.criteria[1].limit == 2);
        CHECK(policy.criteria[1].then == Action::rollback);
        CHECK(policy.criteria[2].signal == crashes);
        CHECK(policy.criteria[2].limit == 12.5 / 24);
        CHECK(policy.criteria[2].then == Action::hold);
        CHECK(policy.criteria[3].signal ==
              Signal{Signal::Kind::counted, Duration{0}, "failed_sessions", Per::cluster});
        CHECK(policy.criteria[3].limit == 0.015);
        CHECK(numbers_of(policy, "crashes") == 1);
        CHECK(numbers_of(policy, "failed_sessions") == 2);
        const auto limits = limits_of(policy);
        REQUIRE(limits.size() == 4);
        CHECK(limits[0].per == Per::request);
        CHECK(limits[1].per == Per::hour);
        CHECK(limits[3].per == Per::cluster);
        CHECK(without_counts(policy).criteria.size() == 1);
    }

    TEST_CASE("every good policy is accepted") {
        for (const char* folder : {"tests/policies/good", "policies"}) {
            const auto files = yaml_files(folder);
            REQUIRE(files.size() >= 2);
            for (const fs::path& file : files) {
                const auto parsed = parse_policy(content(file), file.filename().string());
                CHECK_MESSAGE(parsed.policy, all_of(parsed.problems));
            }
        }
    }

    TEST_CASE("the first user's plan is 10, 50 and 100 % for a week each and 30 days of soak") {
        const Policy policy = good("policies/unified-webhook.yaml");
        CHECK(policy.name == "unified-webhook");
        CHECK(policy.canary == "wa-webhook-unified");
        CHECK(policy.baseline.size() == 4);
        CHECK(policy.protected_names.size() == 3);
        REQUIRE(policy.steps.size() == 3);
        const std::vector<int> weights{1000, 5000, 10'000};
        const std::vector<std::string> names{"week4", "week5", "week6"};
        for (std::size_t i = 0; i < 3; ++i) {
            CHECK(policy.steps[i].weight.basis_points == weights[i]);
            CHECK(policy.steps[i].name == names[i]);
            CHECK(policy.steps[i].bake == 24h * 7);
        }
        CHECK(policy.max_step_of(0) == 24h * 21);
        CHECK(policy.soak == 24h * 30);
        CHECK(horizon_of(policy) == 24h * 44);
        CHECK(policy.segments.size() == 8);
        CHECK(policy.segment == "agent");
        CHECK(policy.segment_column == "agent_type");
        // error_rate below 1% and success_rate above 99% are one limit, latency_p95 the other.
        const auto limits = limits_of(policy);
        REQUIRE(limits.size() == 2);
        CHECK(limits[0].p0 == 0.01);
        CHECK(limits[1].p0 == 0.05);
        CHECK(signals_of(policy)[1] == Signal{Signal::Kind::slower, 2s});
        CHECK(policy.triggers.size() == 6);
        REQUIRE(policy.notify.size() == 1);
        CHECK(policy.notify[0].channel == "#operations");
    }

    TEST_CASE("what is not written has the default of the table in policies/README.md") {
        const Policy policy = policy_of(small("triggers: [{metric: error_rate, above: 5%}]\n"));
        CHECK(policy.source.table == "webhook_metrics");
        CHECK(policy.steps[0].name == "step-1");
        CHECK(policy.max_step_of(0) == 72h);
        CHECK(policy.evaluate_every == 5min);
        CHECK(policy.peek_every == 15s);
        CHECK(policy.settle == 30s);
        CHECK(policy.warm_up == 10min);
        CHECK(policy.criteria[0].name == "error_rate");
        CHECK(policy.protected_names.empty());
        CHECK(policy.segment.empty());
        CHECK(policy.segment_requests == 50);
        CHECK(policy.segment_users == 10);
        CHECK(policy.segment_ask);
        CHECK(policy.hold_on_shared_outage);
        CHECK(policy.blind_hold_after == 15min);
        CHECK(!policy.blind_rollback_after);
        CHECK(policy.expect_requests == 1);
        CHECK(policy.expect_within == 24h);
        CHECK(policy.expect_share == 0.5);
        CHECK(policy.expect_over == 6h);
        CHECK(policy.confirm_without_baseline == 20min);
        CHECK(policy.floor_users == 3);
        CHECK(policy.floor_within == 60min);
        CHECK(policy.dispersion == Dispersion{1, 1});
        CHECK(policy.suspicious == 0.05);
        CHECK(policy.false_rollback == 0.01);
        CHECK(policy.false_hold == 0.01);
        CHECK(policy.false_promotion == 0.05);
        CHECK(policy.soak == 24h * 30);
        CHECK(policy.notify.empty());
        CHECK(policy.report_day_1 == 1h);
        CHECK(policy.report_day_2_and_3 == 6h);
        CHECK(policy.report_later == 24h);
        const Trigger& trigger = policy.triggers[0];
        CHECK(trigger.name == "error_rate");
        CHECK(trigger.over == 15min);
        CHECK(trigger.needed == 2);
        CHECK(trigger.looks == 3);
        CHECK(trigger.at_least == 5);
        CHECK(trigger.users == 3);
        CHECK(!trigger.each_segment);
        CHECK(trigger.then == Action::rollback);
    }

    TEST_CASE("every field that is written is the field that is kept") {
        const Policy policy = good("tests/policies/good/every-field.yaml");
        CHECK(policy.baseline == std::vector<std::string>{"api-v1", "api-v0"});
        CHECK(policy.protected_names == std::vector<std::string>{"billing", "login service"});
        CHECK(policy.source.kind == "sqlite");
        CHECK(policy.source.connection == "numbers");
        CHECK(policy.source.table == "request_log");
        CHECK(policy.router.kind == "sql");
        CHECK(policy.router.connection == "switch");
        CHECK(policy.steps[0].weight == Weight{50});
        CHECK(policy.steps[0].bake == 90min);
        CHECK(policy.steps[2].bake == 24h * 14);
        CHECK(policy.max_step == 24h * 56);
        CHECK(policy.evaluate_every == 10min);
        CHECK(policy.peek_every == 20s);
        CHECK(policy.settle == 45s);
        CHECK(policy.warm_up == 20min);
        CHECK(policy.criteria[2].signal == Signal{Signal::Kind::slower, 750ms});
        CHECK(policy.criteria[2].limit == 0.5);
        CHECK(policy.criteria[3].limit == 0.01);
        CHECK(policy.criteria[2].then == Action::rollback);
        CHECK(policy.criteria[3].then == Action::hold);
        CHECK(policy.criteria[4].no_worse_than == Margin{2, 0.0025});
        CHECK(policy.criteria[4].then == Action::rollback);
        CHECK(policy.criteria[5].no_worse_than == Margin{1.5, 0});
        CHECK(policy.criteria[5].signal == Signal{Signal::Kind::slower, 4s});
        CHECK(policy.criteria[5].then == Action::hold);
        CHECK(policy.criteria[6].no_worse_than == Margin{1.2, 0.005});
        CHECK(claims_of(policy, Action::rollback).size() == 3);
        CHECK(claims_of(policy, Action::hold).size() == 3);
        CHECK(policy.metrics[1].name == "jobs_done");
        CHECK(policy.metrics[1].query.find("\nselect count(*)") != std::string::npos);
        CHECK(policy.segments == std::vector<std::string>{"eu", "us", "asia pacific"});
        CHECK(policy.segment_requests == 100);
        CHECK(policy.segment_users == 0);
        CHECK(!policy.segment_ask);
        CHECK(!policy.hold_on_shared_outage);
        CHECK(policy.blind_hold_after == 30min);
        CHECK(policy.blind_rollback_after == Duration{6h});
        CHECK(policy.expect_requests == 5);
        CHECK(policy.expect_within == 12h);
        CHECK(policy.expect_share == 0.4);
        CHECK(policy.expect_over == 3h);
        CHECK(policy.confirm_without_baseline == 25min);
        CHECK(policy.floor_users == 5);
        CHECK(policy.floor_within == 30min);
        CHECK(policy.dispersion == Dispersion{2.9, 1.2});
        CHECK(policy.suspicious == 0.025);
        CHECK(policy.false_rollback == 0.005);
        CHECK(policy.false_hold == 0.02);
        CHECK(policy.false_promotion == 0.1);
        CHECK(policy.soak == 24h * 45);
        CHECK(policy.notify[0].kind == "slack");
        CHECK(policy.notify[0].connection == "ops");
        CHECK(policy.notify[1].kind == "log");
        CHECK(policy.report_day_1 == 2h);
        CHECK(policy.report_day_2_and_3 == 12h);
        CHECK(policy.report_later == 48h);
    }

    TEST_CASE("a trigger on errors counts failed requests above a share") {
        const Trigger burst = trigger_of(
            "metric: error_rate, above: 5%, over: 5m, for: 1 of 1 looks, at_least: 10 failures");
        CHECK(burst.kind == Trigger::Kind::share);
        CHECK(burst.signal.kind == Signal::Kind::failed);
        CHECK(burst.above);
        CHECK(burst.threshold == 0.05);
        CHECK(burst.as_written == "above 5%");
        CHECK(burst.at_peeks());
        CHECK(burst.at_least == 10);
        CHECK(burst.users == 0);
        const Trigger floor =
            trigger_of("metric: error_rate, above: 5%, at_least: 10 failures from 4 users");
        CHECK(floor.at_least == 10);
        CHECK(floor.users == 4);
    }

    TEST_CASE("a success rate below a share is a failed share above the rest") {
        const Trigger down = trigger_of("metric: success_rate, below: 5%, then: hold");
        CHECK(down.kind == Trigger::Kind::share);
        CHECK(down.signal.kind == Signal::Kind::failed);
        CHECK(down.above);
        CHECK(down.threshold == 0.95);
        CHECK(down.as_written == "below 5%");
        CHECK(down.then == Action::hold);
    }

    TEST_CASE("a p95 above 5 s is more than 5 % of requests slower than 5 s") {
        const Trigger slow = trigger_of("metric: latency_p95, above: 5s, for: 3 of 4 looks");
        CHECK(slow.kind == Trigger::Kind::share);
        CHECK(slow.signal == Signal{Signal::Kind::slower, 5s});
        CHECK(slow.threshold == 0.05);
        CHECK(slow.needed == 3);
        CHECK(slow.looks == 4);
        CHECK(trigger_of("metric: latency_p50, above: 5s").threshold == 0.5);
        CHECK(trigger_of("metric: latency_p99, above: 5s").threshold == 0.01);
    }

    TEST_CASE(
        "traffic is a share of what the canary should have, with a floor of expected requests") {
        const Trigger silent = trigger_of("metric: traffic, below: 20%, then: warn");
        CHECK(silent.kind == Trigger::Kind::traffic);
        CHECK(!silent.above);
        CHECK(silent.threshold == 0.2);
        CHECK(silent.at_least == 30);
        CHECK(silent.users == 0);
        CHECK(silent.then == Action::warn);
        CHECK(trigger_of("metric: traffic, below: 20%, at_least: 12 expected").at_least == 12);
    }

    TEST_CASE("a number from a query is compared as it is, quoted or not, and has no floor") {
        const Policy policy = good("tests/policies/good/every-field.yaml");
        const Trigger& backlog = policy.triggers[4];
        CHECK(backlog.kind == Trigger::Kind::number);
        CHECK(backlog.above);
        CHECK(backlog.threshold == 20.5);
        CHECK(backlog.at_least == 0);
        CHECK(backlog.users == 0);
        const Trigger& idle = policy.triggers[5];
        CHECK(!idle.above);
        CHECK(idle.threshold == 1);
        CHECK(idle.as_written == "below 1");
    }

    TEST_CASE("the share of users is held against the weight, in percentage points") {
        const Trigger share = good("tests/policies/good/every-field.yaml").triggers[6];
        CHECK(share.kind == Trigger::Kind::off_weight);
        CHECK(share.threshold == 0.025);
        CHECK(share.as_written == "off_weight_by 2.5pp");
        CHECK(share.at_least == 0);
    }

    TEST_CASE("a route has readers, and a lease or none; a source a table or a query") {
        const Policy every = good("tests/policies/good/every-field.yaml");
        CHECK(every.router.readers == Readers::function);
        CHECK(every.router.exposure_lease == 12h);
        CHECK(every.source.query.empty());
        const Policy query = good("tests/policies/good/postgres-query.yaml");
        CHECK(query.source.kind == "postgres");
        CHECK(query.source.query.find("from calls") != std::string::npos);
        CHECK(query.router.readers == Readers::both);
        CHECK_FALSE(query.router.exposure_lease);
        CHECK_FALSE(good("tests/policies/good/seconds.yaml").router.readers);
    }

    TEST_CASE("nameless steps and rules are named around the names that are given") {
        const Policy policy = good("tests/policies/good/names-by-default.yaml");
        std::vector<std::string> names;
        for (const Step& step : policy.steps) names.push_back(step.name);
        for (const Criterion& criterion : policy.criteria) names.push_back(criterion.name);
        for (const Trigger& trigger : policy.triggers) names.push_back(trigger.name);
        CHECK(names == std::vector<std::string>{"step-1", "step-3", "step-3-2", "error_rate",
                                                "error_rate-3", "error_rate-2", "error_rate",
                                                "error_rate-2"});
    }

    TEST_CASE("looks more frequent than the defaults shorten peeks and settling") {
        const Policy policy = good("tests/policies/good/frequent-looks.yaml");
        CHECK(policy.peek_every == 5s);
        CHECK(policy.settle == 10s);
    }

    TEST_CASE("success above 100 % - x is bit for bit the limit of errors below x") {
        for (int tenths = 1; tenths < 1000; ++tenths) {
            const auto percent = [](int t) {
                return std::to_string(t / 10) + "." + std::to_string(t % 10) + "%";
            };
            const auto below = read_share(percent(tenths));
            const auto above = read_share(percent(1000 - tenths));
            REQUIRE(below.value);
            REQUIRE(above.value);
            CHECK(above.value->rest().value() == below.value->value());
        }
        const Policy policy = policy_of(small("",
                                              "  - {metric: error_rate, below: 0.07%}\n"
                                              "  - {metric: success_rate, above: 99.93%}\n"));
        CHECK(limits_of(policy).size() == 1);
        CHECK(policy.criteria[0].limit == 0.0007);
    }

    TEST_CASE("a policy's hash is that of its bytes, so that a comment's edit is seen") {
        CHECK(policy_of(small()).hash == sha256_hex(small()));
        CHECK(policy_of(small()).hash != policy_of(small("# edited\n")).hash);
    }

    TEST_CASE("durations have units, fall from larger to smaller, and end at ten years") {
        const std::vector<std::pair<std::string, Duration>> right{
            {"500ms", 500ms}, {"15s", 15s},          {"5m", 5min},      {"1h30m", 90min},
            {"7d", 24h * 7},  {"2w", 24h * 14},      {"0s", 0s},        {"1d12h", 36h},
            {"90m", 90min},   {"3650d", 24h * 3650}, {"1w1d", 24h * 8}, {"1m1ms", 60001ms}};
        for (const auto& [text, duration] : right) {
            CHECK_MESSAGE(read_duration(text).value == duration, text);
            CHECK_MESSAGE(read_duration(as_yaml(duration)).value == duration, text);
        }
        for (const std::string wrong :
             {"", "7", "-7d", "d", "7 d", "7D", "7d ", "1h1h", "1m1h", "1.5h", "07d", "7d3",
              "3651d", "99999999999999999999d", "1y", "P7D", "+7d", "7d\n"}) {
            CHECK_MESSAGE(!read_duration(wrong).value, wrong);
            CHECK_MESSAGE(!read_duration(wrong).fault.empty(), wrong);
        }
    }

    TEST_CASE("numbers are plain finite decimals") {
        CHECK(read_number("20").value == 20);
        CHECK(read_number("-0.5").value == -0.5);
        CHECK(read_whole("0").value == 0);
        for (const std::string wrong :
             {"", "017", "0x10", "1e3", "1e999", ".5", "5.", "1_000", ".nan", "nan", ".inf",
              "-.inf", "infinity", "+1", "1 ", " 1", "1,5", "--1", "0b1"}) {
            CHECK_MESSAGE(!read_number(wrong).value, wrong);
            CHECK_MESSAGE(!read_whole(wrong).value, wrong);
        }
        CHECK(!read_number(std::string(400, '9')).value);
        CHECK(!read_whole("9223372036854775808").value);
        CHECK(!read_whole("1.0").value);
        for (const std::string wrong :
             {"", "%", "1", "1 %", "%1", "1%%", "01%", "-1%", ".5%", "1.%", "1e1%", "nan%",
              "0.12345678%", "9999999999999999999%"}) {
            CHECK_MESSAGE(!read_share(wrong).value, wrong);
            CHECK_MESSAGE(!read_weight(wrong).value, wrong);
        }
        CHECK(read_weight("0.01%").value == Weight{1});
        CHECK(!read_weight("0.001%").value);
    }

    TEST_CASE("only true and false are true and false") {
        Problems problems("test.yaml");
        const Yaml file = read_yaml("a: true\nb: false\nc: yes\nd: 1\n", problems);
        Fields fields(file, "", problems);
        CHECK(fields.boolean("a") == true);
        CHECK(fields.boolean("b") == false);
        CHECK(fields.boolean("c") == std::nullopt);
        CHECK(fields.boolean("d") == std::nullopt);
        CHECK(fields.boolean("e") == std::nullopt);
        CHECK(all_of(problems.in_file_order()) ==
              "test.yaml:3:4: c: \"yes\" is not known here; write true or false\n"
              "test.yaml:4:4: d: \"1\" is not known here; write true or false\n");
    }

    TEST_CASE("a file that is too large, or holds too many values, is refused before it costs") {
        const std::string large = small("#" + std::string(256 * 1024, 'x') + "\n");
        CHECK(all_of(parse_policy(large, "p.yaml").problems) ==
              "p.yaml: larger than 256 KiB; a file like this is a few KiB\n");
        std::string many = "protected: [";
        for (int i = 0; i < 10'000; ++i) many += "a" + std::to_string(i) + ", ";
        const auto parsed = parse_policy(small(many + "z]\n"), "p.yaml");
        REQUIRE(parsed.problems.size() == 1);
        CHECK(to_string(parsed.problems[0]).find(": more than 10000 values") != std::string::npos);
    }

    TEST_CASE("no text, however mangled, does more than be refused with places inside it") {
        const std::string origin = content(root / "tests/policies/good/every-field.yaml");
        const std::string pieces[] = {
            "&a ", "*a",  "<<: ", "- ",  "? ", ": ",   "{",      "}",
            "[",   "]",   "\"",   "'",   "|",  ">",    "!!str ", "%",
            "---", "...", "\t",   "\n",  "\r", "#",    "\xC3",   "\xE2\x80\xAE",
            "é",   "0",   "-",    "9e9", "~",  "null", "\\x00",  ", "};
        std::uint64_t state = 88172645463325252;  // xorshift: the same texts on every machine
        const auto below = [&](std::size_t limit) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            return static_cast<std::size_t>(state % limit);
        };
        std::size_t accepted = 0;
        for (int round = 0; round < 1500; ++round) {
            std::string text =
                origin.substr(0, round % 3 == 0 ? below(origin.size()) : origin.size());
            for (std::size_t edits = 1 + below(4); edits > 0; --edits) {
                const std::size_t at = below(text.size() + 1);
                if (below(2) == 0) {
                    text.insert(at, pieces[below(std::size(pieces))]);
                } else {
                    text.erase(at, 1 + below(12));
                }
            }
            const auto parsed = parse_policy(text, "p.yaml");
            CHECK(parsed.policy.has_value() == parsed.problems.empty());
            accepted += parsed.policy ? 1 : 0;
            const auto lines = std::count(text.begin(), text.end(), '\n') + 1;
            for (const Problem& problem : parsed.problems) {
                CHECK(problem.line >= 1);
                CHECK(problem.line <= lines);
                CHECK(problem.column >= 1);
                const auto mend = problem.message.find(';');
                CHECK_MESSAGE(mend != std::string::npos, problem.message);
            }
        }
        CHECK(accepted < 1000);
    }
}
