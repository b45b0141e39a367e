#include "daemon/ctl/backtest/looks.hpp"

#include <algorithm>

namespace canaryd::backtest {
namespace {

std::size_t index_of(Population who) {
    return who == Population::canary ? 0 : 1;
}

void add_to(std::vector<InBlock>& first, std::int64_t block) {
    for (InBlock& known : first) {
        if (known.block != block) continue;
        ++known.failures;
        return;
    }
    first.push_back({block, 1});
}

}  // namespace

Looks::Looks(const Policy& policy, const History& history)
    : policy_(policy),
      history_(history),
      signals_(replayed_signals(policy)),
      of_criteria_(signals_of(policy).size()),
      longest_window_(policy.expect_over) {
    for (const Trigger& trigger : policy.triggers) {
        longest_window_ = std::max(longest_window_, trigger.over);
    }
}

Look Looks::next(const Ask& ask, Played played) {
    Look look;
    look.from = ask.from;
    look.to = ask.to;
    if (gate_from_ != ask.gate_from) {
        gate_from_ = ask.gate_from;
        canary_.restart_gate();
    }
    add_side(look, ask, played, Population::canary);
    if (!policy_.baseline.empty()) add_side(look, ask, played, Population::baseline);
    if (history_.has_users) add_first(look, ask, played);
    while (!recent_.empty() && (recent_.front().from < ask.windows_from ||
                                recent_.front().from < ask.to - longest_window_)) {
        recent_.pop_front();
    }
    recent_.push_back({ask.from, std::move(played)});
    fill_windows(look, ask);
    return look;
}

/// Tallies in the order of a running source: the total, then the segments that were seen.
void Looks::add_side(Look& look, const Ask& ask, const Played& played, Population who) {
    const Played::Side& side = played.sides[index_of(who)];
    const bool canary = who == Population::canary;
    const std::int64_t block = block_of(ask.from, policy_.floor_within);
    for (std::size_t scope = 0; scope < side.requests.size(); ++scope) {
        if (scope > 0 && side.requests[scope] == 0) continue;
        Tally tally;
        tally.who = who;
        tally.requests = side.requests[scope];
        if (scope > 0) tally.segment = policy_.segments[scope - 1];
        tally.events.resize(of_criteria_);
        if (canary && scope == 0) tally.bursts.resize(of_criteria_);
        for (std::size_t i = 0; i < of_criteria_; ++i) {
            const std::int64_t events = side.events[scope * signals_.size() + i];
            tally.events[i].raw = events;
            if (history_.has_users || events == 0) continue;
            // Harm is what is sure, health what may be (analysis 4).
            const std::int64_t sure = side.sure[scope * signals_.size() + i];
            if (sure > 0) tally.events[i].first.push_back({block, sure});
            if (canary && scope == 0 && ask.from >= ask.gate_from) {
                tally.bursts[i] = {events, events};
            }
        }
        if (scope == 0) tally.latency = side.latency;
        const bool wanted = canary && scope > 0 &&
                            std::find(ask.users_wanted.begin(), ask.users_wanted.end(),
                                      tally.segment) != ask.users_wanted.end();
        if (wanted) tally.new_users = played.users[scope - 1];
        look.on_time.push_back(std::move(tally));
    }
}

/// Each user's first failure in its block, and how often each failed.
void Looks::add_first(Look& look, const Ask& ask, const Played& played) {
    const auto tally_of = [&](Population who, std::size_t scope) -> Tally* {
        const std::string& segment = scope == 0 ? std::string() : policy_.segments[scope - 1];
        const auto found = std::find_if(
            look.on_time.begin(), look.on_time.end(),
            [&](const Tally& tally) { return tally.who == who && tally.segment == segment; });
        return found == look.on_time.end() ? nullptr : &*found;
    };
    for (const Played::Event& event : played.events) {
        const bool canary = event.who == Population::canary;
        Tally* total = tally_of(event.who, 0);
        if (total == nullptr) continue;  // the policy has no baseline
        Tally* part = event.scope == 0 ? nullptr : tally_of(event.who, event.scope);
        const std::int64_t block = block_of(event.at, policy_.floor_within);
        const bool for_gate = canary && event.at >= ask.gate_from;
        const std::optional<std::uint64_t> user =
            event.has_user ? std::optional(event.user) : std::nullopt;
        for (std::size_t i = 0; i < of_criteria_; ++i) {
            if ((event.signals >> i & 1U) == 0) continue;
            const Dedup::Added added =
                (canary ? canary_ : baseline_).add(i, event.scope, block, user, for_gate);
            if (added.first_total) add_to(total->events[i].first, block);
            if (part != nullptr && added.first_segment) add_to(part->events[i].first, block);
            if (!for_gate) continue;
            ++total->bursts[i].sum_e;
            total->bursts[i].sum_e2 += added.e2_gain;
        }
    }
    const std::int64_t block = block_of(ask.from, policy_.floor_within) - 1;
    canary_.forget_before(block);
    baseline_.forget_before(block);
}

void Looks::fill_windows(Look& look, const Ask& ask) const {
    for (const rows::WindowAsk& asked : rows::windows_of(policy_, ask)) {
        if (asked.numbers > 0) continue;  // a query is not part of the records
        std::size_t signal = signals_.size();
        if (asked.signal) {
            signal = static_cast<std::size_t>(
                std::find(signals_.begin(), signals_.end(), *asked.signal) - signals_.begin());
            const bool known = history_.has_users || history_.counts.known[signal];
            if (!known) continue;
        }
        for (const Population who : {Population::canary, Population::baseline}) {
            if (who == Population::baseline && policy_.baseline.empty()) continue;
            if (!asked.each_segment) {
                fill_window(look, asked, signal, who, 0);
                continue;
            }
            for (std::size_t scope = 1; scope <= policy_.segments.size(); ++scope) {
                fill_window(look, asked, signal, who, scope);
            }
        }
    }
}

void Looks::fill_window(Look& look, const rows::WindowAsk& asked, std::size_t signal,
                        Population who, std::size_t scope) const {
    Window window;
    window.trigger = asked.trigger;
    if (scope > 0) window.segment = policy_.segments[scope - 1];
    window.who = who;
    window.to = asked.to;
    window.from = asked.to;
    const bool counts_events = signal < signals_.size();
    std::vector<std::uint64_t> users;
    std::int64_t without_user = 0;
    for (auto recent = recent_.rbegin(); recent != recent_.rend(); ++recent) {
        if (window.from <= asked.from) break;  // whole looks: never shorter than the rule says
        window.from = recent->from;
        const Played::Side& side = recent->played.sides[index_of(who)];
        window.requests += side.requests[scope];
        if (!counts_events) continue;
        const auto& counted = history_.has_users ? side.events : side.sure;
        const std::int64_t events = counted[scope * signals_.size() + signal];
        window.failures += events;
        if (events == 0 || !history_.has_users) continue;
        for (const Played::Event& event : recent->played.events) {
            if (event.who != who || (event.signals >> signal & 1U) == 0) continue;
            if (scope > 0 && event.scope != scope) continue;
            if (event.has_user) {
                users.push_back(event.user);
            } else {
                ++without_user;
            }
        }
    }
    if (counts_events && history_.has_users) {
        std::sort(users.begin(), users.end());
        const auto different = std::unique(users.begin(), users.end()) - users.begin();
        window.users = static_cast<std::int64_t>(different) + without_user;
    } else {
        window.users = window.failures;
    }
    look.windows.push_back(std::move(window));
}

}  // namespace canaryd::backtest
