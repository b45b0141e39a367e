// What every kind of store writes and proves alike: one chain of hashes over all rollouts, and
// states that the newest entry vouches for. How rows are kept is the kind's own affair.
#pragma once

#include <cstdint>
#include <string>

#include "canaryd/ports.hpp"

namespace canaryd::record {

/// How many of the newest entries are checked at a start: enough to notice a slip or a restored
/// page each time; `canaryctl verify` proves the rest.
inline constexpr std::int64_t checked_at_start = 1'000;

/// One row of the journal, as columns.
struct Row {
    std::int64_t seq = 0;  // 1, 2, 3 … over all rollouts
    std::string rollout;
    std::uint64_t revision = 0;
    TimePoint at;
    std::string by, role;
    std::string event;  // JSON, byte for byte what the hash covers
    std::string reason;
    bool refused = false;
    std::string state_hash;
    std::string previous;
    std::string hash;
};

/// The newest entry; seq 0 and an empty hash before the first one.
struct Head {
    std::int64_t seq = 0;
    std::string hash;
};

/// Throws std::runtime_error, beginning with `store`, when the change cannot be one: no reason,
/// nobody's, to be forgotten, or started with another policy than the state's.
void check(const std::string& store, const Event& event, const Transition& transition);
/// Throws unless `revision` follows `stored` (0: unknown).
void check_revision(const std::string& store, const std::string& rollout, std::uint64_t stored,
                    std::uint64_t revision);
/// Throws when a rollout that is not stored was not just started.
const event::Started& started_by(const std::string& store, const Event& event,
                                 const Transition& transition);

/// The entry that follows `head`; `state` is the JSON of transition.next.
Row row_after(const Head& head, const Event& event, const Transition& transition,
              const std::string& state);
/// As the port tells it. Throws std::runtime_error when the event is not understood.
JournalEntry entry_of(const Row& row);

/// "journal entry 7 (webhook-1, revision 4)".
std::string name_of(std::int64_t seq, const std::string& rollout, std::uint64_t revision);
/// What is wrong with an entry whose predecessor's hash is `previous`; empty: nothing.
std::string fault_of(const Row& row, const std::string& previous);

/// A rollout's row, and the hash of the state that its newest entry recorded.
struct State {
    std::string id, name;
    std::uint64_t revision = 0;
    std::string state;
    std::string state_hash;
    std::string policy_text, policy_hash;
};
/// What was changed behind the journal's back; empty: nothing.
std::string fault_of(const State& state);

}  // namespace canaryd::record
