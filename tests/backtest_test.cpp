// Recorded metrics, played again: who stands for the canary, what is found and when, and what a
// hostile file is told.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "canaryd/routing.hpp"
#include "canaryd/text.hpp"
#include "daemon/ask.hpp"
#include "daemon/ctl/backtest/looks.hpp"
#include "daemon/ctl/backtest/report.hpp"
#include "tests/metrics_file.hpp"

using namespace canaryd;
using namespace canaryd::backtest;
using namespace std::chrono_literals;
using canaryd::testing::Folder;

namespace {

constexpr std::int64_t monday = 1'768'176'000'000;  // 2026-01-12T00:00:00Z

/// 10/50/100 % by days, two agents, looks of five minutes.
Policy small_plan() {
    Policy policy = canaryd::testing::metrics_policy();
    policy.steps = {
        {"week4", Weight{1'000}, 24h}, {"week5", Weight{5'000}, 24h}, {"week6", everybody, 24h}};
    policy.soak = 72h;
    policy.hash = "0123456789abcdef";
    policy.confirm_without_baseline = 20min;
    return policy;
}

Trigger burst() {
    Trigger trigger;
    trigger.name = "burst";
    trigger.metric = "error_rate";
    trigger.threshold = 0.5;
    trigger.as_written = "above 50%";
    trigger.over = 15min;
    return trigger;
}

std::string write(const Folder& folder, const std::string& name, const std::string& bytes) {
    const std::string path = folder.file(name);
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
}

/// Counts of a healthy service: `per_look` requests of each agent in five minutes.
std::string healthy_counts(int looks, int per_look, double error_rate = 0.004) {
    std::ostringstream file;
    file << "time,agent_type,requests,errors,slow_2s\n";
    Draws draws(42);
    for (int look = 0; look < looks; ++look) {
        for (const char* agent : {"jobs", "rides"}) {
            file << monday + look * 300'000LL << ',' << agent << ',' << per_look << ','
                 << draws.binomial(per_look, error_rate) << ',' << draws.binomial(per_look, 0.02)
                 << '\n';
        }
    }
    return file.str();
}

History history_of(const Policy& policy, const std::string& bytes) {
    const Folder folder;
    Reading reading;
    reading.from = write(folder, "counts.csv", bytes);
    return read_history(policy, reading);
}

History counts_of(const Policy& policy, int looks, int per_look, double error_rate = 0.004) {
    return history_of(policy, healthy_counts(looks, per_look, error_rate));
}

Plan with_fault(const Policy& policy, const std::string& fault, std::uint64_t seed = 1) {
    Plan plan;
    plan.seed = seed;
    ReadInjection read = read_injection(policy, fault);
    REQUIRE_MESSAGE(read.value, read.fault);
    plan.injections.push_back(*read.value);
    return plan;
}

std::string fault_of(const Policy& policy, const Reading& reading) {
    try {
        read_history(policy, reading);
    } catch (const BadFile& error) {
        return error.what();
    }
    return {};
}

std::string fault_of(const std::string& bytes, const Policy& policy = small_plan()) {
    const Folder folder;
    Reading reading;
    reading.from = write(folder, "f", bytes);
    const std::string fault = fault_of(policy, reading);
    // The folder's name is another one each time.
    const std::size_t at = fault.find(reading.from);
    return at == 0 ? "f" + fault.substr(reading.from.size()) : fault;
}

struct Logged {
    std::int64_t at = 0;
    std::string user, agent, status = "success";
    int took = 100;
};

/// Two hours in which users write, fail, retry and are slow; some have no id.
std::vector<Logged> two_hours() {
    std::vector<Logged> rows;
    Draws draws(7);
    for (int i = 0; i < 4'000; ++i) {
        Logged row;
        row.at = monday + static_cast<std::int64_t>(i) * 1'800 + 37;
        const int user = static_cast<int>(draws.next() * 60);
        row.user = user == 0 ? "" : "user-" + std::to_string(user);
        row.agent = user % 3 == 0 ? "jobs" : user % 3 == 1 ? "rides" : "unheard-of";
        if (user % 7 == 1 && draws.next() < 0.3) row.status = "error";
        if (draws.next() < 0.01) row.status = "timeout";
        if (draws.next() < 0.05) row.took = 2'500;
        rows.push_back(row);
    }
    return rows;
}

std::string as_csv(const std::vector<Logged>& rows) {
    std::ostringstream file;
    file << "id,webhook_name,user_id,agent_type,duration_ms,status,created_at\n";
    int id = 0;
    for (const Logged& row : rows) {
        file << ++id << ",old-a," << row.user << ',' << row.agent << ',' << row.took << ','
             << row.status << ',' << row.at << '\n';
    }
    return file.str();
}

History rows_of(const Policy& policy, const std::string& csv) {
    const Folder folder;
    Reading reading;
    reading.from = write(folder, "rows.csv", csv);
    return read_history(policy, reading);
}

/// What a running source would have counted, had the router split the users.
void same(const Tally& played, const Tally& counted) {
    CHECK(played.who == counted.who);
    CHECK(played.segment == counted.segment);
    CHECK(played.requests == counted.requests);
    REQUIRE(played.events.size() == counted.events.size());
    for (std::size_t i = 0; i < played.events.size(); ++i) {
        CHECK(played.events[i].raw == counted.events[i].raw);
        CHECK(played.events[i].first == counted.events[i].first);
    }
    REQUIRE(played.bursts.size() == counted.bursts.size());
    for (std::size_t i = 0; i < played.bursts.size(); ++i) {
        CHECK(played.bursts[i].sum_e == counted.bursts[i].sum_e);
        CHECK(played.bursts[i].sum_e2 == counted.bursts[i].sum_e2);
    }
    CHECK(played.latency.counts == counted.latency.counts);
    CHECK(played.new_users == counted.new_users);
}

}  // namespace

TEST_SUITE("backtest") {
    TEST_CASE("a played look is the one that a running source counts from the same split") {
        Policy policy = small_plan();
        policy.triggers = {burst()};
        policy.triggers.front().over = 10min;
        Trigger each = burst();
        each.name = "each";
        each.each_segment = true;
        policy.triggers.push_back(each);
        const Weight weight{3'000};
        std::vector<Logged> rows = two_hours();
        // A row without an id is on either side by chance: here none is.
        std::erase_if(rows, [](const Logged& row) { return row.user.empty(); });

        const Folder folder;
        const std::string path = folder.file("metrics.db");
        canaryd::testing::MetricsFile file(path);
        for (const Logged& row : rows) {
            canaryd::testing::Logged logged;
            logged.webhook = on_canary(policy.name, row.user, weight) ? "new" : "old-a";
            logged.user = row.user;
            logged.agent = row.agent;
            logged.at = row.at;
            logged.took = row.took;
            logged.status = row.status;
            file.log(logged);
        }
        canaryd::testing::Observer observer(policy, path);

        const History history = rows_of(policy, as_csv(rows));
        CHECK(history.has_users);
        CHECK(history.looks == 24);
        const std::vector<Injection> none;
        const Arms arms(policy, history, none, 1);
        Looks looks(policy, history);
        Ask ask;
        ask.from = history.begin;
        ask.windows_from = history.begin;
        ask.gate_from = history.begin + 10min;
        ask.users_wanted = {"jobs", "rides"};
        for (std::int64_t look = 0; look < history.looks; ++look) {
            CAPTURE(look);
            ask.to = ask.from + 5min;
            const Look counted = observer.observe(ask);
            const Look played = looks.next(ask, arms.play(look, weight));
            REQUIRE(played.on_time.size() == counted.on_time.size());
            for (std::size_t i = 0; i < played.on_time.size(); ++i) {
                same(played.on_time[i], counted.on_time[i]);
            }
            REQUIRE(played.windows.size() == counted.windows.size());
            for (std::size_t i = 0; i < played.windows.size(); ++i) {
                const Window& mine = played.windows[i];
                const Window& theirs = counted.windows[i];
                CHECK(mine.trigger == theirs.trigger);
                CHECK(mine.segment == theirs.segment);
                CHECK(mine.requests == theirs.requests);
                CHECK(mine.failures == theirs.failures);
                CHECK(mine.users == theirs.users);
                if (mine.trigger != "expect_traffic") CHECK(mine.from == theirs.from);
            }
            ask.cursor = counted.cursor;
            ask.from = ask.to;
        }
    }

    TEST_CASE("each recorded request is on one side, at every weight") {
        const Policy policy = small_plan();
        const History rows = rows_of(policy, as_csv(two_hours()));
        const History counts = counts_of(policy, 24, 100);
        const std::vector<Injection> none;
        for (const History* history : {&rows, &counts}) {
            const Arms arms(policy, *history, none, 1);
            for (const int basis_points : {0, 1'000, 5'000, 10'000}) {
                std::int64_t canary = 0, legacy = 0;
                for (std::int64_t look = 0; look < history->looks; ++look) {
                    const Played played = arms.play(look, Weight{basis_points});
                    canary += played.sides[0].requests[0];
                    legacy += played.sides[1].requests[0];
                }
                CHECK(canary + legacy == history->requests);
                if (basis_points == 0) CHECK(canary == 0);
                if (basis_points == 10'000) CHECK(legacy == 0);
                const double share =
                    static_cast<double>(canary) / static_cast<double>(history->requests);
                CHECK(std::abs(share - basis_points / 10'000.0) < 0.12);
            }
        }
    }

    TEST_CASE("healthy records go through the whole plan, and nobody is alarmed") {
        const Policy policy = small_plan();
        const History history = counts_of(policy, 5 * 288 + 1, 200);
        const Result result = replay(policy, history, Plan{});
        CHECK(result.end == Result::End::ready_to_finish);
        CHECK(result.false_alarms.empty());
        CHECK(result.rollout.bake_seen.size() == 2);
        // 24 h + 24 h + 72 h; a raise's first look begins where the step before ended.
        CHECK(result.at - result.begin == 120h);
        const Report report{policy, history, Plan{}, result};
        CHECK(exit_code_of(report) == 0);
    }

    TEST_CASE("a fault of one agent is found, named, and its delay counted from its begin") {
        const Policy policy = small_plan();
        const History history = counts_of(policy, 3 * 288, 200);
        const Plan plan = with_fault(policy, "errors 20% agent=rides from=12h");
        const Result result = replay(policy, history, plan);
        CHECK(result.end == Result::End::rolled_back);
        REQUIRE(result.found.size() == 1);
        const Found& found = result.found.front();
        REQUIRE(found.rolled_back);
        CHECK(found.began == result.begin + 12h);
        CHECK(*found.rolled_back > found.began);
        CHECK(*found.rolled_back <= found.began + 2h);
        CHECK(found.requests > 0);
        CHECK(found.made < found.requests);
        CHECK(result.rollout.reason.find("rides") != std::string::npos);
        CHECK(result.false_alarms.empty());
        // Operators hear of it, with the reason.
        REQUIRE_FALSE(result.told.empty());
        CHECK(result.told.back().notice.kind == Notice::Kind::rolled_back);
        const Report report{policy, history, plan, result};
        CHECK(exit_code_of(report) == 3);
        CHECK(page(report, {}).find("ROLLED BACK") != std::string::npos);
    }

    TEST_CASE("slow answers are found as well, and are no failures") {
        const Policy policy = small_plan();
        const History history = counts_of(policy, 288, 200);
        const Result result = replay(policy, history, with_fault(policy, "slow 40% from=6h"));
        CHECK(result.end == Result::End::rolled_back);
        CHECK(result.rollout.reason.find("latency") != std::string::npos);
    }

    TEST_CASE("an outage of both arms holds, and is over when it is over") {
        const Policy policy = small_plan();
        const History history = counts_of(policy, 288, 200);
        const Plan plan = with_fault(policy, "errors 100% from=6h until=6h30m both");
        const Result result = replay(policy, history, plan);
        CHECK(result.end == Result::End::records_over);
        CHECK(result.rollout.holds.empty());
        REQUIRE(result.found.front().held);
        CHECK_FALSE(result.found.front().rolled_back);
        CHECK(result.false_alarms.empty());
        // Only the canary: that is its own fault.
        const Result alone =
            replay(policy, history, with_fault(policy, "errors 100% from=6h until=6h30m"));
        CHECK(alone.end == Result::End::rolled_back);
    }

    TEST_CASE("a canary that keeps its limits and is worse than the legacy is held, and told so") {
        Policy policy = small_plan();
        policy.criteria.front().limit = 0.05;
        Criterion compared{"errors-vs-legacy", "error_rate", {}, 0};
        compared.no_worse_than = Margin{1.2, 0.001};
        compared.then = Action::hold;
        policy.criteria.push_back(compared);
        const History history = counts_of(policy, 288, 200);
        const Plan plan = with_fault(policy, "errors 3% from=6h");
        const Result result = replay(policy, history, plan);
        CHECK(result.end == Result::End::records_over);
        REQUIRE(result.found.front().held);
        CHECK(result.rollout.hold(Hold::Kind::criterion) != nullptr);
        CHECK(result.false_alarms.empty());
        double most = 0;
        for (const Sample& sample : result.samples) most = std::max(most, sample.hold_ln_m);
        CHECK(hold_of_100(policy, most) >= 100);
        const Report report{policy, history, plan, result};
        CHECK(exit_code_of(report) == 4);
        CHECK(as_html(report).find("\"hold\":[]") == std::string::npos);
    }

    TEST_CASE("records that are bad by themselves are a false alarm, and are called so") {
        Policy policy = small_plan();
        policy.hold_on_shared_outage = false;  // else it holds: the legacy is as bad
        const History history = counts_of(policy, 288, 200, 0.05);
        const Result result = replay(policy, history, Plan{});
        CHECK(result.end == Result::End::rolled_back);
        REQUIRE_FALSE(result.false_alarms.empty());
        CHECK(result.false_alarms.back().rollback);
        const Report report{policy, history, Plan{}, result};
        CHECK(page(report, {}).find("FALSE ROLLBACK") != std::string::npos);

        policy.hold_on_shared_outage = true;
        const Result held = replay(policy, history, Plan{});
        CHECK(held.end == Result::End::records_over);
        REQUIRE_FALSE(held.false_alarms.empty());
        CHECK_FALSE(held.false_alarms.back().rollback);
    }

    TEST_CASE("triggers are replayed: k of n looks, with their floor of users") {
        Policy policy = small_plan();
        policy.triggers = {burst()};
        policy.floor_users = 1'000'000;  // the criteria stay silent
        const History history = counts_of(policy, 288, 200);
        const Result result = replay(policy, history, with_fault(policy, "errors 90% from=2h"));
        CHECK(result.end == Result::End::rolled_back);
        CHECK(result.rollout.reason.find("trigger burst") == 0);
        // 15 minutes of mostly good requests in front: above 50 % from the second look on, and
        // two of three looks are wanted.
        CHECK(result.at - result.begin == 2h + 15min);
    }

    TEST_CASE("the same seed plays the same, another one another split") {
        const Policy policy = small_plan();
        const History history = counts_of(policy, 288, 50);
        const auto json_of = [&](std::uint64_t seed) {
            const Plan plan = with_fault(policy, "errors 1% from=2h", seed);
            const Result result = replay(policy, history, plan);
            return as_json(Report{policy, history, plan, result});
        };
        CHECK(json_of(3) == json_of(3));
        CHECK(json_of(3) != json_of(4));
    }

    TEST_CASE("records that end first say so; repeated in whole days they last for the plan") {
        const Policy policy = small_plan();
        const History history = counts_of(policy, 288 + 100, 200);
        Plan plan;
        const Result once = replay(policy, history, plan);
        CHECK(once.end == Result::End::records_over);
        CHECK(once.at - once.begin == 388 * 5min);
        plan.repeat = true;
        const Result repeated = replay(policy, history, plan);
        CHECK(repeated.end == Result::End::ready_to_finish);
        CHECK(repeated.times_played == 5);
        // The second day is the first one again, at the same hour.
        const std::vector<Injection> none;
        const Arms arms(policy, history, none, 1);
        CHECK(arms.period() == 288);
        const auto all = [&](std::int64_t look) {
            return arms.play(look, nobody).sides[1].events[0];
        };
        CHECK(all(388) == all(100));
        CHECK(all(388 + 288) == all(100));
    }

    TEST_CASE("the whole of a user's failures counts once in a block, whatever is injected") {
        // One user of the canary retries for an hour and fails each time.
        const Policy policy = small_plan();
        std::string user;
        for (int i = 0; user.empty(); ++i) {
            const std::string one = "user-" + std::to_string(i);
            if (on_canary(policy.name, one, Weight{1'000})) user = one;
        }
        std::vector<Logged> rows;
        for (int i = 0; i < 720; ++i) {
            Logged row;
            row.at = monday + i * 5'000LL;
            row.user = user;
            row.agent = "jobs";
            row.status = "error";
            rows.push_back(row);
        }
        const Result result = replay(policy, rows_of(policy, as_csv(rows)), Plan{});
        CHECK(result.end == Result::End::records_over);
        CHECK(result.canary_requests == 720);
    }

    TEST_CASE("rows mean what they mean to a running source") {
        const Policy policy = small_plan();
        const History history = rows_of(
            policy,
            "created_at,status,webhook_name,duration_ms,agent_type,user_id,started_at,"
            "completed_at\n"
            "2026-01-12T00:00:00Z,success,old-a,2500,jobs,u1,,\n"
            "2026-01-12 00:00:01.5+00,error,old-b,,rides,u2,,\n"
            "2026-01-12 02:00:02+0200,success,old-a,,\"jobs\",u3,1768176000000,1768176004000\n"
            "1768176003,timeout,old-a,100,,,,\n"
            "1768176004000,success,old-a,,jobs,u4,,\n"  // never ended
            "1768176005000,success,new,100,jobs,u5,,\n"
            "1768176006000,success,somebody,100,jobs,u5,,\n"
            "1768176007000,half done,old-a,100,jobs,u5,,\n"
            "1768176900000,success,old-a,1,jobs,u1,,\n"
            "1768176900000,success,old-a,,jobs,u1,,\n");  // still running when the records end
        REQUIRE(history.recorded.size() == 6);
        CHECK(history.recorded[0].took == 2'500);
        CHECK(history.recorded[1].failed);
        CHECK(history.recorded[1].segment == 2);
        CHECK(history.recorded[2].second == 2);
        CHECK(history.recorded[2].took == 4'000);
        CHECK(history.recorded[3].timed_out);
        CHECK(history.recorded[3].segment == 0);
        CHECK(history.recorded[4].timed_out);
        CHECK(history.recorded[5].second == 900);
        std::string notes;
        for (const std::string& note : history.notes) notes += note + "\n";
        CHECK(notes.find("1 row was left out as not to be believed, the first: ") == 0);
        CHECK(notes.find(":9: status \"half done\"") != std::string::npos);
        CHECK(notes.find("1 row of new was left out: the legacy plays both arms") !=
              std::string::npos);
        CHECK(notes.find("such as \"somebody\"") != std::string::npos);
    }

    TEST_CASE("a SQLite table and its export as CSV play the same") {
        const Policy policy = small_plan();
        const std::vector<Logged> rows = two_hours();
        const Folder folder;
        canaryd::testing::MetricsFile file(folder.file("metrics.db"));
        for (const Logged& row : rows) {
            canaryd::testing::Logged logged;
            logged.webhook = "old-a";
            logged.user = row.user;
            logged.agent = row.agent;
            logged.at = row.at;
            logged.took = row.took;
            logged.status = row.status;
            file.log(logged);
        }
        Reading reading;
        reading.from = folder.file("metrics.db");
        const History table = read_history(policy, reading);
        const History csv = rows_of(policy, as_csv(rows));
        const auto moments_of = [&](const History& history) {
            std::string all;
            const Result result = replay(policy, history, with_fault(policy, "errors 30%"));
            for (const Moment& moment : result.moments) all += moment.text + "\n";
            return all + std::to_string(result.canary_requests);
        };
        CHECK(moments_of(table) == moments_of(csv));
        reading.table = "no_such";
        CHECK(fault_of(policy, reading).find("no such table: no_such") != std::string::npos);
    }

    TEST_CASE("a web server's log: paths are segments, addresses are users, 5xx has failed") {
        const Policy policy = small_plan();
        const std::string agent = "\"-\" \"curl/8 (\\\"x\\\")\" ";
        const Folder folder;
        Reading reading;
        reading.from = write(
            folder, "access.log",
            "10.0.0.1 - - [12/Jan/2026:00:00:00 +0000] \"POST /v1/jobs?a=1 HTTP/1.1\" 200 5 " +
                agent +
                "2.500\n10.0.0.2 - u [12/Jan/2026:02:00:01 +0200] \"GET /rides HTTP/2\" "
                "503 - " +
                agent +
                "1200\n2001:db8::1 - - [12/Jan/2026:00:00:02 +0000] \"GET /v1/jobs/x\" "
                "504 0 " +
                agent + "rt=0.1\n10.0.0.1 - - [12/Jan/2026:00:00:03 +0000] \"-\" 408 0 " + agent +
                "0.0\n10.0.0.1 - - [12/Jan/2026:00:00:04 +0000] \"GET /favicon.ico HTTP/1.1\" 404 "
                "0 " +
                agent + "0.001\r\n");
        const History history = read_history(policy, reading);
        REQUIRE(history.recorded.size() == 4);
        CHECK(history.users.size() == 3);
        CHECK(history.recorded[0].segment == 1);
        CHECK(history.recorded[0].took == 2'500);
        CHECK(history.recorded[1].second == 1);
        CHECK(history.recorded[1].segment == 2);
        CHECK(history.recorded[1].failed);
        CHECK(history.recorded[1].took == 2);  // 1200 us, begun
        CHECK(history.recorded[2].timed_out);
        CHECK_FALSE(history.recorded[3].failed);  // 404 is the client's
        CHECK(history.recorded[3].segment == 0);

        reading.log.only = "/v1/";
        reading.log.segments = {{"/v1/", "rides"}, {"/v1/jobs/", "jobs"}};
        const History chosen = read_history(policy, reading);
        REQUIRE(chosen.recorded.size() == 2);
        CHECK(chosen.recorded[0].segment == 2);
        CHECK(chosen.recorded[1].segment == 1);
    }

    TEST_CASE("a log without latency proves nothing about latency") {
        const std::string log =
            "10.0.0.1 - - [12/Jan/2026:00:00:00 +0000] \"GET /jobs HTTP/1.1\" 200 5 \"-\" \"x\"\n";
        CHECK(fault_of(log) ==
              "f:1: no time behind the user agent, and the policy judges latency; log nginx's "
              "$request_time or Apache's %D there, or leave latency out with --ignore-latency");
        const Policy policy = without_latency(small_plan());
        CHECK(policy.criteria.size() == 1);
        CHECK(fault_of(log, policy).empty());
    }

    TEST_CASE("each mistake in a file is named with its line and its mend") {
        const std::string rows = "webhook_name,agent_type,status,duration_ms,created_at\n";
        const std::string counts = "time,agent_type,requests,errors,slow_2s\n";
        const std::string buckets = "time,agent_type,requests,errors,le_1500ms,le_2500ms,le_inf\n";
        struct Bad {
            std::string bytes, fault;
        };
        const std::vector<Bad> all{
            {"", "f: is empty"},
            {std::string("\x1f\x8b\x08", 3), "f: is compressed; unpack it first (gunzip -k)"},
            {"hello\n", "f:1: this is neither a SQLite file"},
            {"time;requests\n", "f:1: the columns are not separated by commas"},
            {rows + "old-a,jobs,success,1\n",
             "f:2: 4 fields, the header has 5; a comma inside a field needs quotes around it"},
            {rows + "\nold-a,\"jobs\",success,1,yesterday\n",
             "f:3: created_at: \"yesterday\" is no time; write 2026-01-11T09:00:00Z, or "
             "milliseconds since 1970"},
            {rows + "old-a,\"jo\nbs,success,1,2026-01-12T00:00:00Z\n",
             "f:2: a quote is opened in this row and never closed"},
            {rows + "old-a,\"jobs\"x,success,1,2026-01-12T00:00:00Z\n",
             "f:2: text after a closing quote"},
            {"webhook_name,status,created_at,duration_ms\n",
             "f:1: there is no column agent_type; the policy's segments are in it. The columns "
             "are: webhook_name, status, created_at, duration_ms"},
            {"status,status,created_at\n", "f:1: column \"status\" is named twice"},
            {rows + "new,jobs,success,1,2026-01-12T00:00:00Z\n",
             "f, rows of the metrics table: no request of old-a, old-b to play; 1 are the "
             "canary's own"},
            {rows + "old-a,jobs,success,1,1973-06-01T00:00:00Z\n" +
                 "old-a,jobs,success,1,2026-01-12T00:00:00Z\n",
             "more than 400 days; one wrong time may be among them"},
            {"time,agent_type,requests,errors\n",
             "f:1: there is no column slow_2s; a criterion needs it; count it, or leave latency "
             "out with --ignore-latency. The columns are: time, agent_type, requests, errors"},
            {counts + "2026-01-12T00:00:00Z,jobs,10,11,0\n",
             "f:2: errors: 11 of 10 requests; there cannot be more of them than requests"},
            {counts + "2026-01-12T00:00:00Z,jobs,-1,0,0\n",
             "f:2: requests: \"-1\" is no count; write a whole number from 0"},
            {counts + "2026-01-12T00:00:00Z,jobs,1.5,0,0\n", "f:2: requests: \"1.5\" is no count"},
            {counts + "2026-02-30T00:00:00Z,jobs,1,0,0\n",
             "f:2: time: \"2026-02-30T00:00:00Z\" is no time"},
            {counts, "f, counts: no counts of the legacy to play"},
            {buckets + "2026-01-12T00:00:00Z,jobs,10,0,8,7,10\n", "f:2: the buckets fall"},
            {buckets + "2026-01-12T00:00:00Z,jobs,10,0,7,8,9\n",
             "f:2: le_inf: 9 of 10 requests; it has all of them"},
            {"time,agent_type,requests,errors,le_2s\n",
             "f:1: there is no column le_inf; it is the histogram's last bucket"},
            {"time,agent_type,requests,errors,le_2,le_inf\n", "f:1: column \"le_2\": \"2\""},
            {"time,agent_type,requests,errors,le_2s,le_2000ms,le_inf\n",
             "are the same bucket; remove one"},
            {"1.2.3.4 - - [12/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"x\" 1\n"
             "rubbish\n",
             "f:2: no [time] behind address, ident and user; is the log in combined format?"},
            {"1.2.3.4 - - [12/Foo/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1\n",
             "f:1: \"12/Foo/2026:00:00:00 +0000\" is no time such as 11/Jan/2026:09:00:00 +0000"},
            {"1.2.3.4 - - [12/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" OK 1\n",
             "f:1: \"OK\" is no status such as 200"},
        };
        for (const Bad& bad : all) {
            const std::string fault = fault_of(bad.bytes);
            CAPTURE(bad.bytes);
            CAPTURE(fault);
            CHECK(fault.find(bad.fault) != std::string::npos);
        }
        Reading reading;
        reading.from = "/nonexistent/x.csv";
        CHECK(fault_of(small_plan(), reading).find("No such file") != std::string::npos);
        reading.from = "/";
        CHECK(fault_of(small_plan(), reading) == "/: is a folder");
    }

    TEST_CASE("any bytes end in a history or in a sentence, never in a crash") {
        Draws draws(11);
        const std::string seeds[] = {
            as_csv(two_hours()).substr(0, 3'000), healthy_counts(10, 20),
            "1.2.3.4 - - [12/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"x\" 1\n"
            "1.2.3.4 - - [12/Jan/2026:00:00:01 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"x\" 1\n"};
        constexpr char odd[] = "\",\n\r\0\x80\xff[]- 9;eE.";
        const std::string spice(odd, sizeof odd - 1);
        int good = 0, bad = 0;
        for (int trial = 0; trial < 300; ++trial) {
            std::string bytes = seeds[trial % 3];
            const int changes = 1 + static_cast<int>(draws.next() * 4);
            for (int i = 0; i < changes; ++i) {
                const auto at =
                    static_cast<std::size_t>(draws.next() * static_cast<double>(bytes.size()));
                bytes[at] = spice[static_cast<std::size_t>(draws.next() *
                                                           static_cast<double>(spice.size()))];
            }
            if (draws.next() < 0.2) bytes.resize(bytes.size() / 2);
            (fault_of(bytes).empty() ? good : bad) += 1;
        }
        CHECK(good > 20);
        CHECK(bad > 20);
    }

    TEST_CASE("counts that are coarser than a look are looked at as often as they are counted") {
        Policy policy = small_plan();
        const std::string file =
            "time,requests,errors,slow_2s\n"
            "2026-01-12T00:00:00Z,100,1,2\n2026-01-12T01:00:00Z,100,0,2\n"
            "2026-01-12T03:00:00Z,100,0,2\n";
        const Folder folder;
        Reading reading;
        reading.from = write(folder, "hourly.csv", file);
        const History history = read_history(policy, reading);
        CHECK(history.look == 1h);
        CHECK(history.looks == 4);
        CHECK(history.requests == 300);
        std::string notes;
        for (const std::string& note : history.notes) notes += note + "\n";
        CHECK(notes.find("no column agent_type") != std::string::npos);
        CHECK(notes.find("a row counts 1h") != std::string::npos);
    }

    TEST_CASE("a histogram with a bucket at the limit counts what a column of slow ones does") {
        const Policy policy = small_plan();
        const History columns =
            history_of(policy, "time,requests,errors,slow_2s\n2026-01-12T00:00:00Z,100,1,7\n");
        const History buckets = history_of(
            policy,
            "time,requests,errors,le_inf,le_2s,le_500ms\n2026-01-12T00:00:00Z,100,1,100,93,20\n");
        CHECK(buckets.counts.events == columns.counts.events);
        CHECK(buckets.counts.sure.empty());
        CHECK(buckets.notes == columns.notes);
    }

    TEST_CASE("between two buckets, what may be slow is no harm, and no proof of health either") {
        const Policy policy = small_plan();
        const History history = history_of(policy,
                                           "time,requests,errors,le_1500ms,le_2500ms,le_inf\n"
                                           "2026-01-12T00:00:00Z,1000,0,900,970,1000\n");
        std::string notes;
        for (const std::string& note : history.notes) notes += note + "\n";
        CHECK(notes.find("criterion latency: no bucket ends at its 2s, so requests between "
                         "le_1500ms and le_2500ms") != std::string::npos);
        CHECK(notes.find("Count a bucket le_2s") != std::string::npos);

        // The second signal is the latency's; 30 are slow beyond doubt, 100 may be.
        const auto looked = [&](const std::vector<Injection>& injections) {
            const Arms arms(policy, history, injections, 1);
            Looks looks(policy, history);
            Ask ask;
            ask.from = ask.windows_from = ask.gate_from = history.begin;
            ask.to = ask.from + history.look;
            return looks.next(ask, arms.play(0, Weight{3'000}));
        };
        const Look healthy = looked({});
        const Tally& canary = healthy.on_time.at(0);
        const Tally& legacy = healthy.on_time.at(1);
        REQUIRE(legacy.who == Population::baseline);
        CHECK(canary.events[1].counted() + legacy.events[1].counted() == 30);
        CHECK(canary.events[1].raw + legacy.events[1].raw == 100);
        CHECK(canary.events[1].raw > canary.events[1].counted());
        CHECK(canary.bursts[1].sum_e == canary.events[1].raw);

        // A canary that becomes slower than the limit and not than the next bucket is not harm.
        const Look slow = looked(with_fault(policy, "slow 50%").injections);
        CHECK(slow.on_time[0].events[1].raw > 2 * canary.events[1].raw);
        CHECK(slow.on_time[0].events[1].counted() == canary.events[1].counted());
    }

    TEST_CASE("times as databases write them") {
        CHECK(read_time("2026-01-12T00:00:00Z") == monday);
        CHECK(read_time("2026-01-12 00:00:00+00") == monday);
        CHECK(read_time("2026-01-12 02:00:00.123456+02") == monday + 123);
        CHECK(read_time("2026-01-11T18:30:00-05:30") == monday);
        CHECK(read_time("2026-01-12T00:00") == monday);
        CHECK(read_time("2026-01-12 00:00:00 UTC") == monday);
        CHECK(read_time("1768176000") == monday);
        CHECK(read_time("1768176000000") == monday);
        for (const char* bad : {"", "now", "2026-13-01T00:00:00Z", "2026-01-12T25:00:00Z",
                                "2026-01-12", "12/01/2026 00:00:00", "2026-01-12T00:00:00Zx",
                                "1e12", "99999999999999999999", "-5", "2026-01-12T00:00:00+99"}) {
            CAPTURE(bad);
            CHECK_FALSE(read_time(bad));
        }
    }

    TEST_CASE("a fault that cannot be read is refused with the mend") {
        const Policy policy = small_plan();
        const auto fault = [&](const std::string& text) {
            return read_injection(policy, text).fault;
        };
        CHECK(fault("errors 2% agent=jobs from=3d until=4d both").empty());
        CHECK(fault("errors").find("a kind and a share are wanted") != std::string::npos);
        CHECK(fault("erors 2%").find("did you mean errors?") != std::string::npos);
        CHECK(fault("errors 2").find("\"2\" has no unit; write 2%") != std::string::npos);
        CHECK(fault("errors 0%").find("not above 0%") != std::string::npos);
        CHECK(fault("errors 101%").find("at most 100%") != std::string::npos);
        CHECK(fault("errors 2% agent=job").find("did you mean jobs?") != std::string::npos);
        CHECK(fault("errors 2% form=3d").find("did you mean from?") != std::string::npos);
        CHECK(fault("errors 2% from=3").find("\"3\" has no unit; write 3d") != std::string::npos);
        CHECK(fault("errors 2% from=3d until=2d").find("until is not after from") !=
              std::string::npos);
        CHECK(read_injection(without_latency(policy), "slow 2%").fault.find("latency") !=
              std::string::npos);
    }

    TEST_CASE("nothing in the records can become markup or end the page's script") {
        Policy policy = small_plan();
        policy.segments = {"jobs", "</script><b>"};
        const History history = rows_of(policy,
                                        "webhook_name,agent_type,status,duration_ms,created_at\n"
                                        "old-a,</script><b>,success,1,2026-01-12T00:00:00Z\n"
                                        "<img src=x>,jobs,success,1,2026-01-12T00:00:00Z\n");
        const Result result = replay(policy, history, Plan{});
        const std::string page = as_html(Report{policy, history, Plan{}, result});
        CHECK(page.find("<img src=x>") == std::string::npos);
        CHECK(page.find("&lt;img src=x&gt;") != std::string::npos);
        CHECK(page.find("</script><b>") == std::string::npos);
        CHECK(page.find("\\u003c/script>\\u003cb>") != std::string::npos);
        for (const char* outside : {"http://", "https://", "@import", "url("}) {
            // The one exception names SVG, and nobody fetches a name space.
            std::size_t at = page.find(outside);
            if (at != std::string::npos &&
                page.compare(at, 26, "http://www.w3.org/2000/svg") == 0) {
                at = page.find(outside, at + 1);
            }
            CHECK_MESSAGE(at == std::string::npos, outside);
        }
    }

    TEST_CASE("binomial draws have their mean and their spread") {
        Draws draws(5);
        for (const auto& [n, p] : {std::pair{20, 0.1}, {1'000, 0.01}, {1'000, 0.4}, {50, 0.9}}) {
            double sum = 0, squares = 0;
            const int trials = 4'000;
            for (int i = 0; i < trials; ++i) {
                const auto k = static_cast<double>(draws.binomial(n, p));
                REQUIRE(k >= 0);
                REQUIRE(k <= n);
                sum += k;
                squares += k * k;
            }
            const double mean = sum / trials, spread = squares / trials - mean * mean;
            CAPTURE(n);
            CAPTURE(p);
            CHECK(mean == doctest::Approx(n * p).epsilon(0.05));
            CHECK(spread == doctest::Approx(n * p * (1 - p)).epsilon(0.12));
        }
    }
}
