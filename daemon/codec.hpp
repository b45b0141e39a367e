// JSON of everything that is stored, journaled or served. Doubles that carry evidence are written
// in their shortest exact form as text and read back bit for bit; -inf is "-inf", NaN is refused.
//
// A field that equals its default is left out, and a missing field means the default: rows stay
// small, and a later version may add fields to what an earlier one wrote. Millisecond UTC times
// are JSON integers.
//
// Reading throws std::runtime_error naming the field: a stored row is external input as well.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "canaryd/ports.hpp"
#include "canaryd/rollout.hpp"

namespace canaryd::codec {

std::string to_json(const Rollout& rollout);
Rollout rollout_from_json(std::string_view json);
std::string to_json(const Event& event);
Event event_from_json(std::string_view json);
std::string to_json(const Notice& notice);
Notice notice_from_json(std::string_view json);
std::string to_json(const JournalEntry& entry);
JournalEntry journal_entry_from_json(std::string_view json);

/// What a journal entry's chain hash covers, in one canonical string.
std::string chain_input(const std::string& previous, const std::string& rollout,
                        std::uint64_t revision, std::string_view event_json,
                        const std::string& reason, bool refused, const std::string& state_hash);

/// The text with U+FFFD for every byte that is not UTF-8: JSON cannot hold anything else. Applied
/// to every string that is written.
std::string valid_utf8(std::string_view text);

}  // namespace canaryd::codec
