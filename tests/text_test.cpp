// What people read: every page from one state, the same words everywhere.
#include "canaryd/text.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

namespace {

using namespace canaryd;
using namespace std::chrono_literals;
using text::Paper;

constexpr Duration day = 24h;
// Mon 11 Jan 2027 09:00 UTC.
const TimePoint monday = TimePoint{std::chrono::sys_days{std::chrono::year{2027} / 1 / 11}} + 9h;

Criterion criterion(std::string name, std::string metric, Signal signal, double limit) {
    Criterion made;
    made.name = std::move(name);
    made.metric = std::move(metric);
    made.signal = signal;
    made.limit = limit;
    return made;
}

Trigger burst() {
    Trigger trigger;
    trigger.name = "error-burst";
    trigger.metric = "error_rate";
    trigger.threshold = 0.05;
    trigger.as_written = "above 5%";
    trigger.over = 5min;
    trigger.needed = 1;
    trigger.looks = 1;
    trigger.at_least = 10;
    return trigger;
}

/// The first user's plan in small: three steps, errors and p95, two agents.
Policy plan() {
    Policy policy;
    policy.name = "unified-webhook";
    policy.canary = "wa-webhook-unified";
    policy.baseline = {"wa-webhook-ai-agents"};
    policy.source = {"sqlite", "metrics", "webhook_metrics"};
    policy.router = {"sql", "route"};
    policy.steps = {{"week4", Weight{1000}, 7 * day},
                    {"week5", Weight{5000}, 7 * day},
                    {"week6", everybody, 7 * day}};
    const Signal failed{};
    const Signal slow{Signal::Kind::slower, 2s};
    policy.criteria = {criterion("errors", "error_rate", failed, 0.01),
                       criterion("latency", "latency_p95", slow, 0.05),
                       criterion("success", "success_rate", failed, 0.01)};
    policy.triggers = {burst()};
    policy.segment = "agent";
    policy.segment_column = "agent_type";
    policy.segments = {"rides", "waiter"};
    policy.hash = "0123456789abcdef";
    return policy;
}

SegmentState segment(std::int64_t requests, std::int64_t failed, TimePoint last) {
    SegmentState state;
    state.requests = requests;
    state.events_failed = failed;
    for (std::uint64_t user = 0; user < 10; ++user) state.users.push_back(user);
    state.last_request = last;
    return state;
}

void count(Stream& stream, std::int64_t requests, std::int64_t events) {
    stream.requests = requests;
    stream.events = events;
}

/// Day 3 of week4, everything well.
View healthy() {
    View view;
    view.policy = plan();
    view.now = monday + 2 * day + 5h;
    Rollout& rollout = view.rollout;
    rollout.id = "unified-webhook-1";
    rollout.name = "unified-webhook";
    rollout.status = Status::progressing;
    rollout.revision = 641;
    rollout.desired = Weight{1000};
    rollout.applied = Weight{1000};
    rollout.started = monday;
    rollout.applied_since = monday;
    rollout.baked = 2 * day + 4h + 20min;
    rollout.uncounted[static_cast<std::size_t>(Uncounted::blind)] = 40min;
    rollout.last_look = view.now - 2min;
    rollout.ledger = new_ledger(view.policy);
    // Limit by limit, the total first, then the agents.
    count(rollout.ledger.streams[0], 35'400, 134);
    count(rollout.ledger.streams[1], 5'510, 22);
    count(rollout.ledger.streams[2], 430, 3);
    count(rollout.ledger.streams[3], 35'400, 673);
    rollout.proven = true;
    rollout.ln_m = std::log(0.4);
    rollout.segments = {segment(5'510, 22, view.now - 30s), segment(430, 3, view.now - 22min)};
    rollout.canary.requests = 35'400;
    rollout.canary.events = {134, 673};
    rollout.canary.latency.add(1300ms, 35'400);
    rollout.baseline.requests = 322'000;
    rollout.baseline.events = {1'320, 7'438};
    rollout.baseline.latency.add(1500ms, 322'000);
    rollout.last_canary_request = view.now - 30s;
    view.served = Served{Weight{1000}, 3, "canaryd", "week4"};
    view.served_at = view.now - 12s;
    view.peeked_at = view.now - 9s;
    return view;
}

View rolled_back() {
    View view = healthy();
    Rollout& rollout = view.rollout;
    rollout.status = Status::rolled_back;
    rollout.step = 1;
    rollout.bake_seen = {7 * day};
    rollout.desired = nobody;
    rollout.applied = nobody;
    rollout.rolled_back_from = Weight{5000};
    rollout.rolled_back_at = view.now - 1min;
    rollout.applied_since = view.now - 1min + 3ms;
    rollout.reason = "criterion errors, agent rides: 12 of 126 requests failed (9.52 %)";
    rollout.changed_by = "canaryd";
    rollout.changed_at = view.now - 1min;
    rollout.ln_m = std::log(104.0);
    rollout.ledger.streams[1].ln_r[4] = std::log(104.0);
    view.served = Served{nobody, 4, "canaryd", "criterion errors"};
    return view;
}

View held(Hold::Kind kind, std::string why) {
    View view = healthy();
    view.rollout.holds.push_back({kind, "", view.now - 10min, std::move(why)});
    return view;
}

bool has(const std::string& page, const std::string& words) {
    return page.find(words) != std::string::npos;
}

/// The page without its line breaks and paddings: a sentence may be wrapped anywhere.
std::string flat(const std::string& page) {
    std::istringstream words(page);
    std::string word, all;
    while (words >> word) all += (all.empty() ? "" : " ") + word;
    return all;
}

std::size_t longest_line(const std::string& page) {
    std::istringstream lines(page);
    std::string line;
    std::size_t longest = 0;
    while (std::getline(lines, line)) longest = std::max(longest, line.size());
    return longest;
}

std::ptrdiff_t lines_of(const std::string& page) {
    return std::count(page.begin(), page.end(), '\n');
}

}  // namespace

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
        CHECK(text::harm(std::exp(700.0)) == "over 1,000,000");
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
    }

    TEST_CASE("a healthy rollout says that nothing needs you and when the next step may come") {
        const std::string page = text::status_page(healthy());
        CHECK(has(page, "unified-webhook   HEALTHY   10 % on wa-webhook-unified"));
        CHECK(has(page, "week4, step 1 of 3"));
        CHECK(has(flat(page), "Nothing needs you. Next: 50 %, not before Mon 18 Jan 09:40 UTC"));
        CHECK(has(page, "2d 4h 20m of 7d"));
        CHECK(has(page, "not counted: 40m blind"));
        CHECK(has(flat(page), "wanted 10 %, served 10 % (read back 12s ago)"));
        CHECK(has(page, "revision 641"));
        CHECK(text::exit_code(healthy()) == 0);
    }

    TEST_CASE("the criteria table shows rate, bound, legacy and limit, success as 1 - errors") {
        const std::string page = flat(text::status_page(healthy()));
        CHECK(has(page, "errors 35,400 req 0.38 %"));
        CHECK(has(page, "0.41 % 1 %"));
        CHECK(has(page, "latency over 2s 35,400 req 1.9 %"));
        CHECK(has(page, "p95 (estimate) 1.58 s 1.58 s 2 s"));
        CHECK(has(page, "success 99.62 %"));
        CHECK(has(page, "1 - errors"));
    }

    TEST_CASE("an agent with too few requests to prove is named as such") {
        const std::string page = text::status_page(healthy());
        CHECK(has(flat(page), "waiter 430 3 0.7 %"));
        CHECK(has(page, "too few to prove"));
        View unseen = healthy();
        unseen.rollout.segments[1].users.clear();
        CHECK(has(text::status_page(unseen), "not seen enough"));
        CHECK(has(flat(text::status_page(unseen)), "[ ] 1 of 2 agents seen"));
    }

    TEST_CASE("no line of a page is wider than the paper") {
        View view = rolled_back();
        view.rollout.reason +=
            " and a long explanation that goes on and on, word after word, so "
            "that it cannot fit in a line of any terminal";
        for (const int width : {60, 80, 120}) {
            CAPTURE(width);
            CHECK(longest_line(text::status_page(healthy(), Paper{width, false})) <=
                  static_cast<std::size_t>(width));
            CHECK(longest_line(text::status_page(view, Paper{width, false})) <=
                  static_cast<std::size_t>(width));
        }
        CHECK(longest_line(text::policy_page(plan(), false)) <= 80);
    }

    TEST_CASE("colours come only when asked") {
        CHECK(!has(text::status_page(healthy()), "\x1b"));
        CHECK(has(text::status_page(healthy(), Paper{80, true}), "\x1b[1;32mHEALTHY\x1b[0m"));
        CHECK(has(text::status_page(rolled_back(), Paper{80, true}), "\x1b[1;31mROLLED BACK"));
    }

    TEST_CASE("a text from outside cannot move the cursor or forge a line") {
        View view = healthy();
        view.source_error = "boom\x1b[2J\nHEALTHY";
        view.router_error = "bidi \xE2\x80\xAE and bad \xFF byte";
        view.remarks = {"row 7: \a"};
        view.rollout.paused = Paused{"eve\r", view.now, "\x1b]0;title\x07"};
        const std::string page = text::status_page(view, Paper{80, false});
        CHECK(!has(page, "\x1b"));
        CHECK(!has(page, "\r"));
        CHECK(!has(page, "\a"));
        CHECK(!has(page, "\xE2\x80\xAE"));
        CHECK(!has(page, "\xFF"));
        CHECK(!has(page, "\nHEALTHY"));
        CHECK(!has(text::explain(view), "\x1b"));
    }

    TEST_CASE("each state has its word, its way out and its exit status") {
        struct Case {
            View view;
            std::string word, words;
            int code;
        };
        std::vector<Case> cases;
        cases.push_back({rolled_back(), "ROLLED BACK", "canaryctl ack", 3});
        cases.push_back({held(Hold::Kind::drift, "the route was lowered"), "HELD",
                         "canaryctl resume --reason", 4});
        cases.push_back(
            {held(Hold::Kind::unproven, "week4 has lasted 21d"), "HELD", "canaryctl extend", 4});
        cases.push_back({held(Hold::Kind::blind, "no metrics"), "BLIND",
                         "resumes by itself when metrics are back", 4});
        cases.push_back({held(Hold::Kind::shared_outage, "both fail"), "HELD",
                         "resumes by itself when legacy is well", 4});
        View view = healthy();
        view.rollout.paused = Paused{"alice", view.now - 1h, "lunch"};
        cases.push_back({view, "PAUSED", "Paused by alice since", 4});
        view = healthy();
        view.rollout.ledger.waiting = Waiting{};
        view.rollout.ledger.waiting->since = view.now - 1min;
        cases.push_back({view, "WAITING", "roll back or hold", 4});
        view = healthy();
        view.rollout.suspicious = true;
        cases.push_back({view, "SUSPICIOUS", "Promotion waits", 0});
        view = healthy();
        view.rollout.status = Status::pending;
        view.rollout.applied.reset();
        cases.push_back({view, "STARTING", "the router confirms 10 %", 0});
        view = healthy();
        view.rollout.baked = 7 * day;
        view.rollout.proven = false;
        cases.push_back({view, "UNPROVEN", "Next: 50 %. Missing:", 0});
        view = healthy();
        view.rollout.step = 2;
        view.rollout.status = Status::finishing;
        cases.push_back({view, "FINISHING", "canaryctl finish --reason", 4});
        view.rollout.status = Status::finished;
        cases.push_back({view, "FINISHED", "Nothing needs you", 0});
        for (const Case& one : cases) {
            CAPTURE(one.word);
            CHECK(text::state_word(one.view) == one.word);
            CHECK(text::exit_code(one.view) == one.code);
            CHECK(has(text::status_page(one.view), one.word));
            CHECK(has(flat(text::status_page(one.view)), one.words));
            CHECK(has(text::status_line(one.view), one.word));
        }
    }

    TEST_CASE("a rollout without a single request is not called healthy") {
        View view = healthy();
        view.rollout.canary = Seen{};
        CHECK(text::state_word(view) == "STARTING");
    }

    TEST_CASE("a person's hold is shown before a hold that heals") {
        View view = held(Hold::Kind::blind, "no metrics");
        view.rollout.holds.push_back({Hold::Kind::trigger, "silent", view.now, "too quiet"});
        CHECK(text::state_word(view) == "HELD");
        const std::string page = flat(text::status_page(view));
        CHECK(has(page, "too quiet. When it is understood"));
        CHECK(has(page, "no metrics (ends by itself)"));
    }

    TEST_CASE("blind but not held yet says when it will be") {
        View view = healthy();
        view.rollout.blind_since = view.now - 5min;
        view.rollout.blind_why = "sqlite metrics.db: gone";
        CHECK(text::state_word(view) == "BLIND");
        CHECK(text::exit_code(view) == 0);
        CHECK(has(text::what_next(view), "held from Wed 13 Jan 14:10 UTC on"));
        CHECK(has(text::what_next(view), "metrics.db: gone"));
    }

    TEST_CASE("users on legacy is said only after the router confirmed it") {
        CHECK(has(text::what_next(rolled_back()), "Users are on legacy since 13:59:00 UTC"));
        View view = rolled_back();
        view.served->weight = Weight{5000};
        view.router_error = "disk full";
        CHECK(has(text::what_next(view), "NOT all on legacy yet: the router serves 50 %"));
        CHECK(has(text::what_next(view), "disk full"));
        view.served.reset();
        view.rollout.applied = Weight{5000};
        CHECK(has(text::what_next(view), "has not confirmed it yet"));
    }

    TEST_CASE("a rollback's page names why, who, the route, legacy and what to do next") {
        const std::string page = flat(text::status_page(rolled_back()));
        CHECK(has(page, "ROLLED BACK 0 % on wa-webhook-unified was 50 %, week5"));
        CHECK(has(page, "Why criterion errors, agent rides: 12 of 126 requests failed"));
        CHECK(has(page, "errors, agent rides: 22 of 5,510 requests failed"));
        CHECK(has(page, "The other 1 agent: no suspicion"));
        CHECK(has(page, "3ms after the decision"));
        CHECK(has(page, "Legacy 0.41 % errors"));
        CHECK(has(page, "Bake seen: week4 7d, week5 2d 4h 20m."));
        CHECK(has(page, "it will not rise again"));
        CHECK(has(page, "canaryctl start unified-webhook"));
    }

    TEST_CASE("explain fits in a dozen lines and names what is missing") {
        View view = healthy();
        view.rollout.proven = false;
        view.rollout.suspicious = true;
        view.rollout.paused = Paused{"alice", view.now, "lunch"};
        view.rollout.holds.push_back({Hold::Kind::drift, "", view.now, "lowered by hand"});
        const std::string page = text::explain(view);
        CHECK(lines_of(page) <= 12);
        CHECK(has(page, "paused by alice"));
        CHECK(has(page, "lowered by hand"));
        CHECK(has(page, "To go to 50 %, this is missing:"));
        const std::string back = text::explain(rolled_back());
        CHECK(lines_of(back) <= 12);
        CHECK(has(back, "was rolled back from 50 % (week5) by canaryd on"));
        CHECK(has(back, "Most harm: errors, agent rides: 22 of 5,510"));
        CHECK(has(back, "Legacy at the same step: 0.41 %"));
    }

    TEST_CASE("no page says nats, e-value or martingale") {
        for (const View& view : {healthy(), rolled_back()}) {
            const std::string all = text::status_page(view) + text::explain(view) +
                                    text::report(view.rollout, view.policy, view.now) +
                                    text::policy_page(view.policy, true);
            for (const char* word : {"nats", "e-value", "martingale", "ln M"}) {
                CHECK(!has(all, word));
            }
        }
    }

    TEST_CASE("explain trigger can be checked by hand and names the ones there are") {
        View view = healthy();
        TriggerState& state = view.rollout.triggers["error-burst"];
        state.last.from = monday;
        state.last.to = monday + 5min;
        state.last.requests = 200;
        state.last.failures = 14;
        state.fired = 1;
        state.seen = 1;
        const std::string page = text::explain_trigger(view, "error-burst");
        CHECK(has(page, "14 of 200 requests failed"));
        CHECK(has(page, "1 needed: fires"));
        CHECK(has(page, "looks, newest first: broken"));
        CHECK(has(page, "2027-01-11T09:00:00.000Z up to and without 2027-01-11T09:05:00.000Z"));
        CHECK(has(page, "rolls back at once"));
        CHECK(has(text::status_page(view), "1 armed, 1 fired"));
        CHECK(has(text::explain_trigger(view, "eror"), "There are: error-burst."));
    }

    TEST_CASE("the policy page says 44 days, what proves, what rolls back and what is promised") {
        const std::string page = flat(text::policy_page(plan(), false));
        CHECK(has(page, "7d + 7d + 30d = 44d at the earliest"));
        CHECK(has(page, "after 14d week6 100 %"));
        CHECK(has(page, "errors, success: failed requests (errors and timeouts) proven below 1 %"));
        CHECK(has(page,
                  "None at all in 393 requests proves it; at half the limit it takes about "
                  "3,400"));
        CHECK(has(page, "requests slower than 2s proven below 5 %"));
        CHECK(has(page, "trigger error-burst: error_rate above 5% over 5m"));
        CHECK(has(page, "roll back at most 1 by mistake"));
        CHECK(has(page, "The triggers are outside of that promise"));
        CHECK(has(page, "NOBODY"));
        CHECK(!has(page, "evaluate_every"));
    }

    TEST_CASE("check --explain lists every field with its value") {
        const std::string page = flat(text::policy_page(plan(), true));
        for (const char* words :
             {"evaluate_every 5m", "peek_every 15s", "warm_up 10m", "settle 30s",
              "false_rollback 1 %", "max_step 3 x bake", "suspicious 5 of 100",
              "blind.rollback_after never", "finish.soak 30d"}) {
            CAPTURE(words);
            CHECK(has(page, words));
        }
    }

    TEST_CASE("the requests that prove health are those of the gate itself") {
        CHECK(text::requests_to_prove(0.01, 0, 0.05) == 393);
        CHECK(text::requests_to_prove(0.05, 0, 0.05) == 78);
        CHECK(text::requests_to_prove(0.01, 0.005, 0.05) == 3358);
        CHECK(log_e_promote(393, 0, 0.01) >= -std::log(0.05));
        CHECK(log_e_promote(392, 0, 0.01) < -std::log(0.05));
    }

    TEST_CASE("the report says state, bake, criteria, agents and when the next one comes") {
        const View view = healthy();
        const std::string page = text::report(view.rollout, view.policy, view.now);
        CHECK(has(page, "unified-webhook: healthy at 10 % (week4, day 3)"));
        CHECK(has(page, "Bake 2d 4h 20m of 7d."));
        CHECK(has(page, "errors: 134 of 35,400 requests failed (0.38 %), proven below"));
        CHECK(has(page, "limit 1 %; legacy 0.41 %"));
        CHECK(has(page, "All 2 agents seen; quietest: waiter, 430 requests"));
        CHECK(has(page, "Not counted as bake: 40m blind"));
        CHECK(has(page, "Revision 641; next report Wed 13 Jan 20:00 UTC"));
    }

    TEST_CASE("a policy or state that is not filled in makes no page crash") {
        const View nothing;
        CHECK(has(text::status_page(nothing), "no policy"));
        CHECK(text::explain(nothing).empty());
        CHECK(has(text::policy_page(nothing.policy, false), "no steps"));
        View fresh;
        fresh.policy = plan();
        fresh.rollout.name = "unified-webhook";
        CHECK(has(text::status_page(fresh), "STARTING"));
        CHECK(!text::explain(fresh).empty());
    }
}
