// What still stands between a rollout and its next step: one list for step(), status and explain.
#include <algorithm>

#include "canaryd/rollout.hpp"
#include "canaryd/text.hpp"

namespace canaryd {
namespace {

std::string unproven(const Rollout& rollout, const Policy& policy) {
    std::string what;
    for (const Finding& finding : totals_of(policy, rollout.ledger)) {
        if (finding.outcome == Outcome::pass) continue;
        if (!what.empty()) what += "; ";
        const Per per = finding.bounds.per;
        what += finding.criterion + " " +
                (finding.bounds.proves_upper()
                     ? "proven below " + text::rate(finding.bounds.upper, per) + " only"
                     : "not proven") +
                ", limit " + text::rate(finding.limit, per) + " (" +
                text::seen(finding.bounds.requests, per) +
                (per == Per::cluster ? " counted)" : ")");
    }
    return what.empty() ? "the criteria are not proven yet" : what;
}

std::string suspicion(const Rollout& rollout, const Policy& policy) {
    const double harm = harm_of_100(policy, rollout.ln_m);
    const double hold = hold_of_100(policy, ln_m_of(rollout.ledger.hold));
    const double soft = 100 * policy.suspicious;
    // Only the second ledger can be the cause where the first one is quiet.
    if (!rollout.ledger.hold.streams.empty() && hold >= soft && harm < soft) {
        return "harm " + text::harm(hold) + " of 100 for what holds is suspicious";
    }
    return "harm " + text::harm(harm) + " of 100 is suspicious";
}

std::string unseen(const Rollout& rollout, const Policy& policy) {
    std::string names;
    for (std::size_t i = 0; i < rollout.segments.size() && i < policy.segments.size(); ++i) {
        if (rollout.segments[i].seen_enough(policy)) continue;
        if (!names.empty()) names += ", ";
        names += policy.segments[i] + " (" + text::number(rollout.segments[i].requests) +
                 " requests from " +
                 text::number(static_cast<std::int64_t>(rollout.segments[i].users.size())) +
                 " users)";
    }
    return policy.segment + " not seen enough: " + names + "; wanted " +
           text::number(policy.segment_requests) + " from " + text::number(policy.segment_users) +
           " users each";
}

bool all_seen(const Rollout& rollout, const Policy& policy) {
    return !policy.segment_ask ||
           std::all_of(rollout.segments.begin(), rollout.segments.end(),
                       [&](const SegmentState& s) { return s.seen_enough(policy); });
}

}  // namespace

Duration bake_wanted(const Rollout& rollout, const Policy& policy) {
    return policy.steps[rollout.step].bake + rollout.extended;
}

bool is_soaking(const Rollout& rollout, const Policy& policy) {
    return rollout.step + 1 == policy.steps.size() && rollout.proven &&
           rollout.baked >= bake_wanted(rollout, policy);
}

std::vector<Missing> missing_to_advance(const Rollout& rollout, const Policy& policy,
                                        TimePoint now) {
    std::vector<Missing> missing;
    const auto add = [&missing](Missing::Kind kind, std::string what) {
        missing.push_back({kind, std::move(what), std::nullopt});
    };
    if (rollout.status != Status::progressing && rollout.status != Status::finishing) {
        add(Missing::Kind::not_running, "it is " + std::string(text::name(rollout.status)));
        return missing;
    }
    if (rollout.paused) add(Missing::Kind::paused, "paused by " + rollout.paused->by);
    for (const Hold& hold : rollout.holds) {
        missing.push_back({Missing::Kind::held, hold.why, hold.kind});
    }
    if (rollout.ledger.waiting) {
        add(Missing::Kind::alarm, "an alarm waits for its confirmation");
    }
    if (rollout.applied == rollout.desired &&
        rollout.desired != policy.steps[rollout.step].weight) {
        add(Missing::Kind::raise, "the route is at " + text::weight(rollout.desired) +
                                      ", the step wants " +
                                      text::weight(policy.steps[rollout.step].weight));
    }
    if (rollout.applied != rollout.desired) {
        add(Missing::Kind::raise,
            "the router has not confirmed " + text::weight(rollout.desired) + " yet");
    }
    const Duration wanted = bake_wanted(rollout, policy);
    if (rollout.baked < wanted) {
        add(Missing::Kind::bake, "bake: " + text::duration(wanted - rollout.baked) + " to go");
    }
    if (!rollout.proven) add(Missing::Kind::proof, unproven(rollout, policy));
    if (rollout.suspicious) add(Missing::Kind::suspicion, suspicion(rollout, policy));
    if (!all_seen(rollout, policy)) add(Missing::Kind::segments, unseen(rollout, policy));
    if (now - rollout.last_look > policy.settle + 2 * policy.evaluate_every) {
        add(Missing::Kind::stale,
            "no fresh metrics: complete only to " + text::time(rollout.last_look));
    }
    const bool last = rollout.step + 1 == policy.steps.size();
    if (!last && rollout.nobody_hears && policy.steps[rollout.step + 1].weight == everybody) {
        add(Missing::Kind::nobody_hears,
            "every channel fails: nobody could be told of the raise to 100 %");
    }
    if (last && rollout.soaked < policy.soak) {
        add(Missing::Kind::soak, "soak: " + text::duration(policy.soak - rollout.soaked) + " of " +
                                     text::duration(policy.soak) + " to go");
    }
    return missing;
}

}  // namespace canaryd
