// One wording for journal, terminal, HTTP and Slack. Pure; times in UTC.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "canaryd/rollout.hpp"
#include "canaryd/view.hpp"

namespace canaryd::text {

std::string weight(Weight weight);               // "10 %", "0.5 %"
std::string duration(Duration duration);         // "2d 4h 40m", "45s", "0s"
std::string time(TimePoint at);                  // "Mon 11 Jan 09:00 UTC"
std::string moment(TimePoint at);                // "Fri 22 Jan 23:41:08 UTC"
std::string time_of_day(TimePoint at);           // "23:41:08"
std::string iso(TimePoint at);                   // "2026-01-11T09:00:00.000Z"
std::string ago(TimePoint now, TimePoint then);  // "2m ago", "now"
std::string share(double share);                 // "0.38 %"; two significant digits below 0.1 %
std::string share_up(double share);              // rounded up: "proven below" stays true
std::string rate(double rate, Per per);          // a share, or "2 per hour"
std::string rate_up(double rate, Per per);
std::string number(std::int64_t n);           // "35,400"
std::string seen(std::int64_t n, Per per);    // "35,400 requests", "2d 4h", "1,200"
std::string events(std::int64_t k, Per per);  // "12"; of clusters "3.25"
/// What a query of `metrics` counted: "3 crashes in 2d 4h", "failed_sessions 3.25 of 1,200".
std::string of_query(const std::string& number, std::int64_t n, std::int64_t k, Per per);
std::string margin(const Margin& margin);              // "x1.2 + 0.1 pp"
std::string dispersion(const Dispersion& dispersion);  // "{limits: 2.9, comparisons: 1.2}"
std::string harm(double of_100);           // "0.4", "104"; rounded down: 99.97 is no 100
std::string bar(double share, int width);  // "[====....]"
std::string latency(Duration duration);    // "1.34 s", "240 ms"
/// "13:00 to 13:05", with the day when it is more than one or not today's business.
std::string span(TimePoint from, TimePoint to);
/// 1: "1 request"; 35400: "35,400 requests".
std::string counted(std::int64_t n, std::string_view one, std::string_view many);
/// "a", "a and b", "a, b and c".
std::string list(const std::vector<std::string>& items);
/// Broken at spaces to `width` columns (characters, not bytes); each line but the first begins with
/// `indent` spaces. No newline at the end.
std::string wrap(std::string_view sentence, int width, int indent);

std::string_view name(Status status);
std::string_view name(Readers readers);  // as policies and route rows have it
std::string_view name(Hold::Kind kind);
std::string_view name(Notice::Kind kind);
std::string_view name(Uncounted kind);
std::string_view name(Action action);
std::string_view name(Population who);
std::string_view name(Decision decision);

/// A trigger's rule in words: "error_rate above 5% over 15m, in 2 of 3 looks, at least 5 failures
/// from 3 users".
std::string trigger_rule(const Trigger& trigger);
/// In how many of the last n looks the rule was broken.
int looks_fired(const Trigger& trigger, const TriggerState& state);
/// A trigger in one sentence with its numbers, whether it fired or not: "error-burst: 14 of 200
/// requests failed (7 %) from 13:00 to 13:05; rule: error_rate above 5% over 5m, at least 10
/// failures; broken in 1 of the last 1 looks, 1 needed".
std::string trigger_line(const Trigger& trigger, const TriggerState& state,
                         const std::string& segment);

/// How a page is drawn.
struct Paper {
    int width = 80;
    bool colour = false;
};

/// HEALTHY, STARTING, SUSPICIOUS, UNPROVEN (bake complete, not proven: extending), WAITING (an
/// alarm waits for its confirmation), HELD, PAUSED, BLIND, ROLLED BACK, FINISHING, FINISHED.
std::string state_word(const View& view);
/// 0 fine, 3 rolled back, 4 held, paused or waiting for a person: the exit status of `status`.
int exit_code(const View& view);
/// Must a person act, and what comes next: the second line of the page.
std::string what_next(const View& view);
/// "10 % of users are on new.", and what is ordered when the router has not confirmed it.
std::string where_users_are(const Rollout& rollout, const Policy& policy);
/// Where users are, whether a person must act and what comes next: how a notice ends.
std::string outlook(const Rollout& rollout, const Policy& policy, TimePoint now);
/// What ends a hold: by itself, or which command.
std::string way_out(const Hold& hold);
/// The page of `canaryctl status`: who must act first, everything else below (screens).
std::string status_page(const View& view, const Paper& paper = {});
/// One line a rollout, when there are several.
std::string status_line(const View& view, const Paper& paper = {});
/// Why it did not promote, or why it rolled back, in at most a dozen lines.
std::string explain(const View& view);
/// `explain --maths`: both ledgers, stream by stream, for who wants to work it out again.
std::string explain_maths(const View& view);
/// `explain trigger NAME`: numerator, denominator, k of n, to be checked by hand.
std::string explain_trigger(const View& view, const std::string& trigger);
/// What a policy will do, for a product owner: `canaryctl check`.
std::string policy_page(const Policy& policy, bool every_default);
/// View::by_hand where that is what helps: somebody may be on the canary, and the route does not
/// follow or the store takes nothing. Else empty.
std::vector<std::string> way_back(const View& view);
/// "\n" becomes "; ": for logs, where a line is an entry.
std::string one_line(std::string_view words);
/// A notice's text as it is sent: with where users are by then after a rollback, and way_back().
/// Good news stays as it is.
std::string told(const View& view, const Notice& notice);
/// The text of the periodic report.
std::string report(const Rollout& rollout, const Policy& policy, TimePoint now);

/// How many requests prove that a rate is below `limit`, when `failing` of them fail (a share
/// below the limit; 0: none at all). phi divides the evidence (8.1).
std::int64_t requests_to_prove(double limit, double failing, double beta, double phi = 1.0);
/// The same of events per hour: for how long it has to be watched.
Duration time_to_prove(double limit, double happening, double beta, double phi = 1.0);

}  // namespace canaryd::text
