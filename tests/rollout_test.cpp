// The thirteen promises of step(): each is a test case whose name is its headline, with the whole
// promise above it. tests/mutants_test.py breaks them on purpose: each guard that it removes must
// fail here.
#include <doctest/doctest.h>

#include <limits>

#include "canaryd/text.hpp"
#include "tests/story.hpp"

using namespace canaryd;
using namespace canaryd::test;

namespace {

const Counts broken{1'000, 200, 0, 9'000, 0};
const Counts silent{0, 0, 0, 9'000, 0};
const Counts few{2, 0, 0, 18, 0};

Duration uncounted(const Story& story, Uncounted kind) {
    return story.rollout.uncounted[static_cast<std::size_t>(kind)];
}

Story baking() {
    Story story;
    story.start().confirm();
    return story;
}

Story at_100() {
    Story story = baking();
    story.to_next_step().to_next_step();
    REQUIRE(story.rollout.desired == everybody);
    return story;
}

/// 10 % is proven and 50 % is ordered, not confirmed.
Story raising() {
    Story story = baking();
    for (int i = 0; i < 30 && story.rollout.desired == Weight{1'000}; ++i) story.look();
    REQUIRE(story.rollout.desired == Weight{5'000});
    return story;
}

Story finishing() {
    Story story = at_100();
    for (int i = 0; i < 100 && story.rollout.status != Status::finishing; ++i) story.look();
    REQUIRE(story.rollout.status == Status::finishing);
    return story;
}

/// No metrics for three hours, which the policy takes for a hold; in a day they roll back.
Story went_blind() {
    Story story = baking();
    story.policy.blind_rollback_after = day;
    story.look();
    for (int i = 0; i < 3; ++i) story.blind_look();
    REQUIRE(story.rollout.hold(Hold::Kind::blind) != nullptr);
    return story;
}

std::string newest_told(const Story& story, Notice::Kind kind) {
    for (auto notice = story.told.rbegin(); notice != story.told.rend(); ++notice) {
        if (notice->kind == kind) return notice->text;
    }
    return {};
}

bool is_missing(const Story& story, Missing::Kind kind) {
    for (const Missing& one : missing_to_advance(story.rollout, story.policy, story.now)) {
        if (one.kind == kind) return true;
    }
    return false;
}

}  // namespace

TEST_SUITE("rollout") {
    // Bake is time that was seen without suspicion, at the weight that is wanted and confirmed.
    // Each such look adds its own span, one evaluate_every at most. Time in which canaryd was down
    // or blind, paused, held or suspicious, over which the clock jumped, or in which the weight was
    // not confirmed adds nothing and is listed by its cause. A quiet night that was looked at adds.
    // Proof is counts and has no clock. What happened while canaryd was down is always fetched and
    // judged afterwards, without adding to the bake.
    TEST_CASE("1 bake and proof are two clocks") {
        SUBCASE("each look adds its own span, and proof is counts") {
            Story story = baking();
            story.look();
            CHECK(story.rollout.baked == 1h);
            CHECK(story.rollout.proven);  // 1,000 requests without a failure prove 1 %
            CHECK(story.rollout.desired == Weight{1'000});
        }
        SUBCASE("a quiet night that was seen earns bake and proves nothing") {
            Story story = baking();
            for (int i = 0; i < 10; ++i) story.look({0, 0, 0, 0, 0});
            CHECK(story.rollout.baked == 10h);
            CHECK_FALSE(story.rollout.proven);
        }
        SUBCASE("downtime earns one interval at most, is itemised, and is judged") {
            Story story = baking();
            story.look();
            story.look({5'000, 0, 0, 45'000, 0}, 6h);
            CHECK(story.rollout.baked == 2h);
            CHECK(story.rollout.uncounted[static_cast<std::size_t>(Uncounted::down)] == 5h);
            CHECK(story.rollout.canary.requests == 6'000);
        }
        SUBCASE("a look taken long after its time earns nothing") {
            Story story = baking();
            event::Looked looked;
            looked.look = story.counts({}, 1h);
            story.now = story.rollout.last_look + 9h;
            story.happens(looked);
            CHECK(story.rollout.baked == 0h);
            CHECK(story.rollout.last_look == looked.look.to);
        }
        SUBCASE("blindness earns nothing, and its counts are judged") {
            Story story = baking();
            story.look();
            for (int i = 0; i < 3; ++i) story.blind_look();
            CHECK(story.rollout.baked == 1h);
            story.look({3'000, 0, 0, 27'000, 0}, 3h);
            CHECK(story.rollout.baked == 1h);
            CHECK(uncounted(story, Uncounted::blind) == 3h);
            CHECK(story.rollout.canary.requests == 4'000);
            story.look();
            CHECK(story.rollout.baked == 2h);
        }
        SUBCASE("a pause earns nothing") {
            Story story = baking();
            story.happens(event::Pause{}, "alice");
            story.look();
            CHECK(story.rollout.baked == 0h);
            story.happens(event::Resume{"go"}, "alice");
            story.look();
            CHECK(story.rollout.baked == 1h);
            CHECK(story.rollout.uncounted[static_cast<std::size_t>(Uncounted::paused)] == 1h);
        }
        SUBCASE("suspicion earns nothing, neither when it comes nor when it goes") {
            Story story = baking();
            story.look();
            story.rollout.ledger.streams[0].ln_r[5] = 2.5;  // M = 12 of 100
            story.look({0, 0, 0, 0, 0});
            REQUIRE(story.rollout.suspicious);
            CHECK(story.rollout.baked == 1h);
            story.look();
            REQUIRE_FALSE(story.rollout.suspicious);
            CHECK(story.rollout.baked == 1h);
            CHECK(uncounted(story, Uncounted::suspicious) == 2h);
            story.look();
            CHECK(story.rollout.baked == 2h);
        }
        SUBCASE("a hold earns nothing") {
            Story story = baking();
            Trigger trigger = error_burst();
            trigger.then = Action::hold;
            story.policy.triggers = {trigger};
            story.policy.criteria[0].limit = 0.9;
            story.look();
            story.look({1'000, 100, 0, 9'000, 0});
            REQUIRE(story.rollout.hold(Hold::Kind::trigger) != nullptr);
            story.healthy(3);
            CHECK(story.rollout.baked == 1h);
            CHECK(uncounted(story, Uncounted::held) == 4h);
        }
        SUBCASE("time before a resume earns nothing, though the look ends after it") {
            Story story = baking();
            story.happens(event::Pause{}, "alice");
            story.now += 45min;
            story.happens(event::Resume{"go"}, "alice");
            story.look();
            CHECK(story.rollout.baked == 15min);
            CHECK(uncounted(story, Uncounted::paused) == 45min);
        }
        SUBCASE("a look whose counts are still to come in part earns nothing and promotes nobody") {
            Story story = baking();
            story.healthy(23);
            Look look = story.counts({});
            look.canary_complete = false;
            story.now = look.to;
            story.happens(event::Looked{look, false});
            CHECK(story.rollout.baked == 23h);
            CHECK(story.rollout.canary.requests == 24'000);
            CHECK(story.rollout.desired == Weight{1'000});
        }
        SUBCASE("a look counts exactly once") {
            Story story = baking();
            event::Looked looked;
            looked.look = story.counts({});
            story.now += 1h;
            story.happens(looked);
            const Rollout once = story.rollout;
            CHECK(story.happens(looked).forget);
            CHECK(story.rollout.canary.requests == once.canary.requests);
        }
    }

    // A step's bake begins with the router's confirmation of its weight. What is seen between the
    // order and the confirmation belongs to the step before, and to no bake.
    TEST_CASE("2 baking starts when the router confirms, not when we decide") {
        Story story;
        story.start();
        CHECK(story.rollout.status == Status::pending);
        story.now += 30min;
        CHECK(story.happens(event::Looked{story.counts({}), false}).forget);
        CHECK(story.rollout.baked == 0h);
        story.confirm();
        CHECK(story.rollout.status == Status::progressing);
        CHECK(story.rollout.last_look == story.now);
        story.look();
        CHECK(story.rollout.baked == 1h);
        SUBCASE("and at the next step too: time before the confirmation belongs to the old step") {
            const Weight ten = story.rollout.desired;
            for (int i = 0; i < 30 && story.rollout.desired == ten; ++i) story.look();
            CHECK(story.rollout.step == 0);
            const Duration baked = story.rollout.baked;
            CHECK(baked >= day);
            story.now += 20min;
            story.confirm();
            CHECK(story.rollout.step == 1);
            CHECK(story.rollout.baked == 0h);
            story.look({}, 20min);  // the cut: it ends where the new weight begins
            CHECK(story.rollout.baked == 0h);
            CHECK(story.rollout.canary.requests == 0);
            story.look();
            CHECK(story.rollout.baked == 1h);
        }
        SUBCASE("a raise on its way earns nothing, and looks do not renew it") {
            Story waiting = raising();
            const Duration baked = waiting.rollout.baked;
            const auto expires = waiting.rollout.raise_expires;
            waiting.look({}, 30min);
            CHECK(waiting.rollout.baked == baked);
            CHECK(uncounted(waiting, Uncounted::unconfirmed) == 30min);
            CHECK(waiting.rollout.raise_expires == expires);
        }
    }

    // To be promoted, a step needs its bake, a proof of every criterion (the upper bound is below
    // the limit), no suspicion in the ledger, a fresh look, enough of every expected segment (else
    // it asks) and neither hold nor pause. (Gates are refused by the policy so far.) While
    // something of it is missing the step is extended, and people are told what. After max_step it
    // is held and asks a person: time alone promotes nobody.
    TEST_CASE("3 a step ends in promote, roll back or extend") {
        SUBCASE("promote: bake, proof, every segment seen") {
            Story story = baking();
            story.healthy(23);
            CHECK(story.rollout.desired == Weight{1'000});
            story.look();
            CHECK(story.rollout.desired == Weight{5'000});
            CHECK(story.rollout.raise_expires == story.now + 1h);
        }
        SUBCASE("extend: bake without proof says what is missing, once") {
            Story story = baking();
            for (int i = 0; i < 30; ++i) story.look({10, 0, 0, 90, 0});
            CHECK(story.rollout.baked == 30h);
            CHECK_FALSE(story.rollout.proven);
            CHECK(story.rollout.desired == Weight{1'000});
            CHECK(story.times_told(Notice::Kind::extended) == 1);
        }
        SUBCASE("nothing is extended before the bake is complete, and what is missing is listed") {
            Story story = baking();
            for (int i = 0; i < 23; ++i) story.look(few);
            CHECK(story.times_told(Notice::Kind::extended) == 0);
            CHECK(is_missing(story, Missing::Kind::bake));
            CHECK(is_missing(story, Missing::Kind::proof));
            CHECK_FALSE(is_missing(story, Missing::Kind::held));
            story.look(few);
            CHECK(story.times_told(Notice::Kind::extended) == 1);
            CHECK_FALSE(is_missing(story, Missing::Kind::bake));
            CHECK(is_missing(story, Missing::Kind::proof));
        }
        SUBCASE("counts of the step before prove nothing at the next one") {
            Story story = baking();
            story.to_next_step();
            for (int i = 0; i < 30; ++i) story.look(few);
            CHECK_FALSE(story.rollout.proven);
            CHECK(story.rollout.desired == Weight{5'000});
        }
        SUBCASE("an expected segment that was not seen asks, and promotes when it is seen") {
            Story story = baking();
            story.policy.segment_requests = 13'000;  // half of 1,000 a look: seen after 26 looks
            story.healthy(25);
            CHECK(story.rollout.desired == Weight{1'000});
            CHECK(story.times_told(Notice::Kind::extended) == 1);
            story.healthy(1);
            CHECK(story.rollout.desired == Weight{5'000});
        }
        SUBCASE("after max_step it is held and asks; waiting alone never promotes") {
            Story story = baking();
            for (int i = 0; i < 80; ++i) story.look({2, 0, 0, 18, 0});
            REQUIRE(story.rollout.hold(Hold::Kind::unproven) != nullptr);
            CHECK(is_missing(story, Missing::Kind::held));
            story.healthy(200);
            CHECK(story.rollout.desired == Weight{1'000});
        }
        SUBCASE("suspicion waits") {
            Story story = baking();
            story.healthy(23);
            story.rollout.ledger.streams[0].ln_r[5] = 2.5;  // M = 12 of 100
            story.look({0, 0, 0, 0, 0});
            CHECK(story.rollout.suspicious);
            CHECK(is_missing(story, Missing::Kind::suspicion));
            CHECK(story.rollout.desired == Weight{1'000});
        }
        SUBCASE("a segment of few users was not seen enough, however often they call") {
            Story story = baking();
            story.policy.segment_users = 5;  // there are four
            story.healthy(30);
            CHECK(story.rollout.desired == Weight{1'000});
            CHECK(is_missing(story, Missing::Kind::segments));
        }
        SUBCASE("failures that come in bursts prove less than single ones") {
            Story story = baking();
            for (const std::int64_t sum_e2 : {4, 16}) {
                Look look = story.counts({2'000, 4, 0, 18'000, 0});
                look.on_time[0].bursts[0].sum_e2 = sum_e2;
                const bool proven = judge(story.policy, story.rollout.ledger, look).proven;
                CHECK(proven == (sum_e2 == 4));
            }
        }
        SUBCASE("while nobody can be told, the raise to 100 % waits") {
            Story story = baking();
            story.to_next_step();
            for (int i = 0; i < 40; ++i) {
                story.now += 1h;
                story.happens(event::Looked{story.counts({}), true});
            }
            CHECK(story.rollout.desired == Weight{5'000});
            story.look();
            CHECK(story.rollout.desired == everybody);
        }
    }

    // A rollout that is paused or held rises no further, and each look is judged as ever: a breach
    // rolls it back then as well. (Freezes are refused by the policy so far.)
    TEST_CASE("4 pause and hold stop advancing, not watching: a breach still rolls back") {
        Story story = baking();
        SUBCASE("paused") {
            story.happens(event::Pause{}, "alice");
        }
        SUBCASE("held by drift") {
            story.served(Weight{500}, "bob");
        }
        SUBCASE("held at max_step") {
            for (int i = 0; i < 80; ++i) story.look({2, 0, 0, 18, 0});
        }
        CHECK((story.rollout.paused || !story.rollout.holds.empty()));
        story.healthy(30);
        CHECK(story.rollout.desired <= Weight{1'000});
        story.look(broken);
        CHECK(story.rollout.status == Status::rolled_back);
        CHECK(story.rollout.desired == nobody);
    }

    TEST_CASE("a pause or a hold takes back a raise that is still on its way") {
        Story story = raising();
        REQUIRE(story.rollout.desired == Weight{5'000});
        SUBCASE("pause") {
            story.happens(event::Pause{}, "alice");
        }
        SUBCASE("hold") {
            Trigger trigger = error_burst();
            trigger.then = Action::hold;
            story.policy.criteria[0].limit = 0.9;
            story.policy.triggers = {trigger};
            story.look({1'000, 100, 0, 9'000, 0});
        }
        CHECK(story.rollout.desired == Weight{1'000});
        CHECK_FALSE(story.rollout.raise_expires);
    }

    TEST_CASE("a lapsed lease is a hold at that step, not a rollback, and a person resumes") {
        Story story = baking();
        story.policy.router.exposure_lease = 6h;
        story.served(nobody);
        CHECK(story.rollout.status == Status::progressing);
        CHECK(story.rollout.desired == nobody);
        REQUIRE(story.rollout.hold(Hold::Kind::drift) != nullptr);
        CHECK(story.rollout.hold(Hold::Kind::drift)->why.find("the exposure lease lapsed") !=
              std::string::npos);
        CHECK(story.times_told(Notice::Kind::held) == 1);
        CHECK(story.rollout.applied == Weight{1'000});  // so that the row is lowered too
        story.confirm();
        CHECK(story.rollout.applied == nobody);
        story.happens(event::Resume{"back again"}, "alice");
        CHECK(story.rollout.desired == Weight{1'000});
    }

    TEST_CASE("a repeated rollback is carried out again, a late raise by hand is lowered") {
        Story story = baking();
        story.happens(event::RollBack{}, "alice");
        story.confirm();
        story.served(Weight{5'000}, "bob");
        CHECK(story.rollout.applied == Weight{5'000});
        CHECK(story.rollout.desired == nobody);
        const std::uint64_t ordered = story.rollout.ordered;
        CHECK_FALSE(story.happens(event::RollBack{}, "alice").refused);
        CHECK(story.rollout.ordered > ordered);
    }

    // Nothing brings a rolled back rollout above 0 % again: no command, no good look, no hand on
    // the route. Whoever wants to try again starts a new rollout, with a new ledger and the same
    // salt, so that the same users come first. A rollback is taken in every state until the rollout
    // is finished (later: until the first finish action has begun), and goes before every order
    // that is still on its way.
    TEST_CASE("5 a rollback latches: from then on the rollout wants 0 % for ever") {
        Story story = baking();
        story.look(broken);
        REQUIRE(story.rollout.status == Status::rolled_back);
        story.confirm();
        story.healthy(100);
        for (const What& what : std::vector<What>{
                 event::Promote{true, "please"}, event::Resume{"go"}, event::Extend{1h, "x"},
                 event::Pause{}, event::Finish{"x"}, event::RaiseLapsed{}}) {
            story.happens(what, "alice");
            CHECK((story.last.refused || story.last.forget));
            CHECK(story.rollout.desired == nobody);
            CHECK(story.rollout.status == Status::rolled_back);
        }
        story.served(everybody, "bob");
        CHECK(story.rollout.desired == nobody);
        CHECK(story.times_told(Notice::Kind::rolled_back) == 1);
        SUBCASE("a retry is a new rollout: an empty ledger, and the same salt") {
            REQUIRE(story.rollout.ledger.latched);
            Story retry(story.policy);
            retry.now = story.now;
            retry.happens(event::Started{"unified-2", "", "unified.yaml"}, "alice");
            CHECK(retry.rollout.id == "unified-2");
            CHECK(retry.rollout.name == story.rollout.name);  // the salt: the same users first
            CHECK_FALSE(retry.rollout.ledger.latched);
            REQUIRE(retry.rollout.ledger.streams.size() == story.rollout.ledger.streams.size());
            for (const Stream& stream : retry.rollout.ledger.streams) {
                CHECK(stream.ln_sum() == -std::numeric_limits<double>::infinity());
                CHECK(stream.requests == 0);
            }
            retry.confirm().healthy(3);
            CHECK(retry.rollout.status == Status::progressing);
            CHECK(retry.rollout.desired == Weight{1'000});
            CHECK(retry.rollout.canary.requests == 3'000);
        }
        SUBCASE("an operator's rollback is accepted in every state until it is finished") {
            Story end = finishing();
            Story pending;
            pending.start();
            for (Story* one : {&end, &pending}) {
                CHECK_FALSE(one->happens(event::RollBack{}, "alice").refused);
                CHECK(one->rollout.desired == nobody);
            }
        }
        SUBCASE("and beats a raise that is on its way") {
            Story late = raising();
            late.happens(event::RollBack{}, "alice");
            late.served(Weight{5'000});  // the late confirmation of the raise
            CHECK(late.rollout.desired == nobody);
            CHECK(late.rollout.status == Status::rolled_back);
        }
    }

    // However long the daemon was away, its next raise is to the next step and not further. A
    // restart changes nothing: the same step, with the same bake.
    TEST_CASE("6 the engine raises one step at a time, however long it slept; restart is a no-op") {
        Story story = baking();
        story.look({500'000, 0, 0, 4'500'000, 0}, 400 * day);
        CHECK(story.rollout.desired == Weight{1'000});
        CHECK(story.rollout.baked == 1h);
        const Rollout before = story.rollout;
        story.served(before.desired);  // what a start reads
        CHECK(story.last.forget);
        CHECK(story.rollout.baked == before.baked);
        CHECK(story.rollout.step == before.step);
        SUBCASE("and a proven step is followed by the next one, not by the last") {
            Story slept = baking();
            slept.policy.max_step = 900 * day;
            slept.look({500'000, 0, 0, 4'500'000, 0}, 400 * day);
            for (int i = 0; i < 30 && slept.rollout.desired == Weight{1'000}; ++i) slept.look();
            CHECK(slept.rollout.desired == Weight{5'000});
            slept.confirm();
            CHECK(slept.rollout.step == 1);
            slept.look({500'000, 0, 0, 500'000, 0}, 400 * day);
            CHECK(slept.rollout.desired == Weight{5'000});
            CHECK(slept.rollout.baked == 1h);
        }
    }

    // No pause, no missing reason, no old revision, no Slack that is dead and no store that cannot
    // be written keeps traffic from going down (nor will freezes and gates), and an order to lower
    // never lapses. The store is the controller's part: "a store that is full stops every raise,
    // not a rollback" in controller_test.cpp.
    TEST_CASE("7 lower is never blocked") {
        Story story = baking();
        SUBCASE("by a pause, a missing reason or a dead Slack") {
            story.happens(event::Pause{}, "alice");
            story.now += 1h;
            Look look = story.counts(broken);
            story.happens(event::Looked{look, true});
            CHECK(story.rollout.desired == nobody);
        }
        SUBCASE("and an order to lower stands for ever") {
            CHECK_FALSE(story.happens(event::RollBack{}, "alice").refused);
            CHECK_FALSE(story.rollout.raise_expires);
            story.now += 90 * day;
            CHECK(story.happens(event::RaiseLapsed{}).forget);
            CHECK(story.rollout.desired == nobody);
        }
    }

    // A rollout runs by the policy it was started with, known by its hash. A file that is edited
    // afterwards changes nothing that runs. (To adopt the new one, with a line in the journal and
    // the old evidence for what is the same in both, is not a command yet.)
    TEST_CASE("8 a policy is pinned by hash when the rollout starts") {
        Story story = baking();
        CHECK(story.rollout.policy_hash == "0123");
        const auto& again = story.happens(event::Started{"unified-1", "other text", "x"}, "bob");
        CHECK(again.refused);
        CHECK(story.rollout.policy_hash == "0123");
        CHECK(story.rollout.step == 0);
    }

    // No metrics for blind.hold_after: the rollout is held and people are told. When metrics are
    // back the hold ends by itself, and the counts of the blind time are fetched and judged. No
    // metrics for blind.rollback_after, which is never unless the policy sets it: all users go
    // back. A canary that ought to have had requests and had none, or much fewer than its share, is
    // as good as blind.
    TEST_CASE("9 blind is held and said; it heals by itself and the counts are judged") {
        Story story = baking();
        story.look();
        story.blind_look();
        CHECK(story.rollout.holds.empty());
        story.blind_look();
        story.blind_look();
        REQUIRE(story.rollout.hold(Hold::Kind::blind) != nullptr);
        CHECK(story.times_told(Notice::Kind::blind) == 1);
        CHECK(story.rollout.last_look == story.now - 3h);  // nothing of it is skipped
        CHECK(story.rollout.baked == 1h);
        SUBCASE("a failed look that changes nothing is not remembered") {
            story.now += 1min;
            event::Looked looked;
            looked.look.error = "connection refused";
            CHECK(story.happens(looked).forget);
        }
        SUBCASE("good counts heal it") {
            story.look({3'000, 0, 0, 27'000, 0}, 3h);
            CHECK(story.rollout.holds.empty());
            CHECK(story.times_told(Notice::Kind::back_in_sight) == 1);
            CHECK(story.rollout.canary.requests == 4'000);
            CHECK(story.rollout.uncounted[static_cast<std::size_t>(Uncounted::blind)] >= 2h);
        }
        SUBCASE("bad counts of the blind time roll back") {
            story.look({3'000, 600, 0, 27'000, 0}, 3h);
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("never rolls back by itself unless the policy says so") {
            for (int i = 0; i < 500; ++i) story.blind_look();
            CHECK(story.rollout.status == Status::progressing);
            CHECK(story.rollout.desired == Weight{1'000});
            story.policy.blind_rollback_after = day;
            story.blind_look();
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("a canary that should have talked and did not is blindness, not health") {
            story.look({1'000, 0, 0, 9'000, 0}, 3h);
            for (int i = 0; i < 26; ++i) story.look(silent);
            CHECK(story.rollout.hold(Hold::Kind::blind) != nullptr);
            story.look();
            CHECK(story.rollout.hold(Hold::Kind::blind) == nullptr);
        }
        SUBCASE("so is a canary that has much less than its share of the requests") {
            story.look({3'000, 0, 0, 27'000, 0}, 3h);
            const auto with = [&](std::int64_t canary, std::int64_t baseline) {
                Look look = story.counts({});
                story.now = look.to;
                for (const auto& [who, requests] :
                     {std::pair{Population::canary, canary}, {Population::baseline, baseline}}) {
                    Window window;
                    window.trigger = "expect_traffic";
                    window.who = who;
                    window.from = look.to - story.policy.expect_over;
                    window.to = look.to;
                    window.requests = requests;
                    look.windows.push_back(window);
                }
                story.happens(event::Looked{look, false});
                return story.rollout.hold(Hold::Kind::blind) != nullptr;
            };
            CHECK_FALSE(with(500, 9'500));  // half of its tenth
            CHECK_FALSE(with(0, 290));      // a night: 29 were to be expected
            CHECK(with(0, 300));
            CHECK_FALSE(with(30, 270));
            CHECK(with(499, 9'501));
        }
    }

    // When the baseline breaks the same rule in the same window, moving users back would not help:
    // it is held and said, not rolled back, unless the policy wants that. Once the outage is over,
    // the canary is judged by itself again. At 100 % there is no baseline: a criterion's alarm is
    // told at once, and rolls back if the next confirm_without_baseline confirms it; else it is
    // held, and watched on. Triggers are plain rules and act at once, there too.
    TEST_CASE("10 a shared outage holds and tells; without a baseline an alarm waits") {
        const Counts both{1'000, 300, 0, 9'000, 2'700};
        SUBCASE("criteria: both arms fail, held, and it heals by itself") {
            Story story = baking();
            story.healthy(3);
            story.look(both);
            CHECK(story.rollout.status == Status::progressing);
            REQUIRE(story.rollout.hold(Hold::Kind::shared_outage) != nullptr);
            for (int i = 0; i < 12; ++i) story.look();
            CHECK(story.rollout.holds.empty());
            story.look(broken);
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("one that lasts is said again each hour, and not when it has just ended") {
            Story story = baking();
            story.healthy(3);
            story.look(both);
            REQUIRE(story.times_told(Notice::Kind::held) == 1);
            story.look(both);
            CHECK(story.times_told(Notice::Kind::held) == 2);
            const std::string again = newest_told(story, Notice::Kind::held);
            CHECK(again.find("unified: still held at 10 % after 1h\n") == 0);
            CHECK(again.find("it resumes by itself when legacy is well again") !=
                  std::string::npos);
            int told = 0;
            for (int i = 0; i < 24 && !story.rollout.holds.empty(); ++i) {
                told = story.times_told(Notice::Kind::held);
                story.look();
            }
            CHECK(story.rollout.holds.empty());
            CHECK(story.times_told(Notice::Kind::held) == told);
            CHECK(story.times_told(Notice::Kind::resumed) == 1);
        }
        SUBCASE("triggers: the baseline breaks the same rule in the same window") {
            Story story = baking();
            story.policy.criteria[0].limit = 0.9;  // only the trigger can act
            story.policy.triggers = {error_burst()};
            story.look(both);
            CHECK(story.rollout.status == Status::progressing);
            REQUIRE(story.rollout.hold(Hold::Kind::shared_outage) != nullptr);
            story.look();
            CHECK(story.rollout.holds.empty());
            story.look(broken);
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("triggers: a look that both share is no mark against the canary") {
            Story story = baking();
            story.policy.criteria[0].limit = 0.9;
            Trigger trigger = error_burst();
            trigger.needed = 2;
            trigger.looks = 3;
            story.policy.triggers = {trigger};
            story.look(both);
            story.look(broken);
            CHECK(story.rollout.status == Status::progressing);
            story.look(broken);
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("criteria: an outage that the total shows is every segment's") {
            Story story = baking();
            story.healthy(3);
            Look look = story.counts(both);
            for (Tally& tally : look.on_time) {
                if (tally.who != Population::baseline || tally.segment.empty()) continue;
                for (Count& count : tally.events) count = Count{};  // it has no agents' failures
            }
            story.now = look.to;
            story.happens(event::Looked{look, false});
            CHECK(story.rollout.status == Status::progressing);
            CHECK(story.rollout.hold(Hold::Kind::shared_outage) != nullptr);
        }
        SUBCASE("unless the policy says roll back") {
            Story story = baking();
            story.policy.hold_on_shared_outage = false;
            story.look(both);
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("at 100 % a trigger acts at once, where the criterion's alarm waits") {
            const Counts failing{1'000, 300, 0, 0, 0};
            Story waiting = at_100();
            REQUIRE(waiting.policy.confirm_without_baseline > 0s);
            waiting.look(failing);
            CHECK(waiting.rollout.ledger.waiting);
            CHECK(waiting.rollout.desired == everybody);
            Story story = at_100();
            story.policy.triggers = {error_burst()};
            story.look(failing);
            CHECK(story.rollout.status == Status::rolled_back);
            CHECK(story.rollout.desired == nobody);
            CHECK(story.rollout.reason.find("trigger error-burst: 300 of 1,000 requests") == 0);
            CHECK(story.times_told(Notice::Kind::waiting) == 0);
            CHECK(story.times_told(Notice::Kind::rolled_back) == 1);
        }
        SUBCASE("at 100 % a short outage ends in a hold, a lasting fault in a rollback") {
            Policy policy = small_policy();
            policy.evaluate_every = 5min;
            Story story(policy);
            story.start().confirm();
            story.healthy(3);
            story.rollout.step = 2;
            story.rollout.desired = everybody;
            story.rollout.applied = everybody;
            story.rollout.ledger.baseline_share = false;
            const Counts none{1'000, 0, 0, 0, 0};
            const Counts failing{1'000, 300, 0, 0, 0};
            story.look(none, 5min);
            story.look(failing, 5min);
            CHECK(story.rollout.ledger.waiting);
            CHECK(story.times_told(Notice::Kind::waiting) == 1);
            CHECK(story.rollout.desired == everybody);
            SUBCASE("short") {
                for (int i = 0; i < 6; ++i) story.look(none, 5min);
                CHECK(story.rollout.status == Status::progressing);
                CHECK(story.rollout.hold(Hold::Kind::confirmation) != nullptr);
                CHECK(story.rollout.needs_a_person());
                story.happens(event::Resume{"seen"}, "alice");
                CHECK(story.rollout.holds.empty());
            }
            SUBCASE("lasting") {
                for (int i = 0; i < 6; ++i) story.look(failing, 5min);
                CHECK(story.rollout.status == Status::rolled_back);
            }
        }
    }

    // What an operator asks for and cannot have is answered with the reason, and is in the journal
    // like everything else. A plain promote waives what is left of the bake and the question of
    // segments, never the proof. Past a verdict that is unproven or suspicious it needs an override
    // with a reason (and, when roles come, the right one), and the ledger goes on judging.
    TEST_CASE("11 a command is refused with a sentence when it does not apply, and journaled") {
        Story story = baking();
        story.look({10, 0, 0, 90, 0});
        const std::uint64_t revision = story.rollout.revision;
        const auto refused = [&](What what) {
            const Transition& t = story.happens(std::move(what), "alice");
            CHECK(t.refused);
            CHECK_FALSE(t.reason.empty());
            CHECK_FALSE(t.forget);
        };
        refused(event::Resume{"x"});
        refused(event::Finish{"x"});
        refused(event::Acknowledge{});
        refused(event::Promote{});
        refused(event::Extend{Duration{0}, "x"});
        refused(event::Promote{true, ""});
        CHECK(story.rollout.revision == revision + 6);
        CHECK(story.rollout.desired == Weight{1'000});
        SUBCASE("plain promote waives the rest of the bake, never the proof") {
            story.look();
            REQUIRE(story.rollout.proven);
            REQUIRE(story.rollout.baked < day);
            CHECK_FALSE(story.happens(event::Promote{}, "alice").refused);
            CHECK(story.rollout.desired == Weight{5'000});
        }
        SUBCASE("past an unproven verdict it needs an override, which never silences the ledger") {
            CHECK_FALSE(story.happens(event::Promote{true, "we know"}, "alice").refused);
            CHECK(story.rollout.overrides == 1);
            story.confirm();
            story.look({}, story.now - story.rollout.last_look + 1ms);
            story.look(broken);
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("no resume that would raise traffic while the canary is suspicious") {
            story.served(Weight{500}, "bob");
            story.look();
            story.rollout.ledger.streams[0].ln_r[5] = 2.5;  // M = 12 of 100
            story.look({0, 0, 0, 0, 0});
            REQUIRE(story.rollout.suspicious);
            refused(event::Resume{"go on"});
            CHECK(story.rollout.desired == Weight{500});
            story.look();
            CHECK_FALSE(story.happens(event::Resume{"go on"}, "alice").refused);
            CHECK(story.rollout.desired == Weight{1'000});
        }
        SUBCASE("not past a pause, a drift or blindness") {
            story.happens(event::Pause{}, "alice");
            refused(event::Promote{true, "we know"});
            story.happens(event::Resume{"x"}, "alice");
            story.served(Weight{500}, "bob");
            refused(event::Promote{true, "we know"});
        }
        SUBCASE("not while the canary is silent") {
            for (int i = 0; i < 26; ++i) story.look(silent);
            REQUIRE(story.rollout.hold(Hold::Kind::blind) != nullptr);
            refused(event::Promote{true, "we know"});
        }
        SUBCASE("not on stale metrics") {
            story.now += 10h;
            refused(event::Promote{true, "we know"});
        }
        SUBCASE("extend adds to bake and max_step and ends that hold") {
            for (int i = 0; i < 80; ++i) story.look({2, 0, 0, 18, 0});
            REQUIRE(story.rollout.hold(Hold::Kind::unproven) != nullptr);
            refused(event::Resume{"x"});
            story.happens(event::Pause{}, "alice");
            CHECK_FALSE(story.happens(event::Resume{"go on"}, "alice").refused);
            CHECK_FALSE(story.rollout.paused);
            REQUIRE(story.rollout.hold(Hold::Kind::unproven) != nullptr);
            CHECK_FALSE(story.happens(event::Extend{5 * day, "more"}, "alice").refused);
            CHECK(story.rollout.holds.empty());
            CHECK(bake_wanted(story.rollout, story.policy) == 6 * day);
        }
    }

    // Somebody changed the route by hand. Lower than wanted is taken as an operator's wish and is
    // held until a person resumes; higher is lowered back. A lease that lapsed is a hold at that
    // step (the case "a lapsed lease is ..."), and so is a first raise that the router never
    // confirmed; a later raise that lapses is asked for again by the next good look. People are
    // told of each.
    TEST_CASE("12 drift: lower is an operator's wish, higher is lowered back; all are said") {
        Story story = baking();
        story.healthy(2);
        SUBCASE("lower is held until a person resumes") {
            story.served(Weight{500}, "bob");
            CHECK(story.rollout.desired == Weight{500});
            REQUIRE(story.rollout.hold(Hold::Kind::drift) != nullptr);
            CHECK(story.times_told(Notice::Kind::held) == 1);
            story.healthy(40);
            CHECK(story.rollout.desired == Weight{500});
            CHECK(story.rollout.baked == 2h);
            story.happens(event::Resume{"go on"}, "alice");
            CHECK(story.rollout.desired == Weight{1'000});
            CHECK(story.rollout.step == 0);
        }
        SUBCASE("a route row that is gone is lower") {
            story.happens(event::RouteRead{Served{}});
            CHECK(story.rollout.desired == nobody);
            CHECK(story.rollout.hold(Hold::Kind::drift) != nullptr);
            CHECK(story.times_told(Notice::Kind::held) == 1);
            CHECK(story.rollout.status == Status::progressing);
        }
        SUBCASE("signed and at 0 % it is an operator's rollback past the daemon") {
            story.served(nobody, "bob", "I saw errors");
            CHECK(story.rollout.status == Status::rolled_back);
            CHECK(story.rollout.reason.find("bob") != std::string::npos);
            CHECK(story.rollout.reason.find("I saw errors") != std::string::npos);
        }
        SUBCASE("a rollback row of an earlier rollout does not roll back a new one") {
            Story fresh;
            fresh.start();
            fresh.served(nobody, "bob", "an old one");
            CHECK(fresh.rollout.status == Status::pending);
            CHECK(fresh.rollout.desired == Weight{1'000});
            const Served again{nobody, *fresh.rollout.route_from, "bob", "an old one"};
            CHECK(fresh.happens(event::RouteRead{again}).forget);
            SUBCASE("but one that is written before the first raise is confirmed does") {
                const Served newer{nobody, *fresh.rollout.route_from + 1, "bob", "stop"};
                fresh.happens(event::RouteRead{newer});
                CHECK(fresh.rollout.status == Status::rolled_back);
            }
        }
        SUBCASE("higher is lowered back") {
            story.served(everybody, "bob");
            CHECK(story.rollout.desired == Weight{1'000});
            CHECK(story.rollout.applied == everybody);
            CHECK(story.times_told(Notice::Kind::drift) == 1);
            story.served(Weight{1'000});
            CHECK(story.rollout.applied == Weight{1'000});
        }
        SUBCASE("not yet raised is never taken for lowered by hand") {
            story = raising();
            CHECK(story.served(Weight{1'000}).forget);
            CHECK(story.rollout.holds.empty());
            story.now += 59min;
            CHECK(story.happens(event::RaiseLapsed{}).forget);
            CHECK(story.rollout.desired == Weight{5'000});
            story.now += 1min;
            CHECK(story.times_told(Notice::Kind::raise_lapsed) == 0);
            story.happens(event::RaiseLapsed{});
            CHECK(story.rollout.desired == Weight{1'000});
            CHECK(story.times_told(Notice::Kind::raise_lapsed) == 1);
            CHECK(story.rollout.holds.empty());
            CHECK(story.rollout.step == 0);
        }
        SUBCASE("a raise back to the step that lapses waits for a person, and no step is skipped") {
            story.happens(event::RouteRead{Served{}});
            story.happens(event::Resume{"again"}, "alice");
            story.now += 1h;
            REQUIRE(story.times_told(Notice::Kind::held) == 1);  // the row that was gone
            story.happens(event::RaiseLapsed{});
            CHECK(story.rollout.hold(Hold::Kind::unconfirmed) != nullptr);
            CHECK(story.times_told(Notice::Kind::held) == 2);
            story.healthy(60);
            CHECK(story.rollout.desired == nobody);
            CHECK(story.happens(event::Promote{true, "go"}, "alice").refused);
        }
        SUBCASE("a first raise that was never confirmed waits for a person") {
            Story pending;
            pending.start();
            pending.now += 1h;
            pending.happens(event::RaiseLapsed{});
            CHECK(pending.rollout.desired == nobody);
            REQUIRE(pending.rollout.hold(Hold::Kind::unconfirmed) != nullptr);
            CHECK(pending.times_told(Notice::Kind::held) == 1);
            pending.happens(event::Resume{"the router is back"}, "alice");
            CHECK(pending.rollout.desired == Weight{1'000});
        }
    }

    // The store forgot decisions that somebody else remembers: the lower weight of both is wanted,
    // what had been rolled back stays so, and nothing rises before a person has looked.
    TEST_CASE(
        "12b an older copy of the store is held at the lowest weight until a person resumes") {
        Story story = baking();
        story.to_next_step();
        REQUIRE(story.rollout.desired == Weight{5'000});
        const std::uint64_t revision = story.rollout.revision;
        SUBCASE("what was at 10 % by a later decision goes down to it and stays there") {
            story.happens(
                event::StoreWentBack{revision + 5, Weight{1'000}, false, "the route row"});
            CHECK(story.rollout.desired == Weight{1'000});
            REQUIRE(story.rollout.hold(Hold::Kind::store_went_back) != nullptr);
            CHECK(story.rollout.reason.find("the route row remembers revision " +
                                            std::to_string(revision + 5) + " at 10 %") !=
                  std::string::npos);
            story.served(Weight{1'000});
            story.healthy(60);
            CHECK(story.rollout.desired == Weight{1'000});
            CHECK(story.happens(event::Promote{true, "go"}, "alice").refused);
            SUBCASE("said once") {
                const event::StoreWentBack again{revision + 5, Weight{1'000}, false, "the marks"};
                CHECK(story.happens(again).forget);
            }
            SUBCASE("a person goes on") {
                CHECK_FALSE(story.happens(event::Resume{"I have looked"}, "alice").refused);
                CHECK(story.rollout.desired == Weight{5'000});
                CHECK(story.rollout.holds.empty());
            }
            SUBCASE("a breach still rolls back") {
                story.look(broken);
                CHECK(story.rollout.status == Status::rolled_back);
            }
        }
        SUBCASE("a later raise is not believed") {
            story.happens(event::StoreWentBack{revision + 5, everybody, false, "the route row"});
            CHECK(story.rollout.desired == Weight{5'000});
            CHECK(story.rollout.needs_a_person());
        }
        SUBCASE("what had been rolled back is rolled back again") {
            story.happens(event::StoreWentBack{revision + 1, nobody, true, "the marks"});
            CHECK(story.rollout.status == Status::rolled_back);
            CHECK(story.rollout.desired == nobody);
        }
        SUBCASE("what the store knows as well is no news") {
            const event::StoreWentBack known{revision, nobody, false, "the route row"};
            CHECK(story.happens(known).forget);
        }
    }

    // From reaching 100 % on, the soak is seen as bake is, the last step's bake being part of it,
    // and a breach rolls back all the while. After the soak it is `finishing`: the watch and the
    // way back stay until an operator says finish. (The old service's health is not probed yet; a
    // finish gate's quorum and finish actions are refused by the policy so far.)
    TEST_CASE(
        "13 at 100 % the watch goes on for the soak, rollback armed, until a person finishes") {
        Story story = at_100();
        story.healthy(24);
        CHECK(story.rollout.status == Status::progressing);
        CHECK(story.rollout.soaked == day);  // the last bake is part of the soak
        SUBCASE("a breach in the soak rolls back") {
            story.policy.confirm_without_baseline = 0s;
            story.look(broken);
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("then it is finishing, still watched, and refuses nothing that lowers") {
            story.healthy(3 * 24 - 24 - 1);
            CHECK(story.rollout.status == Status::progressing);
            CHECK(story.happens(event::Finish{"too early"}, "alice").refused);
            story.healthy(1);
            CHECK(story.rollout.status == Status::finishing);
            CHECK(story.times_told(Notice::Kind::soaked) == 1);
            story.healthy(10);
            CHECK(story.rollout.status == Status::finishing);
            SUBCASE("finish") {
                CHECK_FALSE(story.happens(event::Finish{"done"}, "alice").refused);
                CHECK(story.rollout.status == Status::finished);
                CHECK(story.rollout.desired == everybody);
                CHECK(story.happens(event::RollBack{}, "alice").refused);
            }
            SUBCASE("not while paused or held") {
                story.happens(event::Pause{}, "alice");
                CHECK(story.happens(event::Finish{"x"}, "alice").refused);
            }
            SUBCASE("a breach rolls back") {
                story.policy.confirm_without_baseline = 0s;
                story.look(broken);
                CHECK(story.rollout.status == Status::rolled_back);
            }
        }
    }

    TEST_CASE("a notice says what happened, where users are, the way out and what comes next") {
        struct Row {
            Notice::Kind kind;
            Story story;
            std::vector<std::string> words;
        };
        std::vector<Row> rows;
        const auto add = [&rows](Notice::Kind kind, const Story& story,
                                 std::vector<std::string> words) {
            rows.push_back({kind, story, std::move(words)});
        };
        const auto in = [](const Story& story, Duration later) {
            return text::time(story.now + later);
        };
        Story story;
        story.start();
        add(Notice::Kind::started, story,
            {"unified: started by alice: 10 % on new for at least 1d\n",
             "Everybody is on legacy, 10 % is ordered.", "Nothing needs you.",
             "Next: the router confirms 10 %."});
        story = baking();
        story.to_next_step();
        add(Notice::Kind::promoted, story,
            {"unified: 50 % on new\n", "week5 begins", "50 % of users are on new.",
             "Nothing needs you.", "Next: 100 %, not before " + in(story, day) + " (in 1d)."});
        story = baking();
        for (int i = 0; i < 24; ++i) story.look(few);
        add(Notice::Kind::extended, story,
            {"unified: the bake of week4 is complete, the step is extended. Missing:\n- errors",
             "10 % of users are on new.", "It goes on by itself when nothing is missing",
             "after max_step, " + in(story, 2 * day) + " at the earliest, it is held and asks."});
        story = baking();
        story.served(Weight{500}, "bob");
        add(Notice::Kind::held, story,
            {"unified: held at 5 %\n", "bob lowered the route by hand from 10 % to 5 %",
             "canaryctl resume --reason WHY", "canaryctl rollback"});
        story = at_100();
        story.look({1'000, 300, 0, 0, 0});
        add(Notice::Kind::waiting, story,
            {"unified: alarm of criterion errors", "without a baseline", "Everybody is on new.",
             "The next 20m seen, to " + in(story, 20min) + " at the earliest, roll back or hold.",
             "canaryctl rollback"});
        story = went_blind();
        add(Notice::Kind::blind, story,
            {"unified: held at 10 %\n", "no metrics since " + in(story, -3h), "connection refused",
             "Nothing needs you: it resumes by itself when metrics are back.",
             "Still blind by " + in(story, day - 3h) + ", it rolls back."});
        story.look({3'000, 0, 0, 27'000, 0}, 3h);
        add(Notice::Kind::back_in_sight, story,
            {"unified: metrics are back; the counts since " + in(story, -3h) + " are judged now",
             "10 % of users are on new.", "Nothing needs you.",
             "Next: 50 %, not before " + in(story, 23h)});
        story = baking();
        story.look();
        add(Notice::Kind::report, story,
            {"unified: healthy at 10 % (week4, day 1)\n", "Bake 1h of 1d", "Nothing needs you.",
             "Next: 50 %, not before " + in(story, 23h), "next report " + in(story, 1h)});
        story.look(broken);
        add(Notice::Kind::rolled_back, story,
            {"unified: ROLLED BACK from 10 % to 0 % (week4)\n", "criterion errors",
             // Where users are is said when it is sent: text::told().
             "It will not go up again by itself.", "Do now: canaryctl ack unified-1"});
        add(Notice::Kind::soaked, finishing(),
            {"unified: soaked 3d at 100 %: ready to finish\n", "Everybody is on new.",
             "the watch goes on", "canaryctl finish --reason WHY"});
        story = baking();
        story.served(everybody, "bob");
        add(Notice::Kind::drift, story,
            {"unified: bob set the route to 100 % by hand: lowered back to 10 %\n",
             "Everybody is on new, 10 % is ordered.", "Next: the router confirms 10 %."});
        for (const Row& row : rows) {
            const std::string told = newest_told(row.story, row.kind);
            CAPTURE(told);
            for (const std::string& word : row.words) {
                CAPTURE(word);
                CHECK(told.find(word) != std::string::npos);
            }
        }
    }

    TEST_CASE("the soak begins once, with the look that completes the last bake") {
        Story story = at_100();
        int begins = 0;
        for (int look = 0; look < 30; ++look) {
            story.healthy(1);
            CHECK(story.last.soaking == is_soaking(story.rollout, story.policy));
            if (story.last.soak_begins) {
                ++begins;
                CHECK(story.rollout.baked == day);
                CHECK(story.last.is_milestone());
            }
        }
        CHECK(begins == 1);
        CHECK_FALSE(story.last.is_milestone());  // one look of many
        story.policy.confirm_without_baseline = 0s;
        story.look(broken);
        CHECK(story.rollout.status == Status::rolled_back);
        CHECK(story.last.soaking);  // that is where it was
        CHECK_FALSE(story.last.soak_begins);
    }

    TEST_CASE(
        "worse than the baseline is held by name until a person resumes, and is still watched") {
        Policy policy = small_policy();
        policy.criteria.push_back({"errors-vs-old",
                                   "error_rate",
                                   {Signal::Kind::failed, {}},
                                   0,
                                   Margin{1.2, 0.001},
                                   Action::hold});
        Story story(policy);
        story.start().confirm();
        const Counts worse{20'000, 180, 0, 180'000, 900};
        int looks = 0;
        while (story.rollout.holds.empty() && looks++ < 50) story.look(worse);
        REQUIRE(story.rollout.hold(Hold::Kind::criterion) != nullptr);
        const Hold hold = *story.rollout.hold(Hold::Kind::criterion);
        CHECK_FALSE(hold.heals());
        CHECK(hold.why.find("criterion errors-vs-old: 180 of 20,000 requests failed (0.9 %)") == 0);
        CHECK(hold.why.find("on the baseline 900 of 180,000 (0.5 %)") != std::string::npos);
        CHECK(hold.why.find("allowed x1.2 + 0.1 pp") != std::string::npos);
        CHECK(story.times_told(Notice::Kind::held) == 1);
        SUBCASE("it does not heal, and does not promote") {
            story.healthy(60);
            CHECK(story.rollout.hold(Hold::Kind::criterion) != nullptr);
            CHECK(story.rollout.step == 0);
        }
        SUBCASE("a breach while held still rolls back") {
            story.look(broken);
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("resume forgets the suspicion and goes on being judged") {
            CHECK(story.rollout.suspicious);
            CHECK_FALSE(story.happens(event::Resume{"known"}, "alice").refused);
            CHECK(story.rollout.holds.empty());
            CHECK_FALSE(story.rollout.suspicious);
            story.healthy(1);
            CHECK(story.rollout.holds.empty());
            for (int i = 0; i < 50 && story.rollout.holds.empty(); ++i) story.look(worse);
            CHECK(story.rollout.hold(Hold::Kind::criterion) != nullptr);
        }
        SUBCASE("promote asks for an override, which does not silence the ledger") {
            CHECK(story.happens(event::Promote{false, "go"}, "alice").refused);
            CHECK_FALSE(story.happens(event::Promote{true, "we know"}, "alice").refused);
            CHECK(story.rollout.overrides == 1);
            CHECK_FALSE(story.rollout.ledger.hold.acted);
        }
    }
}
