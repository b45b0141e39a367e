// The production controller in the simulated world, one fault at a time.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "daemon/log.hpp"
#include "tests/simulation/world.hpp"

using namespace canaryd;
using namespace canaryd::simulation;
using namespace std::chrono_literals;

namespace {

constexpr Duration day = std::chrono::hours{24};

/// Everybody is well; the test says what is not.
Plan calm() {
    Plan plan;
    plan.seed = 4242;
    return plan;
}

/// Until half of the canary's requests fail, for good.
Plan calm_until(Duration at) {
    Plan plan = calm();
    plan.fault_rate = 0.5;
    plan.fault_at = at;
    plan.fault_for = 60 * day;
    return plan;
}

Run run(const Plan& plan, int days) {
    set_log_level(Level::critical);  // simulated faults are no news
    Run result = simulate(plan, days);
    set_log_level(Level::info);
    for (const std::string& what : check(result)) FAIL_CHECK(what);
    return result;
}

std::size_t index_of(const Run& run, const std::function<bool(const Trace&)>& which) {
    const auto found = std::find_if(run.traces.begin(), run.traces.end(), which);
    return static_cast<std::size_t>(found - run.traces.begin());
}

std::size_t lowered(const Run& run) {
    return index_of(run, [](const Trace& t) {
        return t.kind == Trace::Kind::route && t.weight == nobody && t.before > nobody;
    });
}

std::size_t rollback_committed(const Run& run) {
    std::size_t entry = 0;
    return index_of(run, [&](const Trace& t) {
        return t.kind == Trace::Kind::commit && run.decided[entry++].status == Status::rolled_back;
    });
}

}  // namespace

TEST_SUITE("controller") {
    TEST_CASE("a healthy rollout walks 10, 50, 100 % and soaks to its end in 44 days") {
        const Run result = run(calm(), 45);
        REQUIRE_FALSE(result.decided.empty());
        CHECK(result.decided.back().status == Status::finishing);
        CHECK(result.served.weight == everybody);
    }

    TEST_CASE("metrics that cannot be read refuse the start, and nobody is moved until they can") {
        Plan plan = calm();
        plan.source_dead_at = Duration{0};
        plan.source_dead_for = std::chrono::hours{6};
        const Run result = run(plan, 1);
        for (const Trace::Kind kind : {Trace::Kind::commit, Trace::Kind::route}) {
            const auto first = index_of(result, [&](const Trace& t) { return t.kind == kind; });
            REQUIRE(first < result.traces.size());
            CHECK_FALSE(result.traces[first].source_was_dead);
        }
        CHECK(result.served.weight == Weight{1'000});
    }

    TEST_CASE("a lease outlives every restart that is quicker, a longer one is a hold at 0 %") {
        Plan plan = calm();
        plan.crashes_per_day = 4;  // and every fifth time the machine is away, for up to two hours
        const auto lapsed = [](const Run& result) {
            return std::any_of(result.journal.begin(), result.journal.end(),
                               [](const JournalEntry& entry) {
                                   return entry.reason.find("lease lapsed") != std::string::npos;
                               });
        };
        SUBCASE("four hours, renewed when one has gone") {
            plan.lease = "4h";
            const Run result = run(plan, 45);
            CHECK(result.decided.back().status == Status::finishing);
            CHECK(result.served.weight == everybody);
            CHECK(result.served_until);
            CHECK_FALSE(lapsed(result));
        }
        SUBCASE("half an hour") {
            plan.lease = "30m";
            const Run result = run(plan, 10);
            CHECK(lapsed(result));
            CHECK(result.decided.back().status == Status::progressing);
            CHECK(result.served.weight == nobody);
        }
    }

    TEST_CASE("a lease that lapsed while nobody looked is 0 % in the row as well") {
        Plan plan = calm();
        plan.lease = "4h";
        plan.router_dead_at = 8 * day;
        plan.router_dead_for = std::chrono::hours{5};
        const Run result = run(plan, 9);
        CHECK(result.served.weight == nobody);
        CHECK_FALSE(result.served_until);
    }

    TEST_CASE(
        "a route that is at the first step's weight already is ordered once, and is canaryd's") {
        Plan plan = calm();
        plan.found = {Weight{1'000}, 1, "taken over", "200 of 2000 users had the flag"};
        const Run result = run(plan, 3);
        const auto orders =
            std::count_if(result.traces.begin(), result.traces.end(),
                          [](const Trace& trace) { return trace.kind == Trace::Kind::route; });
        CHECK(orders == 1);
        CHECK(result.served.by == "canaryd");
        CHECK(result.served.weight == Weight{1'000});
        CHECK(result.decided.back().status == Status::progressing);
    }

    TEST_CASE("each milestone reaches the router's history, in order, after the route has moved") {
        Plan plan = calm();
        SUBCASE("to the end, though a call may fail") {
            plan.router_fails = 0.2;
        }
        SUBCASE("to a rollback") {
            plan = calm_until(10 * day);
        }
        plan.history = true;
        const Run result = run(plan, 45);
        std::vector<Weight> weights;
        std::uint64_t newest = 0;
        for (const Trace& trace : result.traces) {
            if (trace.kind != Trace::Kind::history) continue;
            CHECK(trace.revision > newest);
            newest = trace.revision;
            if (weights.empty() || weights.back() != trace.weight) weights.push_back(trace.weight);
            if (trace.weight == nobody) CHECK(trace.before == nobody);
        }
        const bool rolled_back = result.decided.back().status == Status::rolled_back;
        CHECK(rolled_back == (plan.fault_rate > 0));
        CHECK(weights == (rolled_back
                              ? std::vector<Weight>{Weight{1'000}, Weight{5'000}, nobody}
                              : std::vector<Weight>{Weight{1'000}, Weight{5'000}, everybody}));
    }

    TEST_CASE("durable first: the rollback is in the journal before the route moves") {
        const Run result = run(calm_until(2 * day), 4);
        CHECK(result.decided.back().status == Status::rolled_back);
        REQUIRE(lowered(result) < result.traces.size());
        CHECK(rollback_committed(result) < lowered(result));
    }

    TEST_CASE("a burst of failures is found by a peek and does not wait for the next look") {
        const Run result = run(calm_until(2 * day), 3);
        const auto rolled_back = std::find_if(
            result.decided.begin(), result.decided.end(),
            [](const Decided& decided) { return decided.status == Status::rolled_back; });
        REQUIRE(rolled_back != result.decided.end());
        const auto entry = static_cast<std::size_t>(rolled_back - result.decided.begin());
        CHECK(std::holds_alternative<event::Peeked>(result.journal[entry].event.what));
    }

    TEST_CASE("a store that is full stops every raise, not a rollback, which is recorded late") {
        Plan plan = calm_until(2 * day);
        plan.store_full_at = 1 * day;
        plan.store_full_for = 2 * day;
        const Run result = run(plan, 5);
        REQUIRE(lowered(result) < result.traces.size());
        REQUIRE(rollback_committed(result) < result.traces.size());
        CHECK(lowered(result) < rollback_committed(result));
        CHECK(result.decided.back().status == Status::rolled_back);
        const auto late = std::find_if(
            result.journal.begin(), result.journal.end(), [](const JournalEntry& entry) {
                return entry.event.role.find("recorded late") != std::string::npos;
            });
        CHECK(late != result.journal.end());
    }

    TEST_CASE("a store that is full for the whole bake raises nothing") {
        Plan plan = calm();
        plan.store_full_at = 1h;
        plan.store_full_for = 20 * day;
        const Run result = run(plan, 20);
        for (const Trace& trace : result.traces) {
            if (trace.kind != Trace::Kind::route) continue;
            CHECK(trace.weight <= Weight{1'000});
        }
    }

    TEST_CASE("a dead Slack delays nothing: the route moves first, the notice comes when it can") {
        Plan plan = calm_until(2 * day);
        plan.notifier_dead_at = Duration{1};
        plan.notifier_dead_for = 60 * day;
        const Run result = run(plan, 4);
        // "started" goes out before Slack dies.
        const std::size_t told = index_of(result, [](const Trace& trace) {
            return trace.kind == Trace::Kind::sent && trace.revision > 1;
        });
        REQUIRE(lowered(result) < result.traces.size());
        CHECK(lowered(result) < told);
    }

    TEST_CASE("an edited policy, offered again and again, changes nothing that runs") {
        Plan plan = calm();
        plan.edited_at = 1 * day;
        plan.crashes_per_day = 1;  // it is offered after each of them
        SUBCASE("loosened") {}
        SUBCASE("broken") {
            plan.edit_is_broken = true;
        }
        const Run result = run(plan, 12);
        const auto offered = std::count_if(
            result.journal.begin(), result.journal.end(), [](const JournalEntry& entry) {
                return entry.refused && std::holds_alternative<event::Started>(entry.event.what);
            });
        CHECK((offered > 0) != plan.edit_is_broken);  // a broken one is no start at all
        CHECK(result.decided.back().desired == Weight{5'000});
        for (const Decided& decided : result.decided) {
            CHECK((decided.desired == nobody || decided.desired == Weight{1'000} ||
                   decided.desired == Weight{5'000}));
        }
    }

    TEST_CASE("a rollback asks for its top errors after the route has moved, however late") {
        Plan plan = calm_until(2 * day);
        plan.router_dead_at = 1 * day;
        plan.router_dead_for = 2 * day;
        const auto asked = [](const Trace& t) { return t.kind == Trace::Kind::asked; };
        const auto told = [](const Trace& t) {
            return t.kind == Trace::Kind::sent && t.text.find("ROLLED BACK") != std::string::npos;
        };
        SUBCASE(
            "a router that does not answer: people are told at once, and how to do it by hand") {
            const Run result = run(plan, 4);
            REQUIRE(index_of(result, told) < result.traces.size());
            CHECK(index_of(result, told) < lowered(result));
            const std::string& text = result.traces[index_of(result, told)].text;
            CHECK(text.find("Users are NOT all on legacy yet") != std::string::npos);
            CHECK(text.find("Past canaryd: move it by hand") != std::string::npos);
            CHECK(lowered(result) < index_of(result, asked));
        }
        SUBCASE("one that is well") {
            plan.router_dead_for = Duration{0};
            const Run result = run(plan, 4);
            REQUIRE(index_of(result, asked) < result.traces.size());
            CHECK(lowered(result) < index_of(result, asked));
            const std::string& text = result.traces[index_of(result, told)].text;
            CHECK(text.find("Users are on legacy since") != std::string::npos);
            CHECK(text.find("Past canaryd") == std::string::npos);
        }
    }

    TEST_CASE("no metrics for thirty days: nothing rises, somebody is told, and it heals") {
        Plan plan = calm();
        plan.source_dead_at = 1 * day;
        plan.source_dead_for = 30 * day;
        const Run result = run(plan, 33);
        bool blind_told = false, back_told = false;
        for (const Decided& decided : result.decided) {
            for (const Notice::Kind kind : decided.told) {
                blind_told = blind_told || kind == Notice::Kind::blind;
                back_told = back_told || kind == Notice::Kind::back_in_sight;
            }
            CHECK(decided.desired <= Weight{1'000});
        }
        CHECK(blind_told);
        CHECK(back_told);
    }

    TEST_CASE("a router that mostly fails still ends at 0 % after a breach") {
        Plan plan = calm();
        plan.router_fails = 0.9;
        plan.fault_rate = 1.0;
        plan.fault_at = 1 * day;
        plan.fault_for = 60 * day;
        const Run result = run(plan, 3);
        CHECK(result.served.weight == nobody);
    }

    TEST_CASE(
        "a wall clock that jumps back and forth, and a lid that is closed, stop no rollback") {
        Plan plan = calm_until(3 * day);
        plan.clock_jumps_per_week = 40;
        plan.suspends_per_week = 20;
        const Run result = run(plan, 6);
        CHECK(result.decided.back().status == Status::rolled_back);
        CHECK(result.served.weight == nobody);
    }

    TEST_CASE("crashes all the time change no outcome, and the same seed gives the same trace") {
        Plan plan = calm();
        plan.crashes_per_day = 40;
        plan.store_unknown = 0.01;
        const Run result = run(plan, 12);
        CHECK(result.served.weight >= Weight{1'000});
        CHECK(simulate(plan, 12).hash == result.hash);
        plan.seed = 4243;
        CHECK(simulate(plan, 12).hash != result.hash);
    }
}
