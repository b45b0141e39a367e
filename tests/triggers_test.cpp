// Triggers, as step() reads them: plain counted rules, at looks and at peeks. And the reports'
// rhythm.
#include <doctest/doctest.h>

#include <limits>
#include <utility>

#include "tests/has.hpp"
#include "tests/story.hpp"

using namespace canaryd;
using namespace canaryd::test;
using canaryd::testing::has;

namespace {

Story baking() {
    Story story;
    story.start().confirm();
    return story;
}

}  // namespace

TEST_SUITE("rollout") {
    TEST_CASE(
        "triggers count: a floor of failures and users, k of n, warn and hold and roll back") {
        Story story = baking();
        story.policy.criteria[0].limit = 0.9;
        Trigger trigger = error_burst();
        SUBCASE("the floor of failures") {
            story.policy.triggers = {trigger};
            story.look({20, 4, 0, 90, 0});
            CHECK(story.rollout.status == Status::progressing);
            story.look({20, 5, 0, 90, 0});
            CHECK(story.rollout.status == Status::rolled_back);
            CHECK(story.rollout.reason.find("error-burst") != std::string::npos);
        }
        SUBCASE("at the threshold is not above it, and counts that cannot be say nothing") {
            story.policy.triggers = {trigger};
            story.look({1'000, 50, 0, 9'000, 0});
            CHECK(story.rollout.status == Status::progressing);
            Look look = story.counts({});
            story.now = look.to;
            look.windows[0].requests = 10;
            look.windows[0].failures = 100;
            look.windows[0].users = 100;
            story.happens(event::Looked{look, false});
            CHECK(story.rollout.status == Status::progressing);
        }
        SUBCASE("the floor of users") {
            story.policy.triggers = {trigger};
            story.now += 1h;
            Look look = story.counts({1'000, 100, 0, 9'000, 0});
            look.windows[0].users = 2;
            story.happens(event::Looked{look, false});
            CHECK(story.rollout.status == Status::progressing);
        }
        SUBCASE("2 of 3 looks") {
            trigger.needed = 2;
            trigger.looks = 3;
            story.policy.triggers = {trigger};
            const Counts high{1'000, 100, 0, 9'000, 0};
            story.look(high);
            story.look();
            story.look();
            story.look(high);
            CHECK(story.rollout.status == Status::progressing);
            CHECK(story.happens(event::Peeked{story.counts(high)}).forget);  // no look yet
            story.look();
            story.look(high);
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("2 of 3 looks, and this one among them") {
            trigger.needed = 2;
            trigger.looks = 3;
            trigger.then = Action::hold;
            story.policy.triggers = {trigger};
            const Counts high{1'000, 100, 0, 9'000, 0};
            story.look(high);
            story.look(high);
            REQUIRE(story.rollout.hold(Hold::Kind::trigger) != nullptr);
            story.happens(event::Resume{"known"}, "alice");
            story.look();
            CHECK(story.rollout.holds.empty());
        }
        SUBCASE("each segment on its own") {
            trigger.each_segment = true;
            trigger.needed = 2;
            trigger.looks = 3;
            story.policy.triggers = {trigger};
            const auto with = [&](std::int64_t jobs, std::int64_t rides) {
                story.now += 1h;
                Look look = story.counts({});
                look.windows.clear();
                for (const auto& [segment, failures] :
                     {std::pair{"jobs", jobs}, std::pair{"rides", rides}}) {
                    Window window;
                    window.trigger = trigger.name;
                    window.segment = segment;
                    window.from = look.to - trigger.over;
                    window.to = look.to;
                    window.requests = 500;
                    window.failures = failures;
                    window.users = failures;
                    look.windows.push_back(window);
                }
                story.happens(event::Looked{look, false});
                return story.rollout.status;
            };
            CHECK(with(100, 0) == Status::progressing);
            CHECK(with(0, 100) == Status::progressing);  // one look of each is not two of one
            CHECK(with(0, 100) == Status::rolled_back);
            CHECK(has(story.rollout.reason, "error-burst (rides): 100 of 500 requests failed"));
            CHECK(has(story.rollout.reason, "broken in 2 of the last 3 looks"));
            CHECK_FALSE(has(story.rollout.reason, "jobs"));
            const auto& memory = story.rollout.triggers;
            REQUIRE(memory.count("error-burst/jobs") == 1);
            REQUIRE(memory.count("error-burst/rides") == 1);
            CHECK(memory.at("error-burst/jobs").fired == 0b100);
            CHECK(memory.at("error-burst/rides").fired == 0b011);
        }
        SUBCASE("hold waits for a person and does not hold again while it goes on") {
            trigger.then = Action::hold;
            story.policy.triggers = {trigger};
            story.look({1'000, 100, 0, 9'000, 0});
            REQUIRE(story.rollout.hold(Hold::Kind::trigger) != nullptr);
            story.happens(event::Resume{"known"}, "alice");
            story.look({1'000, 100, 0, 9'000, 0});
            CHECK(story.rollout.holds.empty());
            story.look();
            story.look({1'000, 100, 0, 9'000, 0});
            CHECK(story.rollout.hold(Hold::Kind::trigger) != nullptr);
        }
        SUBCASE("warn only says it, once") {
            trigger.then = Action::warn;
            story.policy.triggers = {trigger};
            story.look({1'000, 100, 0, 9'000, 0});
            story.look({1'000, 100, 0, 9'000, 0});
            CHECK(story.times_told(Notice::Kind::warned) == 1);
            CHECK(story.rollout.holds.empty());
        }
        SUBCASE("a canary that falls silent while the baseline talks") {
            trigger.kind = Trigger::Kind::traffic;
            trigger.above = false;
            trigger.threshold = 0.2;
            trigger.at_least = 30;
            story.policy.triggers = {trigger};
            story.look({199, 0, 0, 9'000, 0});  // 10 % of 9,199 is 920, a fifth of that 184
            CHECK(story.rollout.status == Status::progressing);
            story.look({180, 0, 0, 9'000, 0});
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("both silent is a night") {
            trigger.kind = Trigger::Kind::traffic;
            trigger.above = false;
            trigger.threshold = 0.2;
            trigger.at_least = 30;
            story.policy.triggers = {trigger};
            story.look({0, 0, 0, 200, 0});
            CHECK(story.rollout.status == Status::progressing);
        }
        SUBCASE("users that are not where their weight would have them") {
            trigger.kind = Trigger::Kind::off_weight;
            trigger.threshold = 0.02;
            story.policy.triggers = {trigger};
            const auto with = [&](std::int64_t canary, std::int64_t baseline) {
                story.now += 1h;
                Look look = story.counts({});
                for (Window& window : look.windows)
                    window.users = window.who == Population::canary ? canary : baseline;
                story.happens(event::Looked{look, false});
                return story.rollout.status;
            };
            CHECK(with(0, 0) == Status::progressing);
            CHECK(with(0, 20) == Status::progressing);         // 10 %: nobody of 20 is chance
            CHECK(with(1'200, 8'800) == Status::progressing);  // 12 %
            CHECK(with(1'280, 8'720) == Status::progressing);  // chance is 0.9 points here
            CHECK(with(800, 9'200) == Status::progressing);
            SUBCASE("too many") {
                CHECK(with(1'300, 8'700) == Status::rolled_back);
            }
            SUBCASE("too few") {
                CHECK(with(700, 9'300) == Status::rolled_back);
            }
        }
        SUBCASE("a number from a query; no number says nothing") {
            trigger.kind = Trigger::Kind::number;
            trigger.threshold = 20;
            story.policy.triggers = {trigger};
            const auto with = [&](std::optional<double> value, Duration over = 1h) {
                story.now += 1h;
                Look look = story.counts({});
                look.windows[0].from = look.to - over;
                look.windows[0].value = value;
                story.happens(event::Looked{look, false});
                return story.rollout.status;
            };
            CHECK(with(20.0) == Status::progressing);
            CHECK(with(std::nullopt) == Status::progressing);
            CHECK(with(std::numeric_limits<double>::infinity()) == Status::progressing);
            CHECK(with(std::numeric_limits<double>::quiet_NaN()) == Status::progressing);
            CHECK(with(21.0, 30min) == Status::progressing);  // half a window, half a number
            CHECK(with(21.0) == Status::rolled_back);
        }
        SUBCASE("1 of 1 acts at a peek, and a quiet peek is forgotten") {
            story.policy.triggers = {trigger};
            story.now += 15s;
            Look peek = story.counts({1'000, 10, 0, 9'000, 0});
            peek.on_time.clear();
            CHECK(story.happens(event::Peeked{peek}).forget);
            peek.windows[0].failures = 100;
            peek.windows[0].users = 100;
            story.happens(event::Peeked{peek});
            CHECK(story.rollout.status == Status::rolled_back);
        }
        SUBCASE("a peek that both sides share does nothing") {
            story.policy.triggers = {trigger};
            Look peek = story.counts({1'000, 100, 0, 9'000, 900});
            CHECK(story.happens(event::Peeked{peek}).forget);
        }
    }

    TEST_CASE("reports keep their rhythm: hourly on day 1, then every six hours, then daily") {
        Story story = baking();
        story.policy.steps[0].bake = 30 * day;
        for (int i = 0; i < 24; ++i) story.look();
        const int first = story.times_told(Notice::Kind::report);
        CHECK(first >= 23);
        for (int i = 0; i < 48; ++i) story.look();
        const int second = story.times_told(Notice::Kind::report) - first;
        CHECK(second >= 7);
        CHECK(second <= 9);
        for (int i = 0; i < 48; ++i) story.look();
        CHECK(story.times_told(Notice::Kind::report) - first - second <= 3);
    }
}
