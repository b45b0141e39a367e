// Units, names and triggers: the same words everywhere.
#include "canaryd/text.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/text_story.hpp"

using namespace canaryd;
using namespace canaryd::story;

TEST_SUITE("text") {
    TEST_CASE("a weight is a percentage without needless digits") {
        CHECK(text::weight(Weight{1000}) == "10 %");
        CHECK(text::weight(Weight{50}) == "0.5 %");
        CHECK(text::weight(Weight{1}) == "0.01 %");
        CHECK(text::weight(nobody) == "0 %");
        CHECK(text::weight(everybody) == "100 %");
    }

    TEST_CASE("a duration has its units and no more than three of them") {
        CHECK(text::duration(0s) == "0s");
        CHECK(text::duration(45s) == "45s");
        CHECK(text::duration(1500ms) == "1.5s");
        CHECK(text::duration(250ms) == "250ms");
        CHECK(text::duration(7 * day) == "7d");
        CHECK(text::duration(2 * day + 4h + 40min) == "2d 4h 40m");
        CHECK(text::duration(2 * day + 4h + 40min + 7s) == "2d 4h 40m");
        CHECK(text::duration(1h + 30s) == "1h 30s");
        CHECK(text::duration(-5min) == "-5m");
    }

    TEST_CASE("a time has its date, its zone and no surprise before 1970") {
        CHECK(text::time(monday) == "Mon 11 Jan 09:00 UTC");
        CHECK(text::time_of_day(monday + 1s) == "09:00:01");
        CHECK(text::moment(monday + 1s) == "Mon 11 Jan 09:00:01 UTC");
        CHECK(text::iso(monday + 7ms) == "2027-01-11T09:00:00.007Z");
        CHECK(text::iso(TimePoint{-1ms}) == "1969-12-31T23:59:59.999Z");
        CHECK(text::span(monday, monday + 5min) == "09:00 to 09:05");
        CHECK(text::span(monday, monday + 5s) == "09:00:00 to 09:00:05");
        CHECK(text::span(monday, monday + day) == "Mon 11 Jan 09:00 to Tue 12 Jan 09:00");
    }

    TEST_CASE("an age gets coarser as it grows and a clock behind is said as such") {
        CHECK(text::ago(monday, monday) == "now");
        CHECK(text::ago(monday, monday - 90s) == "1m 30s ago");
        CHECK(text::ago(monday, monday - 2min - 5s) == "2m ago");
        CHECK(text::ago(monday, monday - 49h - 5s) == "2d 1h ago");
        CHECK(text::ago(monday, monday + 5s) == "in 5s");
    }

    TEST_CASE("a share keeps the digits that matter") {
        CHECK(text::share(0) == "0 %");
        CHECK(text::share(0.0038) == "0.38 %");
        CHECK(text::share(0.00041) == "0.041 %");
        CHECK(text::share(0.07) == "7 %");
        CHECK(text::share(0.095) == "9.5 %");
        CHECK(text::share(0.9962) == "99.62 %");
        CHECK(text::share(1) == "100 %");
        CHECK(text::share(std::nan("")) == "unknown");
        CHECK(text::share(1e-30).size() < 20);
    }

    TEST_CASE("proven below is rounded up, harm is rounded down") {
        CHECK(text::share_up(0.004901) == "0.5 %");
        CHECK(text::share_up(0.0049) == "0.49 %");
        CHECK(text::share_up(0.01) == "1 %");
        CHECK(text::harm(0.49) == "0.4");
        CHECK(text::harm(4.99) == "4.9");
        CHECK(text::harm(99.97) == "99");
        CHECK(text::harm(104.2) == "104");
        CHECK(text::harm(0) == "0");
        CHECK(text::harm(999'999) == "over 10,000");
    }

    TEST_CASE("numbers are grouped, bars are clamped, lists are sentences") {
        CHECK(text::number(35'400) == "35,400");
        CHECK(text::number(999) == "999");
        CHECK(text::number(-1'234'567) == "-1,234,567");
        CHECK(text::bar(0.5, 8) == "[====....]");
        CHECK(text::bar(7.0, 4) == "[====]");
        CHECK(text::bar(std::nan(""), 4) == "[....]");
        CHECK(text::list({"a", "b", "c"}) == "a, b and c");
        CHECK(text::counted(1, "look", "looks") == "1 look");
        CHECK(text::latency(1340ms) == "1.34 s");
        CHECK(text::latency(240ms) == "240 ms");
    }

    TEST_CASE("a long sentence is broken at spaces and never in a word") {
        CHECK(text::wrap("one two three", 7, 0) == "one two\nthree");
        CHECK(text::wrap("unbreakableword x", 5, 2) == "unbreakableword\n  x");
        CHECK(text::wrap("  x y", 80, 2) == "  x y");
        CHECK(text::wrap("", 5, 2).empty());
    }

    TEST_CASE("every enumerator has a name of its own") {
        std::vector<std::string_view> names;
        for (int i = 0; i <= static_cast<int>(Notice::Kind::raise_lapsed); ++i) {
            names.push_back(text::name(static_cast<Notice::Kind>(i)));
        }
        std::sort(names.begin(), names.end());
        CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
        CHECK(std::find(names.begin(), names.end(), "unknown") == names.end());
        CHECK(text::name(Hold::Kind::shared_outage) == "shared_outage");
        CHECK(text::name(Decision::waiting) == "waiting");
    }

    TEST_CASE("a trigger says numerator, denominator, window, rule and k of n") {
        TriggerState state;
        state.last.from = monday;
        state.last.to = monday + 5min;
        state.last.requests = 200;
        state.last.failures = 14;
        state.last.users = 9;
        state.reached = 0.07;
        state.fired = 0b1;
        state.seen = 1;
        CHECK(text::trigger_line(burst(), state, "") ==
              "error-burst: 14 of 200 requests failed (7 %) from 9 users from 09:00 to 09:05; "
              "rule: error_rate above 5% over 5m, in 1 of 1 looks, at least 10 failures from 3 "
              "users; broken in 1 of the last 1 looks");
        CHECK(has(text::trigger_line(burst(), state, "rides"), "error-burst (rides): 14 of"));
        CHECK(has(text::trigger_line(burst(), TriggerState{}, ""), "not looked at yet"));
    }

    TEST_CASE("only the last n looks count as fired") {
        Trigger trigger = burst();
        trigger.needed = 2;
        trigger.looks = 3;
        TriggerState state;
        state.fired = 0b11001;
        CHECK(text::looks_fired(trigger, state) == 1);
        trigger.looks = 32;
        CHECK(text::looks_fired(trigger, state) == 3);
    }

    TEST_CASE("a traffic trigger says how much of its share came") {
        Trigger trigger = burst();
        trigger.name = "silent";
        trigger.metric = "traffic";
        trigger.kind = Trigger::Kind::traffic;
        trigger.above = false;
        trigger.threshold = 0.2;
        trigger.as_written = "below 20%";
        trigger.at_least = 30;
        TriggerState state;
        state.last.from = monday;
        state.last.to = monday + 15min;
        state.last.requests = 3;
        state.reached = 0.05;
        const std::string line = text::trigger_line(trigger, state, "");
        CHECK(has(line, "3 requests, 5 % of what its share of all requests would be"));
        CHECK(has(line, "at least 30 requests expected"));
        trigger.kind = Trigger::Kind::off_weight;
        trigger.metric = "user_share";
        trigger.as_written = "off_weight_by 2pp";
        trigger.at_least = 0;
        state.last.users = 700;
        state.reached = 0.03;
        CHECK(has(text::trigger_line(trigger, state, ""),
                  "700 users on the canary, 3 % off its weight, from"));
    }
}
