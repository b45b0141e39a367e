// The simulation's checker can fail: stories made by hand, each with one broken promise.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/has.hpp"
#include "tests/simulation/world.hpp"

using namespace canaryd;
using namespace canaryd::simulation;
using canaryd::testing::has;
using namespace std::chrono_literals;

namespace {

constexpr const char* one_hour_each = R"(name: sim
canary: new
baseline: [old]
source: {kind: sqlite, connection: metrics}
router: {kind: sql, connection: route}
steps:
  - {name: few, weight: 10%, bake: 1h}
  - {name: half, weight: 50%, bake: 1h}
  - {name: all, weight: 100%, bake: 1h}
criteria:
  - {name: errors, metric: error_rate, below: 1%}
  - {name: latency, metric: latency_p95, below: 2s}
finish: {soak: 30d}
)";
constexpr Weight tenth{1'000}, half{5'000};
constexpr const char* rollout = "sim-1";

/// Writes a run line by line, as the world would. The engine in it calls every look proven, and
/// the step baked whenever it raises.
class Tale {
public:
    Tale() {
        run.plan.seed = 1;          // not one that is replayed
        run.plan.fault_rate = 0.1;  // so that a rollback is not held against it
        engine_.id = rollout;
        engine_.status = Status::progressing;
    }

    /// Ordered at once, served and confirmed.
    void start() {
        event::Started started{rollout, one_hour_each, "sim.yaml"};
        commit(std::move(started), tenth);
        serve(tenth);
        confirm();
    }
    void serve(Weight weight) { move(Trace::Kind::route, weight); }
    void hand(Weight weight) { move(Trace::Kind::hand, weight); }
    void confirm() { commit(event::RouteRead{run.served}, engine_.desired); }

    /// The next five minutes: what the source answers, and what is decided on it.
    void look(Weight ordered = tenth, std::int64_t failed = 0) {
        answer(failed);
        decide(ordered);
    }
    void looks(int times) {
        for (int i = 0; i < times; ++i) look();
    }
    void answer(std::int64_t failed) {
        clock_ += every;
        run.answers.push_back({from_, from_ + every, requests, failed, 0, run.traces.size()});
    }
    void decide(Weight ordered) {
        event::Looked looked;
        looked.look.from = from_;
        looked.look.to = from_ + every;
        from_ += every;
        engine_.baked += every;
        if (ordered > engine_.desired) engine_.baked = std::max<Duration>(engine_.baked, 1h);
        engine_.proven = true;
        commit(std::move(looked), ordered);
    }

    void commit(What what, Weight ordered, std::vector<Notice::Kind> told = {}) {
        JournalEntry entry;
        entry.rollout = rollout;
        entry.revision = ++revision_;
        entry.event = Event{clock_ + 30s, "canaryd", "engine", std::move(what)};
        run.journal.push_back(std::move(entry));
        engine_.desired = ordered;
        engine_.told = std::move(told);
        run.decided.push_back(engine_);
        note(Trace::Kind::commit).weight = ordered;
    }

    void roll_back() {
        engine_.status = Status::rolled_back;
        engine_.over = true;
        commit(event::RollBack{"by hand"}, nobody, {Notice::Kind::rolled_back});
        Owed owed;
        owed.message.id = notice();
        owed.message.rollout = rollout;
        owed.message.revision = revision_;
        owed.message.notice.kind = Notice::Kind::rolled_back;
        run.all_owed.push_back(std::move(owed));
    }
    void tell() { note(Trace::Kind::sent).what = notice(); }
    Trace& note(Trace::Kind kind) {
        Trace trace;
        trace.kind = kind;
        trace.steady = SteadyPoint{clock_.time_since_epoch()};
        trace.wall = clock_;
        trace.rollout = rollout;
        trace.revision = revision_;
        run.traces.push_back(std::move(trace));
        return run.traces.back();
    }

    Run run;
    std::int64_t requests = 1'000;  // of a look

private:
    static constexpr Duration every = 5min;
    static std::string notice() { return std::string(rollout) + "/rolled back"; }
    void move(Trace::Kind kind, Weight weight) {
        Trace& trace = note(kind);
        trace.before = run.served.weight;
        trace.weight = weight;
        run.served.weight = weight;
    }

    TimePoint clock_{1h};
    TimePoint from_{1h + 30s};  // the first look begins where the route was confirmed
    Decided engine_;
    std::uint64_t revision_ = 0;
};

/// Each sentence on a line; empty: nothing is broken.
std::string verdict(const Tale& tale) {
    std::string all;
    for (const std::string& what : check(tale.run)) all += what + "\n";
    return all;
}

}  // namespace

TEST_SUITE("checker") {
    TEST_CASE("a rollout that earned its raise is not found fault with") {
        Tale tale;
        tale.start();
        tale.looks(11);
        tale.look(half);
        tale.serve(half);
        tale.confirm();
        CHECK(verdict(tale).empty());
    }

    TEST_CASE("a raise that was not proven is reported, whatever the engine says") {
        Tale tale;
        tale.start();
        SUBCASE("more failures than the limit allows") {
            for (int i = 0; i < 11; ++i) tale.look(tenth, 12);
            tale.look(half, 12);
            CHECK(has(verdict(tale), "G02: raised with errors at 120 of 10000, limit 1 %"));
        }
        SUBCASE("fewer than the limit, and too near to it") {
            for (int i = 0; i < 11; ++i) tale.look(tenth, 9);
            tale.look(half, 9);
            CHECK(has(verdict(tale), "G02: raised with errors at 90 of 10000, limit 1 %"));
        }
        SUBCASE("too few requests to prove anything") {
            tale.requests = 29;
            tale.looks(11);
            tale.look(half);
            CHECK(has(verdict(tale), "G02: raised with errors at 0 of 290, limit 1 %"));
        }
        SUBCASE("a look that the source never answered") {
            tale.looks(11);
            tale.decide(half);
            CHECK(has(verdict(tale), "G03: a look was decided on that the source did not answer"));
        }
    }

    TEST_CASE("a raise that was not baked is reported, whatever the engine says") {
        Tale tale;
        tale.start();
        std::string baked = "50m";
        SUBCASE("the looks were too few") {
            tale.looks(9);
        }
        SUBCASE("the router stood lower, by hand") {
            tale.looks(5);
            tale.hand(Weight{500});
            tale.looks(10);
            tale.serve(tenth);
            tale.looks(2);
        }
        SUBCASE("it was paused") {
            tale.looks(7);
            tale.commit(event::Pause{}, tenth);
            tale.looks(20);
            tale.commit(event::Resume{"go on"}, tenth);
            tale.looks(2);
        }
        SUBCASE("it was held") {
            tale.looks(4);
            tale.commit(event::Peeked{}, tenth, {Notice::Kind::held});
            tale.looks(20);
            tale.commit(event::Resume{"go on"}, tenth, {Notice::Kind::resumed});
            tale.looks(5);
        }
        SUBCASE("a person had extended it") {
            tale.looks(15);
            tale.commit(event::Extend{1h, "to be sure"}, tenth);
            baked = "1h 20m";
        }
        tale.look(half);
        CHECK(has(verdict(tale), "G02: raised after a bake of " + baked));
    }

    TEST_CASE("a raise while it is paused is reported") {
        Tale tale;
        tale.start();
        tale.looks(13);
        tale.commit(event::Pause{}, tenth);
        tale.look(half);
        CHECK(has(verdict(tale), "G07: raised while paused or held"));
    }

    TEST_CASE("a weight of another policy is reported") {
        Tale tale;
        tale.start();
        tale.looks(11);
        tale.look(Weight{2'000});
        CHECK(has(verdict(tale), "G02: a weight that is no step: 20 %"));
    }

    TEST_CASE("a second start under the name of what runs is reported") {
        Tale tale;
        tale.start();
        tale.commit(event::Started{}, Weight{2'000});
        CHECK(has(verdict(tale), "G10: started anew while it ran"));
        CHECK(has(verdict(tale), "G10: an edited policy moved a running rollout"));
    }

    TEST_CASE("a rollback that is told before its route is ordered is reported") {
        const std::string early = "G27: a rollback was told before its route was ordered";
        Tale tale;
        tale.start();
        tale.looks(3);
        SUBCASE("route, then notice") {
            tale.roll_back();
            tale.serve(nobody);
            tale.tell();
            CHECK(verdict(tale).empty());
        }
        SUBCASE("notice, then route") {
            tale.roll_back();
            tale.tell();
            tale.serve(nobody);
            CHECK(has(verdict(tale), early));
        }
        SUBCASE("the router failed: nobody waits for it with the news") {
            tale.roll_back();
            tale.note(Trace::Kind::route_failed);
            tale.tell();
            tale.serve(nobody);
            CHECK(verdict(tale).empty());
        }
        SUBCASE("the row was at 0 % before") {
            tale.hand(nobody);
            tale.roll_back();
            tale.tell();
            CHECK(verdict(tale).empty());
        }
    }
}
