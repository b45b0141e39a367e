// What a backtest says: to a person in the terminal, to scripts, and as one page for a browser.
#pragma once

#include <string>
#include <vector>

#include "canaryd/text.hpp"
#include "daemon/ctl/backtest/replay.hpp"

namespace canaryd::backtest {

/// A finished replay and where it came from. All outlive it.
struct Report {
    const Policy& policy;
    const History& history;
    const Plan& plan;
    const Result& result;
};

/// The rollout as `canaryctl status` would show it at the end.
View view_of(const Report& report);
/// The state in a word: that of `status`, with the end of the records where they ended first.
std::string word_of(const Report& report);
/// 0: it went as far as the records or the plan go; 3: rolled back; 4: held, or a person is needed.
int exit_code_of(const Report& report);

/// What happened, for a stranger: one sentence or two a paragraph.
struct Story {
    std::string headline;             // "ROLLED BACK 3h 35m after the injected fault began"
    std::string played;               // what was played
    std::string ended;                // how it ended and why
    std::vector<std::string> faults;  // one for each injection
    std::string false_alarms;
};
Story story_of(const Report& report);

/// A step as it was seen, limit by limit.
struct StepRow {
    std::string step;
    Weight weight;
    Duration lasted{0};
    std::string criterion;
    double limit = 0;
    std::int64_t requests = 0, events = 0, legacy_requests = 0, legacy_events = 0;
    double proven_below = 1;  // at the step's end
};
std::vector<StepRow> steps_of(const Report& report);
/// "0.38 %"; "-" of nothing.
std::string rate(std::int64_t k, std::int64_t n);
/// "3d 3h 35m" since the rollout began.
std::string since(const Report& report, TimePoint at);
std::string word_of(Moment::Kind kind);

/// One page for a person.
std::string page(const Report& report, const text::Paper& paper);
/// One JSON document; daemon/ctl/backtest/README.md lists its fields.
std::string as_json(const Report& report);
/// One HTML page that needs nothing else.
std::string as_html(const Report& report);

}  // namespace canaryd::backtest
