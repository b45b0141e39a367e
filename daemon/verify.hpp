// Proves a journal: the chain of hashes, and every decision again from its inputs alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "canaryd/ports.hpp"

namespace canaryd {

struct Verified {
    std::uint64_t entries = 0, rollouts = 0, looks = 0;
    std::vector<std::string> faults;  // empty: all is as recorded; the first bad entry first
};

/// Folds step() over the entries (all rollouts, in the order of the journal) from their Started
/// events on, and compares hash, reason and state with what was recorded. Pure but for the YAML
/// parser.
class Verifier {
public:
    Verifier();
    ~Verifier();
    void add(const JournalEntry& entry);
    [[nodiscard]] Verified result() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace canaryd
