// Triggers are counted, not proven: a window, a threshold, k of n looks, a floor.
#include <bit>
#include <cmath>

#include "daemon/core/draft.hpp"

namespace canaryd {
namespace {

/// A source's windows stand in the policy's order: the one that is wanted mostly follows the one
/// that was found last.
class Windows {
public:
    Windows(const Look& look, Population who) : windows_(look.windows), who_(who) {}

    const Window* find(const Trigger& trigger, const std::string& segment) {
        for (std::size_t tried = 0; tried < windows_.size(); ++tried) {
            if (next_ >= windows_.size()) next_ = 0;
            const Window& window = windows_[next_++];
            if (window.who == who_ && window.trigger == trigger.name && window.segment == segment) {
                return &window;
            }
        }
        return nullptr;
    }

private:
    const std::vector<Window>& windows_;
    Population who_;
    std::size_t next_ = 0;
};

/// The rule and its floor in one window. The baseline is held to the very same rule.
bool share_broken(const Trigger& trigger, const Window& window) {
    if (window.requests <= 0 || window.failures > window.requests) return false;
    const auto n = static_cast<double>(window.requests);
    const auto k = static_cast<double>(window.failures);
    return k > trigger.threshold * n && window.failures >= trigger.at_least &&
           window.users >= trigger.users;
}

bool traffic_broken(const Trigger& trigger, const Window& canary, const Window& baseline,
                    Weight weight) {
    const auto all = static_cast<double>(canary.requests + baseline.requests);
    const double expected = weight.share() * all;
    return expected >= static_cast<double>(trigger.at_least) &&
           static_cast<double>(canary.requests) < trigger.threshold * expected;
}

/// Off by more than is allowed and by more than chance would have it: of n users each is on the
/// canary with the probability of the weight.
bool share_is_off(const Trigger& trigger, const Window& canary, const Window& baseline,
                  Weight weight) {
    const auto n = static_cast<double>(canary.users + baseline.users);
    const double w = weight.share();
    const double off = std::abs(static_cast<double>(canary.users) - w * n);
    return off > trigger.threshold * n + 3 * std::sqrt(n * w * (1 - w));
}

double reached(const Trigger& trigger, const Window& canary, const Window* baseline,
               Weight weight) {
    switch (trigger.kind) {
        case Trigger::Kind::share:
            return canary.requests > 0
                       ? static_cast<double>(canary.failures) / static_cast<double>(canary.requests)
                       : 0.0;
        case Trigger::Kind::traffic: {
            const std::int64_t others = baseline != nullptr ? baseline->requests : 0;
            const double expected = weight.share() * static_cast<double>(canary.requests + others);
            return expected > 0 ? static_cast<double>(canary.requests) / expected : 1.0;
        }
        case Trigger::Kind::off_weight: {
            const std::int64_t all = canary.users + (baseline != nullptr ? baseline->users : 0);
            if (all <= 0) return 0.0;
            return std::abs(static_cast<double>(canary.users) / static_cast<double>(all) -
                            weight.share());
        }
        case Trigger::Kind::number:
            return canary.value.value_or(0.0);
    }
    return 0.0;
}

/// nullopt: this window says nothing (no number, no baseline to compare with).
std::optional<bool> rule_broken(const Trigger& trigger, const Window& canary,
                                const Window* baseline, Weight weight) {
    if (canary.to <= canary.from) return std::nullopt;  // the weight is on since just now
    switch (trigger.kind) {
        case Trigger::Kind::share:
            return share_broken(trigger, canary);
        case Trigger::Kind::traffic:
            if (baseline == nullptr || weight >= everybody) return std::nullopt;
            return traffic_broken(trigger, canary, *baseline, weight);
        case Trigger::Kind::off_weight:
            if (baseline == nullptr || canary.users + baseline->users <= 0) return std::nullopt;
            return share_is_off(trigger, canary, *baseline, weight);
        case Trigger::Kind::number:
            if (!canary.value || !std::isfinite(*canary.value)) return std::nullopt;
            // Rates have a floor; a number of half a window would be half a number.
            if (canary.to - canary.from < trigger.over) return std::nullopt;
            return trigger.above ? *canary.value > trigger.threshold
                                 : *canary.value < trigger.threshold;
    }
    return std::nullopt;
}

TriggerSaw read_one(const Rollout& rollout, const Policy& policy, const Trigger& trigger,
                    const std::string& segment, const Window& canary, const Window* baseline) {
    TriggerSaw saw;
    saw.trigger = &trigger;
    saw.segment = &segment;
    saw.window = &canary;
    saw.key = segment.empty() ? trigger.name : trigger.name + "/" + segment;
    const auto known = rollout.triggers.find(saw.key);
    if (known != rollout.triggers.end()) {
        saw.fired = known->second.fired;
        saw.seen = known->second.seen;
        saw.acted = known->second.acted;
    }
    const Weight weight = rollout.applied.value_or(nobody);
    const std::optional<bool> broken = rule_broken(trigger, canary, baseline, weight);
    saw.reached = reached(trigger, canary, baseline, weight);
    if (!broken) return saw;

    saw.broke = *broken;
    saw.baseline_broke = saw.broke && trigger.kind == Trigger::Kind::share && baseline != nullptr &&
                         share_broken(trigger, *baseline);
    // A look that the baseline shares is no mark against the canary: when the outage is over, the
    // canary alone is judged again.
    const bool counts = saw.broke && !(saw.baseline_broke && policy.hold_on_shared_outage);
    const auto looks = static_cast<std::uint32_t>(trigger.looks);
    const std::uint32_t memory = looks >= 32 ? ~0U : (1U << looks) - 1U;
    saw.fired = ((saw.fired << 1U) | (counts ? 1U : 0U)) & memory;
    saw.seen = std::min(saw.seen + 1, looks);
    saw.acts = saw.broke && std::popcount(saw.fired) + (counts ? 0 : 1) >= trigger.needed;
    if (!saw.broke) saw.acted = false;
    return saw;
}

}  // namespace

std::vector<TriggerSaw> read_triggers(const Rollout& rollout, const Policy& policy,
                                      const Look& look, bool peek) {
    static const std::string total;
    Windows ours(look, Population::canary);
    Windows theirs(look, Population::baseline);
    std::vector<TriggerSaw> all;
    all.reserve(look.windows.size());
    for (const Trigger& trigger : policy.triggers) {
        if (peek && !trigger.at_peeks()) continue;
        const auto read = [&](const std::string& segment) {
            const Window* canary = ours.find(trigger, segment);
            if (canary == nullptr) return;
            // A query gives one number for all: no baseline to look for.
            const bool compared = !policy.baseline.empty() && trigger.kind != Trigger::Kind::number;
            const Window* baseline = compared ? theirs.find(trigger, segment) : nullptr;
            all.push_back(read_one(rollout, policy, trigger, segment, *canary, baseline));
        };
        if (trigger.each_segment) {
            for (const std::string& segment : policy.segments) read(segment);
        } else {
            read(total);
        }
    }
    return all;
}

void remember(const TriggerSaw& saw, TriggerState& state) {
    state.fired = saw.fired;
    state.seen = saw.seen;
    state.last = *saw.window;
    state.reached = saw.reached;
    state.acted = saw.acted;
}

}  // namespace canaryd
