// One user's failure counts once in a block, for harm (analysis 7.1); how often that user failed
// there is what the gate wants to know (8.1). Sources turn failing requests into Count and Burst
// with it. Pure, no clock; one object for each population, used on one thread at a time.
//
// What it knows is forgotten with the process. A source that starts, or meets a late row of a block
// it has let go, feeds the failures that were counted before through add() and drops the answers:
// knows() says whether that is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "canaryd/policy.hpp"

namespace canaryd {

/// floor(UTC time / within), right before 1970 as well. `within` must be above 0.
std::int64_t block_of(TimePoint at, Duration within);

/// The same on every machine, for ever: FNV-1a, then mixed so that every bit is a good one.
std::uint64_t hash_of_user(std::string_view user);

class Dedup {
public:
    static constexpr std::size_t no_segment = 0;

    struct Added {
        bool first_total = false;    // this user's first in the block, over all requests
        bool first_segment = false;  // in this segment; false where the request has no segment
        std::int64_t e = 0;          // this user's failures in the block so far, as the gate counts
        std::int64_t e2_gain = 0;    // what e * e grew by: add it to Burst::sum_e2, and 1 to sum_e
    };

    /// One failing request. `signal` is an index into signals_of(); `segment` is no_segment or any
    /// number of the caller's, such as the index plus 1; `block` is that of the request's own time.
    /// Without a user (nullopt) a request is a user of its own. Without `for_gate` e and e2_gain
    /// are 0 and the gate does not learn of it.
    Added add(std::size_t signal, std::size_t segment, std::int64_t block,
              std::optional<std::uint64_t> user, bool for_gate);

    /// The block was opened and not let go since.
    [[nodiscard]] bool knows(std::int64_t block) const { return blocks_.contains(block); }
    /// From now on the block is known, even without a failure. add() opens it too.
    void open(std::int64_t block) { blocks_.try_emplace(block); }
    void forget_before(std::int64_t block);
    /// A phase began: its bursts begin at nothing (8.1). First failures stay known.
    void restart_gate();

private:
    struct Key {
        std::size_t signal = 0;
        std::size_t scope = 0;
        std::uint64_t user = 0;
        friend bool operator==(const Key&, const Key&) = default;
    };
    struct KeyHash {
        std::size_t operator()(const Key& key) const;
    };
    struct Block {
        std::unordered_set<Key, KeyHash> failed;
        std::unordered_map<Key, std::int64_t, KeyHash> bursts;
    };
    std::map<std::int64_t, Block> blocks_;
};

}  // namespace canaryd
