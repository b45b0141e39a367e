#include "daemon/stores/record.hpp"

#include <stdexcept>
#include <variant>

#include "daemon/codec.hpp"
#include "daemon/sha256.hpp"

namespace canaryd::record {

namespace {

[[noreturn]] void fail(const std::string& store, const std::string& what) {
    throw std::runtime_error(store + ": " + what);
}

std::string hash_of(const Row& row) {
    return sha256_hex(codec::chain_input(row.previous, row.rollout, row.revision, row.event,
                                         row.reason, row.refused, row.state_hash));
}

}  // namespace

void check(const std::string& store, const Event& event, const Transition& transition) {
    const Rollout& next = transition.next;
    if (transition.forget) fail(store, "a transition that is to be forgotten was to be committed");
    if (transition.reason.empty()) fail(store, next.id + ": a change without a reason");
    if (event.by.empty() || event.role.empty()) fail(store, next.id + ": a change by nobody");
    const auto* started = std::get_if<event::Started>(&event.what);
    if (started == nullptr || transition.refused) return;
    if (sha256_hex(started->policy_text) != next.policy_hash)
        fail(store, next.id + ": the state's policy_hash is not that of the policy's text");
}

void check_revision(const std::string& store, const std::string& rollout, std::uint64_t stored,
                    std::uint64_t revision) {
    if (revision == stored + 1) return;
    fail(store, rollout + " is stored at revision " + std::to_string(stored) + ", so revision " +
                    std::to_string(revision) + " cannot follow");
}

const event::Started& started_by(const std::string& store, const Event& event,
                                 const Transition& transition) {
    const auto* started = std::get_if<event::Started>(&event.what);
    if (started == nullptr || transition.refused)
        fail(store, transition.next.id + " was never started");
    return *started;
}

Row row_after(const Head& head, const Event& event, const Transition& transition,
              const std::string& state) {
    Row row;
    row.seq = head.seq + 1;
    row.rollout = transition.next.id;
    row.revision = transition.next.revision;
    row.at = event.at;
    row.by = codec::valid_utf8(event.by);
    row.role = codec::valid_utf8(event.role);
    row.event = codec::to_json(event);
    row.reason = codec::valid_utf8(transition.reason);
    row.refused = transition.refused;
    row.state_hash = sha256_hex(state);
    row.previous = head.hash;
    row.hash = hash_of(row);
    return row;
}

JournalEntry entry_of(const Row& row) {
    JournalEntry entry;
    entry.rollout = row.rollout;
    entry.revision = row.revision;
    try {
        entry.event = codec::event_from_json(row.event);
    } catch (const std::exception& error) {
        throw std::runtime_error("journal entry " + std::to_string(row.seq) + ": " + error.what());
    }
    entry.reason = row.reason;
    entry.refused = row.refused;
    entry.state_hash = row.state_hash;
    entry.previous = row.previous;
    entry.hash = row.hash;
    return entry;
}

std::string name_of(std::int64_t seq, const std::string& rollout, std::uint64_t revision) {
    return "journal entry " + std::to_string(seq) + " (" + rollout + ", revision " +
           std::to_string(revision) + ")";
}

std::string fault_of(const Row& row, const std::string& previous) {
    if (row.previous != previous)
        return "does not follow the entry before it: one of them was changed, removed or moved";
    if (hash_of(row) != row.hash) return "was changed: its hash is not that of what it says";
    // The columns beside the event are for people's queries: they have to say what it says.
    try {
        const Event event = codec::event_from_json(row.event);
        if (event.at != row.at || event.by != row.by || event.role != row.role)
            return "was changed: who and when are not those of its event";
    } catch (const std::exception& error) {
        return std::string("was changed: ") + error.what();
    }
    return {};
}

std::string fault_of(const State& state) {
    if (sha256_hex(state.state) != state.state_hash) return "its state was changed since";
    if (sha256_hex(state.policy_text) != state.policy_hash)
        return "its policy text was changed since";
    try {
        const Rollout rollout = codec::rollout_from_json(state.state);
        if (rollout.id != state.id || rollout.name != state.name ||
            rollout.policy_hash != state.policy_hash || rollout.revision != state.revision)
            return "the columns beside its state were changed since";
    } catch (const std::exception& error) {
        return error.what();
    }
    return {};
}

}  // namespace canaryd::record
