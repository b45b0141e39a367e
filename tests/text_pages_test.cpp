// What people read: every page from one state.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "canaryd/text.hpp"
#include "tests/text_story.hpp"

using namespace canaryd;
using namespace canaryd::story;
using text::Paper;

TEST_SUITE("text") {
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

    TEST_CASE("the way back by hand is shown where it helps, whole, and nowhere else") {
        const std::string sql = "  select canaryd.rollback('why');\n";
        const auto by_hand = [](View view) {
            view.by_hand = {"select canaryd.rollback('why');",
                            "canaryctl rollback --direct unified-webhook --database URL"};
            return view;
        };
        const auto shown = [&](const View& view) {
            return has(text::status_page(by_hand(view), Paper{40, false}), sql);
        };
        CHECK_FALSE(shown(healthy()));
        CHECK_FALSE(shown(rolled_back()));
        View view = healthy();
        view.router_error = "connection refused";
        CHECK(shown(view));
        view = healthy();
        view.store_trouble = "disk full";
        CHECK(shown(view));
        CHECK(has(flat(text::status_page(view)), "Store NOT WRITABLE, nothing rises"));
        view = rolled_back();
        view.rollout.applied = Weight{5000};
        CHECK(shown(view));
        view = rolled_back();
        view.router_error = "connection refused";
        CHECK_FALSE(shown(view));  // everybody is there
        view.rollout.status = Status::finished;
        view.rollout.desired = everybody;
        CHECK_FALSE(shown(view));  // and here there may be nowhere to go back to
    }

    TEST_CASE("a message says where users are when it is sent, and the way back by hand") {
        const Notice notice{Notice::Kind::rolled_back, Severity::critical, "ROLLED BACK"};
        CHECK(text::told(rolled_back(), notice) ==
              "ROLLED BACK\nUsers are on legacy since 13:59:00 UTC.");
        View late = rolled_back();
        late.rollout.applied = Weight{5000};
        late.served.reset();
        late.router_error = "connection refused";
        late.by_hand = {"select canaryd.rollback('why');", "canaryctl rollback --direct x"};
        const std::string ways =
            "\nPast canaryd: select canaryd.rollback('why'); or: canaryctl rollback --direct x";
        CHECK(text::told(late, notice) ==
              "ROLLED BACK\n0 % is ordered; the router has not confirmed it yet: connection "
              "refused." +
                  ways);
        View blind = healthy();
        blind.by_hand = late.by_hand;
        const Notice held{Notice::Kind::blind, Severity::warning, "held at 10 %"};
        CHECK(text::told(blind, held) == "held at 10 %");
        blind.router_error = "connection refused";
        CHECK(text::told(blind, held) == "held at 10 %" + ways);
        const Notice good{Notice::Kind::promoted, Severity::info, "50 %"};
        CHECK(text::told(blind, good) == "50 %");
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
        view = held(Hold::Kind::blind, "the canary had 3 requests");
        view.rollout.holds.back().name = "silent";
        cases.push_back({view, "BLIND", "Find out why its requests do not come", 4});
        view = healthy();
        view.rollout.ledger.waiting = Waiting{};
        view.rollout.ledger.waiting->since = view.now - 1min;
        cases.push_back({view, "WAITING", "at the earliest, roll back or hold", 4});
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
        View view = rolled_back();
        view.top_errors = {{"driver_lookup: timeout after 5000 ms", 9, {"7f3a", "81c2"}},
                           {"tool schedule_trip not found\nforged", 3, {}}};
        const std::string page = flat(text::status_page(view));
        CHECK(
            has(page, "Errors 9x driver_lookup: timeout after 5000 ms req 7f3a req 81c2 3x tool"));
        CHECK_FALSE(has(text::status_page(view), "\nforged"));
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

    TEST_CASE("past the cap of the harm shown, the highest rate is named") {
        View view = rolled_back();
        for (const std::size_t stream : {0U, 1U, 2U}) {
            view.rollout.ledger.streams[stream].ln_r[4] = 700;
        }
        CHECK(has(text::explain(view), "Most harm: errors, agent waiter: 3 of 430"));
    }

    TEST_CASE("explain fits in a dozen lines and names what is missing") {
        View view = healthy();
        view.rollout.proven = false;
        view.rollout.suspicious = true;
        view.rollout.paused = Paused{"alice", view.now, "lunch"};
        view.rollout.holds.push_back({Hold::Kind::drift, "", view.now, "lowered by hand"});
        const std::string page = text::explain(view);
        CHECK(lines_of(page) <= 8);
        CHECK(has(page, "paused by alice"));
        CHECK(has(page, "lowered by hand"));
        CHECK(has(page, "To go to 50 %, this is missing: "));
        CHECK(has(page, "; bake: 4d 19h 40m to go; "));
        CHECK(has(page, "; and 1 more.\n"));
        const std::string back = text::explain(rolled_back());
        CHECK(lines_of(back) <= 12);
        CHECK(has(back, "was rolled back from 50 % (week5) by canaryd on"));
        CHECK(has(back, "Most harm: errors, agent rides: 22 of 5,510"));
        CHECK(has(back, "Legacy at the same step: 0.41 %"));
    }

    TEST_CASE("explain gives the odds, and what it would take") {
        const std::string page = text::explain(healthy());
        CHECK(has(page, "If the true rate were at the limit, so few would be seen once in "));
        CHECK(has(page, "If the next requests all failed, "));
        CHECK(has(page, " of different users would roll back."));
        const std::string back = text::explain(rolled_back());
        CHECK(has(back, "a sequence like this would be seen once in 100 rollouts"));
        View unproven = healthy();
        unproven.rollout.ledger.streams[0].requests = 500;
        unproven.rollout.ledger.streams[0].events = 2;
        CHECK(has(text::explain(unproven), "more requests at this rate would prove it"));
    }

    TEST_CASE("explain --maths has every stream of both ledgers") {
        View view = healthy();
        view.policy.criteria.push_back(
            {"worse", "error_rate", {}, 0, Margin{1.2, 0.001}, Action::hold});
        view.rollout.ledger.hold.streams.resize(3);
        view.rollout.ledger.hold.streams[1].ln_r[4] = std::log(30.0);
        view.rollout.ledger.hold.streams[1].baseline_requests = 11'000;
        const std::string page = text::explain_maths(view);
        CHECK(has(page, "ln M"));
        CHECK(has(page, "latency, agent waiter"));
        CHECK(has(page, "worse, agent rides"));
        CHECK(has(page, "0 of 11,000, x1.2 + 0.1 pp"));
        CHECK(has(page, "3.4012"));
        const std::string words = flat(text::explain(view));
        CHECK(has(words, "worse, agent rides: no request yet, legacy 0 of 11,000"));
        CHECK(has(words, "just at that margin, a sequence like this would be seen once in"));
        const std::string status = flat(text::status_page(view));
        CHECK(has(status, "Against legacy: worse, agent rides suspicious"));
        CHECK(has(status, "by the criteria that hold (100 = held)"));
        view.rollout.ledger.hold.streams[1].ln_r[4] = -5;
        CHECK(has(flat(text::status_page(view)),
                  "Against legacy: worse (x1.2 + 0.1 pp) not proven worse"));
        CHECK(text::explain_maths(View{}) == "No look was judged yet.\n");
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
              "blind.rollback_after never", "finish.soak 30d",
              "dispersion {limits: 1, comparisons: 1}", "steps[0].weight 10 %",
              "criteria[0] errors: error_rate, failed requests (errors and timeouts) below 1 %, "
              "then rollback"}) {
            CAPTURE(words);
            CHECK(has(page, words));
        }
    }

    TEST_CASE("check --explain cuts nothing, however long a query is") {
        Policy policy = plan();
        policy.metrics.push_back({"dlq_added", "select count(*)\nfrom a " + std::string(300, 'x')});
        const std::string page = text::policy_page(policy, true);
        CHECK(has(page, "  confirm_without_baseline  20m\n"));
        CHECK(has(page, "  metrics                   dlq_added: select count(*) from a\n"));
        CHECK(has(page, std::string(300, 'x') + "\n"));
    }

    TEST_CASE("a dispersion is said with what it costs, and only where there is one") {
        Policy wavy = plan();
        const std::string calm = flat(text::policy_page(wavy, false));
        CHECK_FALSE(has(calm, "come in waves"));
        CHECK(has(calm, "None at all in 393 requests"));
        wavy.dispersion.limits = 2.5;
        const std::string page = flat(text::policy_page(wavy, false));
        CHECK(has(page, "dispersion: {limits: 2.5, comparisons: 1}"));
        const std::int64_t needed = text::requests_to_prove(0.01, 0, 0.05, 2.5);
        CHECK(needed > 2 * 393);
        CHECK(has(page, "None at all in " + text::number(needed) + " requests"));
        CHECK(text::requests_to_prove(0.01, 0.005, 0.05, 2.5) == 8393);
    }

    TEST_CASE("the requests that prove health are those of the gate itself") {
        CHECK(text::requests_to_prove(0.01, 0, 0.05) == 393);
        CHECK(text::requests_to_prove(0.05, 0, 0.05) == 78);
        CHECK(text::requests_to_prove(0.01, 0.005, 0.05) == 3358);
        CHECK(log_e_promote(393, 0, 0.01) >= -std::log(0.05));
        CHECK(log_e_promote(392, 0, 0.01) < -std::log(0.05));
    }

    TEST_CASE("what happens so often an hour is said so on every page") {
        View view = healthy();
        view.policy.criteria.push_back(
            criterion("crashes", "worker_crashes",
                      Signal{Signal::Kind::counted, Duration{0}, "worker_crashes", Per::hour}, 2));
        view.rollout.ledger.streams.resize(9);
        constexpr std::size_t crashes = 6;
        count(view.rollout.ledger.streams[crashes], Duration(26h).count(), 13);
        view.rollout.proven = false;
        const auto check = [](const std::string& page, const std::string& words) {
            CHECK_MESSAGE(has(flat(page), words), page);
        };
        check(text::policy_page(view.policy, false),
              "crashes: what the query worker_crashes counts proven below 2 per hour. None at all "
              "in 1h 59m proves it; at half the limit it takes about 16h 56m.");
        check(text::policy_page(view.policy, true), "worker_crashes counts below 2 per hour, then");
        check(text::status_page(view), "crashes 1d 2h 0.5/h 1.04/h - 2/h proven");
        check(text::explain(view),
              "crashes, all together: 13 worker_crashes in 1d 2h (0.5 per hour), proven below 1.04 "
              "per hour; limit 2 per hour, harm 0 of 100.");
        check(text::report(view.rollout, view.policy, view.now),
              "crashes: 13 worker_crashes in 1d 2h");
        check(text::explain_maths(view), "crashes 1d 2h 13 2 per hour");
        CHECK_FALSE(has(text::explain_maths(view), "crashes, agent"));
        // Too soon, and beyond the limit.
        count(view.rollout.ledger.streams[crashes], Duration(2h).count(), 1);
        check(text::explain(view), "About 4h 32m more at this rate would prove it.");
        check(text::explain(view),
              "crashes proven below 3.38 per hour only, limit 2 per hour (2h)");
        count(view.rollout.ledger.streams[crashes], 0, 0);
        check(text::explain(view), "crashes not proven, limit 2 per hour (0s)");
        check(text::explain(view), "crashes, all together: not counted yet, nothing proven yet");
        count(view.rollout.ledger.streams[crashes], Duration(2h).count(), 40);
        view.rollout.ledger.streams[crashes].ln_r[5] = std::log(104.0);
        check(text::explain(view),
              "proven above 10.6 per hour; limit 2 per hour, harm 104 of 100.");
        check(text::explain_maths(view), "1.6 (9.91 per hour)");
    }

    TEST_CASE("a share of what a query counts is said so on every page") {
        View view = healthy();
        view.policy.criteria.push_back(criterion(
            "sessions", "failed_sessions",
            Signal{Signal::Kind::counted, Duration{0}, "failed_sessions", Per::cluster}, 0.01));
        view.rollout.ledger.streams.resize(9);
        Stream& sessions = view.rollout.ledger.streams[6];
        constexpr std::int64_t one = unit_of(Per::cluster);
        count(sessions, 40'000 * one, 130 * one + one / 4);
        view.rollout.proven = false;
        const auto check = [](const std::string& page, const std::string& words) {
            CHECK_MESSAGE(has(flat(page), words), page);
        };
        check(
            text::policy_page(view.policy, false),
            "sessions: what the query failed_sessions counts proven below 1 % on average. None at "
            "all in 393 of what it counts proves it; at half the limit it takes about 3,400.");
        check(text::policy_page(view.policy, true), "failed_sessions counts below 1 %, then");
        check(text::status_page(view), "sessions 40,000 0.33 % 0.43 % - 1 % proven");
        check(
            text::explain(view),
            "sessions, all together: failed_sessions 130 of 40,000 (0.33 %), proven below 0.43 %; "
            "limit 1 %, harm 0 of 100.");
        check(text::explain_maths(view), "sessions 40,000 130 1 %");
        CHECK_FALSE(has(text::explain_maths(view), "sessions, agent"));
        count(sessions, 100 * one, one / 4);
        check(text::explain(view), "failed_sessions 0.25 of 100 (0.25 %)");
        check(text::explain(view), "more at this rate would prove it.");
        check(text::explain(view), "sessions proven below 4.63 % only, limit 1 % (100 counted)");
        count(sessions, 0, 0);
        check(text::explain(view), "sessions, all together: not counted yet, nothing proven yet");
    }

    TEST_CASE("so many an hour are rounded up where a bound has to stay true") {
        CHECK(text::rate(2, Per::hour) == "2 per hour");
        CHECK(text::rate(0.5208, Per::hour) == "0.521 per hour");
        CHECK(text::rate(0.01, Per::request) == "1 %");
        CHECK(text::rate_up(1.2341, Per::hour) == "1.24 per hour");
        CHECK(text::rate_up(2, Per::hour) == "2 per hour");
        CHECK(text::rate(4500, Per::hour) == "4,500 per hour");
        CHECK(text::rate_up(0, Per::hour) == "0 per hour");
        CHECK(text::rate(std::numeric_limits<double>::infinity(), Per::hour) == "unknown");
        CHECK(text::time_to_prove(2, 0, 0.05) == Duration(119min));
        CHECK(log_e_promote(1.98 * 3.6e6, 0, 2, 1, Per::hour) >= -std::log(0.05));
        CHECK(log_e_promote(1.95 * 3.6e6, 0, 2, 1, Per::hour) < -std::log(0.05));
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
