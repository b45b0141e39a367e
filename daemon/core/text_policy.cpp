// What a policy will do, in a page that a product owner understands: `canaryctl check`.
#include <algorithm>
#include <cmath>

#include "canaryd/planner.hpp"
#include "daemon/core/text_parts.hpp"

namespace canaryd::text {
namespace {

constexpr int width = page_width;
const Paper plain{width, false};

std::string section(const std::string& title) {
    return "\n" + title + "\n";
}

std::string point(const std::string& words) {
    return "  " + wrap(clean(words), width, 4) + "\n";
}

/// "393", and "about 3,400" where more digits would pretend.
std::string about(std::int64_t n) {
    if (n < 1000) return "about " + number(n);
    std::int64_t round = 1;
    while (n / round >= 100) round *= 10;
    return "about " + number((n + round / 2) / round * round);
}

std::string users_words(const Policy& policy) {
    if (policy.baseline.empty())
        return "users to " + policy.canary + ", without a legacy to compare";
    return "users from " + list(policy.baseline) + " to " + policy.canary;
}

std::string steps_lines(const Policy& policy) {
    Table table("llrl");
    table.row({"  earliest", "step", "users", "stays at least"});
    Duration at{0};
    for (std::size_t i = 0; i < policy.steps.size(); ++i) {
        const Step& step = policy.steps[i];
        const bool last = i + 1 == policy.steps.size();
        table.row({at == Duration{0} ? "  at once" : "  after " + duration(at), step.name,
                   weight(step.weight),
                   last ? duration(std::max(step.bake, policy.soak)) + " (" + duration(step.bake) +
                              " bake, then watched on: the soak)"
                        : duration(step.bake) + " (at most " + duration(policy.max_step_of(i)) +
                              ", then it asks)"});
        at += last ? std::max(step.bake, policy.soak) : step.bake;
    }
    table.row({"  after " + duration(at), "end", "100 %", "a person says: canaryctl finish"});
    return table.draw(plain);
}

std::string total_words(const Policy& policy) {
    std::string sum;
    Duration all{0};
    for (std::size_t i = 0; i < policy.steps.size(); ++i) {
        const bool last = i + 1 == policy.steps.size();
        const Duration stays =
            last ? std::max(policy.steps[i].bake, policy.soak) : policy.steps[i].bake;
        sum += (i == 0 ? "" : " + ") + duration(stays);
        all += stays;
    }
    return sum + " = " + duration(all) +
           " at the earliest. Only time that was seen, without suspicion, at that share of users "
           "counts; blind, paused or held time makes it longer, and nothing makes it shorter but "
           "a person (canaryctl promote).";
}

std::string proof_lines(const Policy& policy) {
    const auto requests = [&](double limit, double failing) {
        return requests_to_prove(limit, failing, policy.false_promotion, policy.dispersion.limits);
    };
    std::string page;
    for (const Limit& limit : limits_of(policy)) {
        const Criterion& criterion = policy.criteria[limit.criterion];
        if (limit.per == Per::hour) {
            const auto watched = [&](double happening) {
                return duration(time_to_prove(limit.p0, happening, policy.false_promotion,
                                              policy.dispersion.limits));
            };
            page += point(criterion.name + ": " + event_words(criterion) + " proven below " +
                          rate(limit.p0, limit.per) + ". None at all in " + watched(0) +
                          " proves it; at half the limit it takes about " + watched(limit.p0 / 2) +
                          ".");
            continue;
        }
        std::string names;
        for (const Criterion& other : policy.criteria) {
            if (limit_of(policy, other) != limit_of(policy, criterion)) continue;
            names += (names.empty() ? "" : ", ") + other.name;
        }
        const bool clusters = limit.per == Per::cluster;
        page +=
            point(names + ": " + event_words(criterion) + " proven below " + share(limit.p0) +
                  (clusters ? " on average" : "") + ". None at all in " +
                  number(requests(limit.p0, 0)) + (clusters ? " of what it counts" : " requests") +
                  " proves it; at half the limit it takes " +
                  about(requests(limit.p0, limit.p0 / 2)) + ".");
    }
    if (!policy.segments.empty() && policy.segment_ask) {
        page += point("each " + policy.segment + " seen: " + number(policy.segment_requests) +
                      " requests from " + number(policy.segment_users) + " users at the step (" +
                      list(policy.segments) + ")");
    }
    page += point("no suspicion: harm below " + harm(policy.suspicious * 100) + " of 100");
    page += point("not proven when the bake is over: the step is extended, up to " +
                  (policy.max_step > Duration{0} ? duration(policy.max_step)
                                                 : std::string("3 times its bake")) +
                  "; then it is held and asks. Waiting alone never promotes.");
    return page;
}

std::string trigger_points(const Policy& policy, Action action) {
    std::string page;
    for (const Trigger& trigger : policy.triggers) {
        if (trigger.then != action) continue;
        page += point("trigger " + trigger.name + ": " + trigger_rule(trigger) +
                      (trigger.each_segment ? ", each " + policy.segment : ""));
    }
    return page;
}

/// The claims that compare with the baseline, each in a sentence.
std::string comparison_points(const Policy& policy, Action then) {
    std::string page;
    for (const Claim& claim : claims_of(policy, then)) {
        if (!claim.relative()) continue;
        const Criterion& criterion = policy.criteria[claim.criterion];
        page += point("criterion " + criterion.name + ": " + event_words(criterion) +
                      " proven to be more than " + margin(*claim.margin) + " of legacy's share" +
                      (policy.segments.empty() ? "" : ", in total or for one " + policy.segment) +
                      "; as long as legacy has users");
    }
    return page;
}

/// The limits with this action, in a sentence.
std::string limit_points(const Policy& policy, Action then) {
    const auto claims = claims_of(policy, then);
    if (std::all_of(claims.begin(), claims.end(),
                    [](const Claim& claim) { return claim.relative(); })) {
        return "";
    }
    std::string where = "in total";
    const bool requests = std::any_of(claims.begin(), claims.end(), [](const Claim& claim) {
        return !claim.relative() && claim.per == Per::request;
    });
    if (!policy.segments.empty() && requests) where += " or for one " + policy.segment;
    std::string which = "a criterion";
    if (then == Action::hold || !claims_of(policy, Action::hold).empty()) {
        std::vector<std::string> names;
        for (const Claim& claim : claims) {
            if (!claim.relative()) names.push_back(policy.criteria[claim.criterion].name);
        }
        which = list(names);
    }
    const std::string within = duration(policy.floor_within);
    const std::string floor =
        requests ? counted(policy.floor_users, "failure", "failures") +
                       " of different users (the same user within " + within + " counts once)"
                 : counted(policy.floor_users, "event", "events") + " within " + within;
    return point(which + " proven broken, " + where + ": looked at every " +
                 duration(policy.evaluate_every) + ", by at least " + floor);
}

std::string rollback_lines(const Policy& policy) {
    std::string page =
        limit_points(policy, Action::rollback) + comparison_points(policy, Action::rollback);
    if (policy.confirm_without_baseline > Duration{0}) {
        page += point(
            "where there is no legacy to compare with (at 100 %, or in a look without its "
            "rows), a criterion's alarm tells "
            "people at once and acts when the next " +
            duration(policy.confirm_without_baseline) + " confirm it; triggers act at once");
    }
    page += trigger_points(policy, Action::rollback);
    if (policy.blind_rollback_after) {
        page += point("no fresh metrics for " + duration(*policy.blind_rollback_after));
    }
    return page + point("a person, at any moment, without a reason: canaryctl rollback");
}

std::string lease_lines(const Policy& policy) {
    if (!policy.router.exposure_lease) return {};
    std::string words = "no canaryd for " + duration(*policy.router.exposure_lease) +
                        " (exposure_lease): the route lapses, everybody gets legacy, and the "
                        "rollout is held until a person resumes it.";
    if (policy.router.readers != Readers::function) {
        words +=
            " A flag column cannot expire: programs that read the column and not the function "
            "stay where they are";
        words += policy.router.readers == Readers::column ? ", which here are all of them." : ".";
    }
    return point(words);
}

std::string hold_lines(const Policy& policy) {
    std::string page = point("no fresh metrics for " + duration(policy.blind_hold_after) +
                             "; goes on by itself when they are back");
    if (policy.hold_on_shared_outage && !policy.baseline.empty()) {
        page += point(
            "legacy breaks the same rule in the same time: moving users back would not "
            "help; goes on by itself when it is over");
    }
    page += limit_points(policy, Action::hold) + comparison_points(policy, Action::hold);
    page += trigger_points(policy, Action::hold);
    page += lease_lines(policy);
    page += point("someone lowered the traffic by hand (higher is lowered back at once)");
    page += point("a step longer than its longest time without proof");
    return page + point("a person: canaryctl pause. The watch goes on and still rolls back.");
}

std::string told_lines(const Policy& policy) {
    if (policy.notify.empty()) {
        return point(
            "NOBODY: the policy has no `notify`. Add: notify: [{kind: slack, connection: "
            "NAME}]");
    }
    std::string page;
    for (const NotifySpec& place : policy.notify) {
        page += point(place.kind + (place.connection.empty() ? "" : " " + place.connection) +
                      (place.channel.empty() ? "" : ", channel " + place.channel));
    }
    return page + point(
                      "started, promoted, extended, held, alarm, blind, rolled back, back in "
                      "sight, soaked; a report every " +
                      duration(policy.report_day_1) + " on day 1 of a step, every " +
                      duration(policy.report_day_2_and_3) + " on days 2 and 3, then every " +
                      duration(policy.report_later));
}

std::string promise_lines(const Policy& policy) {
    std::string page =
        point("Of 100 rollouts of a healthy canary, criteria roll back at most " +
              share(policy.false_rollback).substr(0, share(policy.false_rollback).size() - 2) +
              " by mistake: over the whole rollout, all looks" +
              (policy.segments.empty() ? "" : " and every " + policy.segment) +
              " together, however often anybody looks.");
    page += point(
        "A canary that is really at its limit or above passes a criterion's proof in at "
        "most " +
        share(policy.false_promotion) + " of the cases.");
    if (!claims_of(policy, Action::hold).empty()) {
        page += point("Of 100 rollouts that are no worse than that, at most " +
                      share(policy.false_hold).substr(0, share(policy.false_hold).size() - 2) +
                      " are held by a criterion by mistake.");
    }
    if (policy.dispersion != Dispersion{}) {
        page += point("Failures come in waves, the policy says (dispersion: " +
                      dispersion(policy.dispersion) +
                      "): evidence counts so many times less, and what is found or proven takes "
                      "so many times longer.");
    }
    if (!policy.triggers.empty()) {
        page += point(
            "The triggers are outside of that promise: they are plain counts, easy to "
            "check by hand, and fire whenever the counts say so.");
    }
    return page;
}

}  // namespace

std::int64_t requests_to_prove(double limit, double failing, double beta, double phi) {
    constexpr std::int64_t most = std::int64_t{1} << 40U;
    if (failing > 0) {
        const Walk walk = gate_walk(limit, failing, beta);
        const double n =
            walk.drift > 0 ? phi * walk.threshold / walk.drift : static_cast<double>(most);
        return n < static_cast<double>(most) ? static_cast<std::int64_t>(std::ceil(n)) : most;
    }
    const auto proves = [&](std::int64_t n) {
        return log_e_promote(static_cast<double>(n), 0, limit, phi) >= -std::log(beta);
    };
    std::int64_t high = 1;
    while (high < most && !proves(high)) high *= 2;
    std::int64_t low = high / 2;
    while (high - low > 1) {
        const std::int64_t middle = low + (high - low) / 2;
        (proves(middle) ? high : low) = middle;
    }
    return high;
}

// In a millisecond hardly anything happens: it is as good as a request.
Duration time_to_prove(double limit, double happening, double beta, double phi) {
    constexpr double an_hour = 3.6e6;
    const std::int64_t needed = requests_to_prove(limit / an_hour, happening / an_hour, beta, phi);
    return std::chrono::ceil<std::chrono::minutes>(Duration{needed});
}

std::string policy_page(const Policy& policy, bool every_default) {
    if (policy.steps.empty()) return clean(policy.name) + ": no steps\n";
    std::string page =
        wrap(clean(policy.name + " moves " + users_words(policy) + ", in " +
                   counted(static_cast<std::int64_t>(policy.steps.size()), "step", "steps") + "."),
             width, 0) +
        "\n";
    page += section("What it does") + steps_lines(policy) + point(total_words(policy));
    page += section("What has to be proven to go up") + proof_lines(policy);
    page += section("What rolls back (everybody to legacy, for good)") + rollback_lines(policy);
    page += section("What holds (nobody is moved)") + hold_lines(policy);
    const std::string warns = trigger_points(policy, Action::warn);
    if (!warns.empty()) page += section("What only warns") + warns;
    page += section("Who is told") + told_lines(policy);
    page += section("What is promised") + promise_lines(policy);
    if (every_default) {
        page +=
            section("Every field (see policies/README.md for the defaults)") + every_field(policy);
    }
    return page;
}

}  // namespace canaryd::text
