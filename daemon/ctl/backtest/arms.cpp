#include "daemon/ctl/backtest/arms.hpp"

#include <algorithm>

namespace canaryd::backtest {
namespace {

constexpr std::size_t most_signals = 64;
constexpr std::size_t most_new_users = 16;  // as a running source gives in one look

// What a draw is for: the same request never shares a number with another question.
enum class Draw : std::uint64_t { arm, cell, injection };

std::uint64_t purpose(Draw draw, std::size_t index = 0) {
    return (static_cast<std::uint64_t>(draw) << 32U) + index;
}

void resize(Played::Side& side, std::size_t scopes, std::size_t signals) {
    side.requests.assign(scopes, 0);
    side.events.assign(scopes * signals, 0);
    side.sure.assign(scopes * signals, 0);
}

}  // namespace

struct Arms::Moment {
    std::int64_t look = 0;    // since the begin
    std::int64_t source = 0;  // in the records
    Duration since{0};        // begin of the look, since the begin of the rollout
    Duration shift{0};        // of the records, when they are played again
    Weight weight;
};

Arms::Arms(const Policy& policy, const History& history, const std::vector<Injection>& injections,
           std::uint64_t seed)
    : policy_(policy),
      history_(history),
      injections_(injections),
      seed_(seed),
      signals_(replayed_signals(policy)),
      slow_(slow_time(policy)),
      scopes_(policy.segments.size() + 1),
      period_(history.looks) {
    if (signals_.size() > most_signals) {
        throw BadFile("a policy with more than 64 different limits cannot be played");
    }
    const std::int64_t day = std::chrono::hours{24} / history.look;
    if (day > 0 && period_ > day) period_ -= period_ % day;
    if (!history.has_users) return;
    first_.assign(static_cast<std::size_t>(history.looks) + 1, history.recorded.size());
    for (std::size_t row = history.recorded.size(); row-- > 0;) {
        const Duration at = std::chrono::seconds{history.recorded[row].second};
        first_[static_cast<std::size_t>(at / history.look)] = row;
    }
    for (std::size_t look = first_.size() - 1; look-- > 0;) {
        first_[look] = std::min(first_[look], first_[look + 1]);
    }
}

Played Arms::play(std::int64_t look, Weight weight) const {
    Moment now;
    now.look = look;
    // The last part of a day is played the first time only.
    now.source = look < history_.looks ? look : (look - period_) % period_;
    now.since = history_.look * look;
    now.shift = history_.look * (look - now.source);
    now.weight = weight;
    Played played;
    for (Played::Side& side : played.sides) resize(side, scopes_, signals_.size());
    played.users.resize(policy_.segments.size());
    played.injected.resize(injections_.size());
    if (history_.has_users) {
        play_requests(now, played);
    } else {
        play_counts(now, played);
    }
    return played;
}

bool Arms::befalls(const Injection& injection, const Moment& now, std::size_t scope,
                   bool canary) const {
    if (!canary && !injection.both) return false;
    if (!injection.active(now.since)) return false;
    return !injection.segment || *injection.segment + 1 == scope;
}

void Arms::inject_row(const Moment& now, std::size_t row, bool canary, Recorded& request,
                      Played& played) const {
    for (std::size_t i = 0; i < injections_.size(); ++i) {
        const Injection& injection = injections_[i];
        if (!befalls(injection, now, request.segment, canary)) continue;
        if (canary) ++played.injected[i].requests;
        Draws draws(seed_, purpose(Draw::injection, i), static_cast<std::uint64_t>(now.look), row);
        if (draws.next() >= injection.share) continue;
        bool made = false;
        switch (injection.kind) {
            case Injection::Kind::errors:
                made = !request.failed;
                request.failed = true;
                break;
            case Injection::Kind::slow: {
                const auto slow = static_cast<std::uint32_t>(slow_->count());
                made = !request.timed_out && (request.took == not_known || request.took < slow);
                if (made) request.took = slow;
                break;
            }
        }
        if (made && canary) ++played.injected[i].made;
    }
}

std::uint64_t Arms::events_of(const Recorded& request) const {
    rows::Request as_read;
    as_read.failed = request.failed;
    as_read.timed_out = request.timed_out;
    if (request.took != not_known) as_read.took = request.took;
    std::uint64_t events = 0;
    for (std::size_t i = 0; i < signals_.size(); ++i) {
        if (rows::Rules::is_event(signals_[i], as_read)) events |= std::uint64_t{1} << i;
    }
    return events;
}

void Arms::play_request(const Moment& now, std::size_t row, Played& played) const {
    Recorded request = history_.recorded[row];
    const bool known = request.user != not_known;
    int bucket = 0;
    if (known) {
        bucket = history_.users[request.user].bucket;
    } else {
        Draws draws(seed_, purpose(Draw::arm), static_cast<std::uint64_t>(now.look), row);
        bucket = static_cast<int>(draws.next() * everybody.basis_points);
    }
    const bool canary = bucket < now.weight.basis_points;
    inject_row(now, row, canary, request, played);
    Played::Side& side = played.sides[canary ? 0 : 1];
    const std::size_t scope = request.segment;
    ++side.requests[0];
    if (scope > 0) ++side.requests[scope];
    if (request.took != not_known) side.latency.add(Duration(request.took));
    const std::uint64_t user =
        known ? history_.users[request.user].hash
              : hash_of_user("\n row " + std::to_string(now.look) + " " + std::to_string(row));
    if (canary && scope > 0) {
        auto& users = played.users[scope - 1];
        if (users.size() < most_new_users &&
            std::find(users.begin(), users.end(), user) == users.end()) {
            users.push_back(user);
        }
    }
    const std::uint64_t events = events_of(request);
    if (events == 0) return;
    for (std::size_t i = 0; i < signals_.size(); ++i) {
        if ((events >> i & 1U) == 0) continue;
        ++side.events[i];
        if (scope > 0) ++side.events[scope * signals_.size() + i];
    }
    const Duration at = std::chrono::seconds{request.second} + now.shift;
    played.events.push_back({canary ? Population::canary : Population::baseline, scope, events,
                             user, known, history_.begin + at});
}

void Arms::play_requests(const Moment& now, Played& played) const {
    const auto source = static_cast<std::size_t>(now.source);
    for (std::size_t row = first_[source]; row < first_[source + 1]; ++row) {
        play_request(now, row, played);
    }
}

void Arms::play_cell(const Moment& now, std::size_t scope, Played& played) const {
    const CountTable& counts = history_.counts;
    const std::size_t cell = static_cast<std::size_t>(now.source) * counts.scopes + scope;
    const std::int64_t all = counts.requests[cell];
    if (all == 0) return;
    Draws draws(seed_, purpose(Draw::cell), static_cast<std::uint64_t>(now.look), scope);
    const std::int64_t canary_n = draws.binomial(all, now.weight.share());
    std::array<std::int64_t, 2> n{canary_n, all - canary_n};
    const double share = static_cast<double>(canary_n) / static_cast<double>(all);
    std::array<std::vector<std::int64_t>, 2> k, sure;
    for (std::size_t i = 0; i < signals_.size(); ++i) {
        const std::int64_t events = counts.events[cell * counts.signals + i];
        const std::int64_t known =
            counts.sure.empty() ? events : counts.sure[cell * counts.signals + i];
        const std::int64_t doubtful = events - known;
        const std::int64_t canary_sure =
            std::clamp(draws.binomial(known, share), std::max<std::int64_t>(0, known - n[1]),
                       std::min(known, n[0]));
        const std::int64_t canary_k = std::clamp(canary_sure + draws.binomial(doubtful, share),
                                                 std::max(canary_sure, events - n[1]),
                                                 std::min(canary_sure + doubtful, n[0]));
        sure[0].push_back(canary_sure);
        sure[1].push_back(known - canary_sure);
        k[0].push_back(canary_k);
        k[1].push_back(events - canary_k);
    }
    for (std::size_t who = 0; who < 2; ++who) {
        for (std::size_t f = 0; f < injections_.size(); ++f) {
            const Injection& injection = injections_[f];
            if (!befalls(injection, now, scope, who == 0)) continue;
            const bool errors = injection.kind == Injection::Kind::errors;
            std::int64_t most = 0;
            for (std::size_t i = 0; i < signals_.size(); ++i) {
                const bool failed = signals_[i].kind == Signal::Kind::failed;
                if (errors != failed || (!errors && signals_[i].than >= *slow_)) continue;
                const std::int64_t made = draws.binomial(n[who] - k[who][i], injection.share);
                k[who][i] += made;
                // What was made slow took a moment longer than the limits allow: a bucket that is
                // wider hides it.
                if (errors || *slow_ > counts.sure_above[i]) sure[who][i] += made;
                most = std::max(most, made);
            }
            if (who != 0) continue;
            played.injected[f].requests += n[0];
            played.injected[f].made += most;
        }
        Played::Side& side = played.sides[who];
        side.requests[0] += n[who];
        if (scope > 0) side.requests[scope] += n[who];
        for (std::size_t i = 0; i < signals_.size(); ++i) {
            side.events[i] += k[who][i];
            side.sure[i] += sure[who][i];
            if (scope == 0) continue;
            side.events[scope * signals_.size() + i] += k[who][i];
            side.sure[scope * signals_.size() + i] += sure[who][i];
        }
    }
    // Without users each request is a user of its own; a few are enough to have been seen.
    if (scope == 0) return;
    const std::int64_t shown = std::min<std::int64_t>(n[0], most_new_users);
    for (std::int64_t i = 0; i < shown; ++i) {
        played.users[scope - 1].push_back((static_cast<std::uint64_t>(now.look) << 16U) +
                                          static_cast<std::uint64_t>(i));
    }
}

void Arms::play_counts(const Moment& now, Played& played) const {
    for (std::size_t scope = 0; scope < scopes_; ++scope) play_cell(now, scope, played);
}

}  // namespace canaryd::backtest
