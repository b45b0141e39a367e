#include "canaryd/self_test.hpp"

#include <algorithm>
#include <cmath>

#include "canaryd/dedup.hpp"
#include "canaryd/other_counts.hpp"
#include "daemon/core/draft.hpp"

namespace canaryd {
namespace {

constexpr Duration dispersion_block = std::chrono::hours{4};  // 7.4

const Tally* tally_of(const Look& look, Population who, const std::string& segment) {
    for (const Tally& tally : look.on_time) {
        if (tally.who == who && tally.segment == segment) return &tally;
    }
    return nullptr;
}

std::vector<BlockCounts> blocks_of(const std::vector<std::int64_t>& requests,
                                   const std::vector<std::int64_t>& events) {
    std::vector<BlockCounts> blocks;
    for (std::size_t i = 0; i < requests.size(); ++i) blocks.push_back({requests[i], events[i]});
    return blocks;
}

}  // namespace

SelfTester::SelfTester(const Policy& policy, Weight weight) : policy_(policy) {
    test_.weight = weight;
    test_.triggers.resize(policy.triggers.size());
    for (const Action then : {Action::rollback, Action::hold}) {
        const std::vector<Claim> claims = claims_of(policy, then);
        for (std::size_t i = 0; i < claims.size() * (1 + policy.segments.size()); ++i) {
            const Claim& claim = claims[i / (1 + policy.segments.size())];
            StreamTest stream;
            stream.name = stream_name(policy, i, then);
            stream.then = then;
            stream.relative = claim.relative();
            stream.limit = claim.p0;
            test_.streams.push_back(std::move(stream));
        }
    }
    blocks_.resize(test_.streams.size());
    ledger_ = begin_phase(policy, new_ledger(policy), TimePoint{}, weight < everybody);
    rollout_.applied = weight;
}

void SelfTester::add(const Look& look) {
    if (test_.looks++ == 0) {
        test_.from = look.from;
        ledger_.phase_from = look.from;
    }
    test_.to = look.to;
    const Verdict verdict = judge(policy_, ledger_, look);
    ledger_ = verdict.ledger;
    const double before = std::max(test_.ln_m, test_.hold_ln_m);
    test_.ln_m = std::max(test_.ln_m, verdict.ln_m);
    test_.hold_ln_m = std::max(test_.hold_ln_m, verdict.hold_ln_m);
    if (std::max(test_.ln_m, test_.hold_ln_m) > before) {
        const bool hold = verdict.hold_ln_m > verdict.ln_m;
        test_.at = look.to;
        test_.top = hold ? stream_name(policy_, verdict.hold_top, Action::hold)
                         : stream_name(policy_, verdict.top);
    }
    const Tally* total = tally_of(look, Population::canary, "");
    if (total != nullptr) test_.requests += total->requests;
    std::size_t stream = 0;
    for (const Action then : {Action::rollback, Action::hold}) {
        const auto& streams = then == Action::rollback ? ledger_.streams : ledger_.hold.streams;
        const std::size_t first = stream;
        for (const Claim& claim : claims_of(policy_, then)) {
            for (std::size_t scope = 0; scope <= policy_.segments.size(); ++scope, ++stream) {
                StreamTest& test = test_.streams[stream];
                test.highest = std::max(test.highest, streams[stream - first].ln_sum());
                add_counts(look, stream, claim, scope);
            }
        }
    }
    add_triggers(look);
}

void SelfTester::add_counts(const Look& look, std::size_t stream, const Claim& claim,
                            std::size_t scope) {
    const std::string segment = scope == 0 ? std::string() : policy_.segments[scope - 1];
    const Tally* ours = tally_of(look, Population::canary, segment);
    const Tally* theirs = tally_of(look, Population::baseline, segment);
    Blocks& blocks = blocks_[stream];
    const std::int64_t block = block_of(look.from, dispersion_block);
    if (blocks.requests.empty() || blocks.block != block) {
        blocks.block = block;
        for (auto* counts :
             {&blocks.requests, &blocks.events, &blocks.beside_requests, &blocks.beside_events}) {
            counts->push_back(0);
        }
    }
    const auto events = [&](const Tally& tally) {
        return claim.signal < tally.events.size() ? tally.events[claim.signal].counted() : 0;
    };
    StreamTest& test = test_.streams[stream];
    if (ours != nullptr) {
        test.requests += ours->requests;
        test.counted += events(*ours);
        if (claim.signal < ours->events.size()) test.raw += ours->events[claim.signal].raw;
        blocks.requests.back() += ours->requests;
        blocks.events.back() += events(*ours);
    }
    if (theirs != nullptr) {
        blocks.beside_requests.back() += theirs->requests;
        blocks.beside_events.back() += events(*theirs);
    }
}

void SelfTester::add_triggers(const Look& look) {
    for (const TriggerSaw& saw : read_triggers(rollout_, policy_, look, false)) {
        remember(saw, rollout_.triggers[saw.key]);
        bool& acting = acting_[saw.key];
        const auto number = static_cast<std::size_t>(saw.trigger - policy_.triggers.data());
        TriggerTest& test = test_.triggers[number];
        if (saw.acts && !acting) {
            ++(saw.baseline_broke ? test.shared : test.fired);
            if (!test.first && !saw.baseline_broke) test.first = look.to;
        }
        acting = saw.acts;
    }
}

SelfTest SelfTester::result() const {
    SelfTest result = test_;
    for (std::size_t i = 0; i < result.streams.size(); ++i) {
        const Blocks& blocks = blocks_[i];
        const auto ours = blocks_of(blocks.requests, blocks.events);
        result.streams[i].dispersion =
            result.streams[i].relative
                ? split_dispersion(ours, blocks_of(blocks.beside_requests, blocks.beside_events))
                : batch_dispersion(ours);
    }
    return result;
}

double ln_sample_ratio(std::int64_t users, std::int64_t all_users, double share) {
    if (all_users <= 0 || share <= 0 || share >= 1) return 0;
    const auto n = static_cast<double>(all_users);
    const auto k = static_cast<double>(users);
    return log_add_exp(log_e_breach(n, k, share), log_e_promote(n, k, share)) - std::log(2.0);
}

}  // namespace canaryd
