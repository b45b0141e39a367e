// Evidence in plain odds, what it would take, and the numbers behind them.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "canaryd/dedup.hpp"
#include "daemon/core/ledger.hpp"
#include "daemon/core/text_parts.hpp"

namespace canaryd::text {
namespace {

/// Two digits, rounded down: odds are an upper bound of a chance.
std::int64_t rounded_down(double value) {
    const double most = 1e12;
    auto whole = static_cast<std::int64_t>(std::floor(std::min(value, most)));
    std::int64_t unit = 1;
    while (whole / unit >= 100) unit *= 10;
    return whole / unit * unit;
}

std::string decimal(double value, int digits) {
    if (std::isinf(value)) return value < 0 ? "none" : "inf";
    std::array<char, 48> room{};
    std::snprintf(room.data(), room.size(), "%.*f", digits, value);
    return room.data();
}

/// A look in which `k` requests came and all failed, and were too slow, each of another user.
Look failing_look(const View& view, std::int64_t k) {
    Look look;
    look.from = view.rollout.last_look;
    look.to = look.from + view.policy.evaluate_every;
    Tally tally;
    tally.requests = k;
    for (std::size_t i = 0; i < signals_of(view.policy).size(); ++i) {
        tally.events.push_back({k, {{block_of(look.from, view.policy.floor_within), k}}});
        tally.bursts.push_back({k, k});
    }
    look.on_time.push_back(std::move(tally));
    return look;
}

bool alarms(const View& view, std::int64_t k) {
    const Ledger& ledger = view.rollout.ledger;
    const Verdict verdict = judge(view.policy, ledger, failing_look(view, k));
    return verdict.alarm || verdict.ledger.latched;
}

/// The effect size with the most evidence, as the rate it stands for (analysis 2).
std::string effect_words(const Stream& stream, const Claim& claim) {
    const auto top = std::max_element(stream.ln_r.begin(), stream.ln_r.end());
    if (std::isinf(*top)) return "-";
    const double delta = breach_grid[static_cast<std::size_t>(top - stream.ln_r.begin())];
    if (claim.relative()) return decimal(delta, 1);
    const double odds = std::exp(delta);
    const double rate =
        claim.per == Per::hour ? claim.p0 * odds : claim.p0 * odds / (1 + claim.p0 * (odds - 1));
    return decimal(delta, 1) + " (" + text::rate(rate, claim.per) + ")";
}

std::string ledger_table(const View& view, Action then) {
    const Ledger& ledger = view.rollout.ledger;
    const auto& streams = then == Action::hold ? ledger.hold.streams : ledger.streams;
    const auto claims = claims_of(view.policy, then);
    const std::size_t scopes = view.policy.segments.size() + 1;
    Table table("lrrrrrrr");
    table.row({"  stream", "n", "k", "against", "ln sum R", "best delta", "phi", "ln E health"});
    for (std::size_t i = 0; i < streams.size(); ++i) {
        const Stream& stream = streams[i];
        const Claim& claim = claims[i / scopes];
        if (claim.per != Per::request && i % scopes != 0) continue;
        std::string against = rate(claim.p0, claim.per);
        std::string health = "-";
        if (claim.relative()) {
            against = number(stream.baseline_events) + " of " + number(stream.baseline_requests) +
                      ", " + margin(*claim.margin);
        } else {
            health = decimal(log_e_promote(static_cast<double>(stream.requests),
                                           static_cast<double>(stream.events), claim.p0,
                                           phi_of(view.policy, stream), claim.per),
                             4);
        }
        table.row(
            {"  " + stream_name(view.policy, i, then),
             claim.per == Per::request ? number(stream.requests) : seen(stream.requests, claim.per),
             events(stream.events, claim.per), against, decimal(stream.ln_sum(), 4),
             effect_words(stream, claim),
             claim.relative() ? "-" : decimal(phi_of(view.policy, stream), 3), health});
    }
    return table.draw(Paper{160, false});
}

std::string ledger_lines(const View& view, Action then) {
    const bool holds = then == Action::hold;
    const Ledger& ledger = view.rollout.ledger;
    const double alpha = holds ? view.policy.false_hold : view.policy.false_rollback;
    const double ln_m = holds ? ln_m_of(ledger.hold) : ln_m_of(ledger);
    const double ln_c = holds ? ledger.hold.ln_c : ledger.ln_c;
    return std::string(holds ? "Holds" : "Rolls back") +
           " at ln M >= ln(1/alpha) = " + decimal(-std::log(alpha), 6) + " (alpha " + share(alpha) +
           "). ln M " + decimal(ln_m, 6) + ", ln C " + decimal(ln_c, 6) +
           "; M = C + the sum of all R (analysis 1, 6).\n" + ledger_table(view, then);
}

}  // namespace

std::string once_in(double ln_m) {
    const double odds = std::exp(std::clamp(ln_m, 0.0, 30.0));
    if (odds < 2) return "in most rollouts";
    return "once in " + number(rounded_down(odds)) + " rollouts";
}

std::string finding_odds(const View& view, const Finding& finding) {
    const double alpha =
        finding.then == Action::hold ? view.policy.false_hold : view.policy.false_rollback;
    const double ln_r = std::log(finding.harm / (100 * alpha));
    if (ln_r >= std::log(2.0)) {
        return " If the true rate were at the limit, a sequence like this would be seen " +
               once_in(ln_r) + ".";
    }
    const auto& ledger = view.rollout.ledger;
    const auto& streams = finding.then == Action::hold ? ledger.hold.streams : ledger.streams;
    const double phi = phi_of(view.policy, streams[finding.stream]);
    const Bounds& bounds = finding.bounds;
    if (finding.outcome == Outcome::pass) {
        const double health =
            log_e_promote(static_cast<double>(bounds.requests), static_cast<double>(bounds.events),
                          finding.limit, phi, bounds.per);
        return " If the true rate were at the limit, so few would be seen " + once_in(health) + ".";
    }
    if (!finding.segment.empty() || bounds.rate() >= finding.limit) return "";
    if (bounds.per == Per::hour) {
        const Duration whole =
            time_to_prove(finding.limit, bounds.rate(), view.policy.false_promotion, phi);
        const Duration left =
            std::max<Duration>(std::chrono::minutes{1}, whole - Duration(bounds.requests));
        return " About " + duration(std::chrono::ceil<std::chrono::minutes>(left)) +
               " more at this rate would prove it.";
    }
    const auto all = static_cast<double>(
        requests_to_prove(finding.limit, bounds.rate(), view.policy.false_promotion, phi));
    const bool clusters = bounds.per == Per::cluster;
    const double had = static_cast<double>(bounds.requests) / unit_of(bounds.per);
    const double more = std::max(1.0, all - had);
    return more < 1e9
               ? " About " + number(std::llround(more)) + (clusters ? " more" : " more requests") +
                     " at this rate would prove it."
               : "";
}

std::string what_it_takes(const View& view) {
    const Rollout& rollout = view.rollout;
    constexpr std::int64_t most = 4096;
    if (rollout.over() || rollout.ledger.latched || rollout.ledger.waiting ||
        !fits(view.policy, rollout.ledger) || !alarms(view, most)) {
        return "";
    }
    std::int64_t enough = 1;
    while (!alarms(view, enough)) enough *= 2;
    std::int64_t few = enough / 2;
    while (enough - few > 1) {
        const std::int64_t middle = few + (enough - few) / 2;
        (alarms(view, middle) ? enough : few) = middle;
    }
    return "If the next requests all failed, " + number(enough) + " of different users would " +
           (rollout.ledger.baseline_share ? "roll back." : "raise an alarm.");
}

std::string explain_maths(const View& view) {
    const Policy& policy = view.policy;
    const Ledger& ledger = view.rollout.ledger;
    if (policy.steps.empty() || !fits(policy, ledger)) return "No look was judged yet.\n";
    const double days =
        std::chrono::duration<double, std::ratio<86'400>>(horizon_of(policy)).count();
    std::string page = clean(view.rollout.id) + ", revision " +
                       number(static_cast<std::int64_t>(view.rollout.revision)) + ", looks to " +
                       iso(view.rollout.last_look) + "\n";
    page +=
        "H " + decimal(days, 2) + " d, eta " + decimal(phase_start_share, 2) + ", warm-up " +
        duration(policy.warm_up) + ", floor " + number(policy.floor_users) + " users within " +
        duration(policy.floor_within) + ", beta " + share(policy.false_promotion) +
        ": a limit is proven at ln E health >= " + decimal(-std::log(policy.false_promotion), 4) +
        ".\nn and k since the step's warm-up; R since the rollout began. A look: R_j = (R_j + w "
        "v / 10) exp(l_j" +
        (policy.dispersion == Dispersion{}
             ? std::string(").\n\n")
             : " / dispersion).\ndispersion: " + dispersion(policy.dispersion) + "\n\n");
    page += ledger_lines(view, Action::rollback);
    if (!ledger.hold.streams.empty()) page += "\n" + ledger_lines(view, Action::hold);
    return page +
           "\nEach look's counts are in the journal; canaryctl verify works all of it out "
           "again.\n";
}

}  // namespace canaryd::text
