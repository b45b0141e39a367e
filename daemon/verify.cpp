#include "daemon/verify.hpp"

#include <exception>
#include <map>
#include <optional>
#include <stdexcept>
#include <utility>
#include <variant>

#include "daemon/codec.hpp"
#include "daemon/sha256.hpp"

namespace canaryd {

namespace {

// A journal that is wrong throughout needs no page for each entry.
constexpr std::size_t most_faults = 100;

/// A rollout as it is folded anew.
struct Fold {
    Rollout rollout;
    std::optional<Policy> policy;
    bool broken = false;  // its state is not known any more: nothing further is recomputed
};

Policy pinned_policy(const event::Started& started) {
    const std::string file = started.policy_file.empty() ? "policy" : started.policy_file;
    ParsedPolicy parsed = parse_policy(started.policy_text, file);
    if (parsed.policy) return *std::move(parsed.policy);
    throw std::runtime_error(
        "its policy is not valid: " +
        (parsed.problems.empty() ? "no reason given" : to_string(parsed.problems.front())));
}

/// What the entry should say and does not; empty: all is as recorded.
std::string difference(const Transition& again, const JournalEntry& entry) {
    if (again.forget) return "step() finds nothing in it that needs remembering";
    if (again.refused != entry.refused)
        return std::string("recorded as ") + (entry.refused ? "refused" : "done") +
               ", step() says the opposite";
    const std::string reason = codec::valid_utf8(again.reason);
    if (reason != entry.reason)
        return "recorded \"" + entry.reason + "\", step() says \"" + reason + "\"";
    if (again.next.revision != entry.revision)
        return "step() comes to revision " + std::to_string(again.next.revision);
    if (sha256_hex(codec::to_json(again.next)) != entry.state_hash)
        return "the state after it is not the one that was recorded";
    return {};
}

}  // namespace

struct Verifier::Impl {
    Verified verified;
    std::string last_hash;
    std::map<std::string, Fold> folds;

    void fault(const JournalEntry& entry, const std::string& what);
    void check_chain(const JournalEntry& entry);
    void check_decision(const JournalEntry& entry);
    void fold(Fold& fold, const JournalEntry& entry);
};

void Verifier::Impl::fault(const JournalEntry& entry, const std::string& what) {
    if (verified.faults.size() >= most_faults) return;
    verified.faults.push_back(entry.rollout + ", revision " + std::to_string(entry.revision) +
                              ": " + what);
}

void Verifier::Impl::check_chain(const JournalEntry& entry) {
    if (entry.previous != last_hash)
        fault(entry, verified.entries == 1
                         ? "the journal does not begin here: entries before it were removed"
                         : "does not follow the entry before it: one of them was changed, removed "
                           "or moved");
    last_hash = entry.hash;
    const std::string input = codec::chain_input(entry.previous, entry.rollout, entry.revision,
                                                 codec::to_json(entry.event), entry.reason,
                                                 entry.refused, entry.state_hash);
    if (sha256_hex(input) != entry.hash)
        fault(entry, "was changed: its hash is not that of what it says");
}

void Verifier::Impl::fold(Fold& fold, const JournalEntry& entry) {
    const auto* started = std::get_if<event::Started>(&entry.event.what);
    if (!fold.policy) {
        if (started == nullptr) throw std::runtime_error("it was never started");
        if (started->id != entry.rollout)
            throw std::runtime_error("it was started as \"" + started->id + "\"");
        fold.policy = pinned_policy(*started);
    }
    if (entry.revision != fold.rollout.revision + 1)
        throw std::runtime_error("follows revision " + std::to_string(fold.rollout.revision) +
                                 ": entries in between were removed, or it is told twice");
    Transition again = step(fold.rollout, entry.event, *fold.policy);
    if (const std::string what = difference(again, entry); !what.empty())
        throw std::runtime_error(what);
    fold.rollout = std::move(again.next);
}

void Verifier::Impl::check_decision(const JournalEntry& entry) {
    Fold& rollout = folds[entry.rollout];
    if (rollout.broken) return;
    try {
        fold(rollout, entry);
    } catch (const std::exception& error) {
        // From here on every state of this rollout would differ: the first entry says enough.
        rollout.broken = true;
        fault(entry, error.what());
    }
}

Verifier::Verifier() : impl_(std::make_unique<Impl>()) {}
Verifier::~Verifier() = default;

void Verifier::add(const JournalEntry& entry) {
    ++impl_->verified.entries;
    if (std::holds_alternative<event::Looked>(entry.event.what)) ++impl_->verified.looks;
    impl_->check_chain(entry);
    impl_->check_decision(entry);
}

Verified Verifier::result() const {
    Verified verified = impl_->verified;
    verified.rollouts = impl_->folds.size();
    return verified;
}

}  // namespace canaryd
