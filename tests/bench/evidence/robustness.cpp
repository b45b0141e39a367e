// What the world does besides being healthy or broken: what canaryd did, and what a sensible
// operator would have wanted.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>

#include "tests/bench/evidence/contenders.hpp"
#include "tests/bench/evidence/print.hpp"
#include "tests/bench/evidence/tables.hpp"

namespace canaryd::comparison {

namespace {

struct Incident {
    const char* name;
    const char* wanted;
    bool back;     // whether that is a rollback
    double from;   // minutes
    double until;  // of the rollout
    std::function<void(Course&)> happens;
};

constexpr double hour = 60;
constexpr double noon = 6 * hour;  // after the start at 06:00
constexpr double night = 17 * hour;

Episode both_sides(double from, double minutes, double failed = 1) {
    Episode episode;
    episode.from = from;
    episode.to = from + minutes;
    episode.baseline = true;
    episode.failed = failed;
    return episode;
}

Episode canary_only(double from, double to, double failed) {
    Episode episode;
    episode.from = from;
    episode.to = to;
    episode.failed = failed;
    return episode;
}

std::function<void(Course&)> outage(double from, double minutes) {
    return [=](Course& course) {
        course.scenario.episodes = {both_sides(from, minutes)};
        course.random_start = look_minutes;
    };
}

std::function<void(Course&)> late_rows(double from, std::vector<Episode> episodes) {
    return [=](Course& course) {
        course.scenario.late = Lateness{from, from + 6 * hour, 3};
        course.scenario.episodes = episodes;
    };
}

std::vector<Incident> incidents() {
    const double at_tenth = 3 * day + noon;
    const double at_all = 17 * day + noon;
    return {
        {"diurnal traffic: nine times as much at noon as at midnight, healthy, 16 days",
         "left alone, and raised when proven", false, 0, 16 * day, [](Course&) {}},
        {"one user of the canary retries 500 times within an hour, and fails each time",
         "left alone: one user is not an outage", false, at_tenth, at_tenth + day,
         [=](Course& course) {
             course.scenario.retries = Retries{at_tenth, at_tenth + hour, 500};
         }},
        {"slow drift of the canary: 0.5 % to 3 % errors over three days",
         "rolled back, not long after 1 % is passed (14.4 h)", true, 2 * day, 8 * day,
         [](Course& course) {
             Episode drift = canary_only(2 * day, 5 * day, 0.005);
             drift.failed_at_end = 0.03;
             course.scenario.episodes = {drift, canary_only(5 * day, 100 * day, 0.03)};
         }},
        {"both sides fail for 3 minutes, at 10 %",
         "left where it is: moving users back would not help", false, at_tenth, at_tenth + day,
         outage(at_tenth, 3)},
        {"both sides fail for 30 minutes, at 10 %", "left where it is, and somebody told", false,
         at_tenth, at_tenth + day, outage(at_tenth, 30)},
        {"everything fails for 3 minutes, at 100 %",
         "told at once, left where it is: it is over before anybody could act", false, at_all,
         at_all + day, outage(at_all, 3)},
        {"everything fails for 30 minutes, at 100 %",
         "told at once, and back when it lasts: there is no legacy traffic to compare with", true,
         at_all, at_all + day, outage(at_all, 30)},
        {"an agent with 5 % of the traffic is dead on the canary, 23:00 to 05:00",
         "rolled back while it is dead, however quiet the night", true, 2 * day + night, 4 * day,
         [](Course& course) {
             Episode dead = canary_only(2 * day + night, 2 * day + night + 6 * hour, 1);
             dead.agent = small_agent;
             course.scenario.episodes = {dead};
         }},
        {"the canary's rows come three looks late for six hours, healthy", "left alone", false,
         at_tenth, at_tenth + day, late_rows(at_tenth, {})},
        {"the same, and both sides fail at 30 % for ten minutes in the middle of it",
         "left alone: the legacy was as bad", false, at_tenth, at_tenth + day,
         late_rows(at_tenth, {both_sides(at_tenth + 3 * hour, 10, 0.3)})},
        {"the same, and 5 % errors of the canary alone from the first late look on",
         "rolled back, three looks later than else", true, at_tenth, at_tenth + 3 * day,
         late_rows(at_tenth, {canary_only(at_tenth, 100 * day, 0.05)})},
        {"a difference that harms nobody: canary 0.6 % errors, legacy 0.5 %",
         "left alone, both are far below the limit", false, 0, 14 * day,
         [](Course& course) { course.scenario.episodes = {canary_only(0, 100 * day, 0.006)}; }},
    };
}

const char* name_of(Hold::Kind kind) {
    switch (kind) {
        case Hold::Kind::blind:
            return "blind";
        case Hold::Kind::shared_outage:
            return "both sides fail";
        case Hold::Kind::drift:
            return "route changed by hand";
        case Hold::Kind::unproven:
            return "not proven in time";
        case Hold::Kind::trigger:
            return "a trigger";
        case Hold::Kind::confirmation:
            return "an alarm that was not confirmed";
        case Hold::Kind::unconfirmed:
            return "route not confirmed";
        case Hold::Kind::criterion:
            return "worse than the legacy";
        case Hold::Kind::store_went_back:
            return "the store went back";
    }
    return "";
}

/// "20 of 20 as wanted: rolled back in 20, median after 1.4 h; …".
std::string did(const std::vector<Race>& all, const Incident& incident) {
    std::vector<double> delays;
    std::map<std::string, std::vector<double>> held;
    std::size_t as_wanted = 0, waited = 0, raised = 0;
    for (const Race& one : all) {
        const Fate& fate = one.fates[0];
        const bool before = fate.back && *fate.back <= incident.from;
        const bool back = fate.back && !before;
        if (back) delays.push_back(*fate.back - incident.from);
        as_wanted += !before && back == incident.back ? 1 : 0;
        std::map<std::string, double> minutes;
        for (const Held& hold : one.product.held) {
            if (hold.at > incident.from) minutes[name_of(hold.kind)] += look_minutes;
        }
        for (const auto& [why, sum] : minutes) held[why].push_back(sum);
        waited += one.product.waited ? 1 : 0;
        raised += one.product.raised_at.size() == 3 ? 1 : 0;
    }
    std::string text = std::to_string(as_wanted) + " of " + std::to_string(all.size()) +
                       " as wanted; rolled back " +
                       (delays.empty() ? "in none"
                                       : "in " + std::to_string(delays.size()) + ", median after " +
                                             duration_text(median(delays).value_or(0)));
    if (waited > 0) text += "; told at once in " + std::to_string(waited);
    for (const auto& [why, minutes] : held) {
        text += "; held (" + why + ") in " + std::to_string(minutes.size()) + ", for " +
                duration_text(median(minutes).value_or(0));
    }
    if (incident.from < look_minutes && incident.until > 14 * day) {
        text += "; at 100 % on day " + std::to_string(static_cast<int>(incident.until / day)) +
                " in " + std::to_string(raised);
    }
    return text;
}

/// Who rolled back after it began, of those still there.
std::string others_did(const std::vector<Race>& all, double from) {
    std::string text;
    const std::vector<std::string> who = names();
    for (std::size_t i = 1; i < who.size(); ++i) {
        std::size_t there = 0, back = 0;
        for (const Race& one : all) {
            const auto& at = one.fates[i].back;
            if (at && *at <= from) continue;
            ++there;
            back += at ? 1 : 0;
        }
        text += (text.empty() ? "" : ", ") + who[i] + " " +
                (there == 0 ? std::string("gone before")
                            : std::to_string(back) + "/" + std::to_string(there));
    }
    return text;
}

}  // namespace

void print_robustness(const Policy& policy, const Options& options) {
    const int runs = std::max(4, options.faults / 3);
    heading("Robustness: " + std::to_string(runs) + " rollouts each at 2, 60 and 3,000/min");
    for (const Incident& incident : incidents()) {
        std::printf("  %s\n", incident.name);
        paragraph("wanted   " + std::string(incident.wanted), 4);
        std::string others;
        for (const double per_minute : {2.0, 60.0, 3000.0}) {
            Course course;
            course.scenario.per_minute = per_minute;
            course.until = incident.until;
            course.incident = incident.from;
            course.alone = per_minute != 3000;
            incident.happens(course);
            const auto all = races(policy, course, runs, options.threads);
            paragraph("canaryd  " + count_text(per_minute) + "/min: " + did(all, incident), 4);
            if (!course.alone) others = others_did(all, incident.from);
        }
        paragraph("others at 3,000/min, rolled back of those still there: " + others, 4);
        std::printf("\n");
    }
}

}  // namespace canaryd::comparison
