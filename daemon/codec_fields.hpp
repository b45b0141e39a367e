// The fields of everything that is stored: one description per struct, for reading and writing.
//
// A field that is added to a struct and not here does not compile: codec.cpp compares the counts.
// Names never change their meaning: old journals are read for ever.
#pragma once

#include <string_view>

#include "canaryd/ports.hpp"
#include "canaryd/rollout.hpp"
#include "daemon/codec_words.hpp"

namespace canaryd::codec {

// Evidence.

template <class Visit>
constexpr void fields(Visit& visit, Of<InBlock>) {
    visit("block", &InBlock::block);
    visit("failures", &InBlock::failures);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Count>) {
    visit("raw", &Count::raw);
    visit("first", &Count::first);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Burst>) {
    visit("sum_e", &Burst::sum_e);
    visit("sum_e2", &Burst::sum_e2);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Latencies>) {
    visit("counts", &Latencies::counts);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Tally>) {
    visit("who", &Tally::who);
    visit("segment", &Tally::segment);
    visit("requests", &Tally::requests);
    visit("events", &Tally::events);
    visit("bursts", &Tally::bursts);
    visit("new_users", &Tally::new_users);
    visit("latency", &Tally::latency);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Window>) {
    visit("trigger", &Window::trigger);
    visit("segment", &Window::segment);
    visit("who", &Window::who);
    visit("from", &Window::from);
    visit("to", &Window::to);
    visit("requests", &Window::requests);
    visit("failures", &Window::failures);
    visit("users", &Window::users);
    visit("value", &Window::value);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Look>) {
    visit("from", &Look::from);
    visit("to", &Look::to);
    visit("on_time", &Look::on_time);
    visit("late", &Look::late);
    visit("canary_complete", &Look::canary_complete);
    visit("baseline_complete", &Look::baseline_complete);
    visit("windows", &Look::windows);
    visit("cursor", &Look::cursor);
    visit("remarks", &Look::remarks);
    visit("error", &Look::error);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Stream>) {
    visit("ln_r", &Stream::ln_r);
    visit("floor", &Stream::floor);
    visit("ln_calm", &Stream::ln_calm);
    visit("guard", &Stream::guard);
    visit("requests", &Stream::requests);
    visit("events", &Stream::events);
    visit("sum_e", &Stream::sum_e);
    visit("sum_e2", &Stream::sum_e2);
    visit("baseline_requests", &Stream::baseline_requests);
    visit("baseline_events", &Stream::baseline_events);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Waited>) {
    visit("dt", &Waited::dt);
    visit("requests", &Waited::requests);
    visit("events", &Waited::events);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Waiting>) {
    visit("stream", &Waiting::stream);
    visit("since", &Waiting::since);
    visit("looks", &Waiting::looks);
    visit("guard_seen", &Waiting::guard_seen);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<HoldLedger>) {
    visit("ln_c", &HoldLedger::ln_c);
    visit("streams", &HoldLedger::streams);
    visit("acted", &HoldLedger::acted);
    visit("suspect", &HoldLedger::suspect);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Ledger>) {
    visit("ln_c", &Ledger::ln_c);
    visit("streams", &Ledger::streams);
    visit("waiting", &Ledger::waiting);
    visit("failed_confirmation", &Ledger::failed_confirmation);
    visit("suspect", &Ledger::suspect);
    visit("latched", &Ledger::latched);
    visit("phase_fresh", &Ledger::phase_fresh);
    visit("baseline_share", &Ledger::baseline_share);
    visit("phase_from", &Ledger::phase_from);
    // Left out while they are empty: states of policies with limits only read as they always did.
    visit("hold", &Ledger::hold);
    visit("late_requests", &Ledger::late_requests);
    visit("day_requests", &Ledger::day_requests);
    visit("day_from", &Ledger::day_from);
}

// The state.

template <class Visit>
constexpr void fields(Visit& visit, Of<Paused>) {
    visit("by", &Paused::by);
    visit("at", &Paused::at);
    visit("reason", &Paused::reason);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Hold>) {
    visit("kind", &Hold::kind);
    visit("name", &Hold::name);
    visit("since", &Hold::since);
    visit("why", &Hold::why);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<TriggerState>) {
    visit("fired", &TriggerState::fired);
    visit("seen", &TriggerState::seen);
    visit("last", &TriggerState::last);
    visit("reached", &TriggerState::reached);
    visit("acted", &TriggerState::acted);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<SegmentState>) {
    visit("requests", &SegmentState::requests);
    visit("events_failed", &SegmentState::events_failed);
    visit("users", &SegmentState::users);
    visit("last_request", &SegmentState::last_request);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Seen>) {
    visit("requests", &Seen::requests);
    visit("events", &Seen::events);
    visit("latency", &Seen::latency);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Rollout>) {
    visit("id", &Rollout::id);
    visit("name", &Rollout::name);
    visit("policy_hash", &Rollout::policy_hash);
    visit("status", &Rollout::status);
    visit("revision", &Rollout::revision);
    visit("step", &Rollout::step);
    visit("desired", &Rollout::desired);
    visit("applied", &Rollout::applied);
    visit("ordered", &Rollout::ordered);
    visit("route_from", &Rollout::route_from);
    visit("forgotten", &Rollout::forgotten);
    visit("raise_expires", &Rollout::raise_expires);
    visit("started", &Rollout::started);
    visit("applied_since", &Rollout::applied_since);
    visit("phase_due", &Rollout::phase_due);
    visit("earn_from", &Rollout::earn_from);
    visit("baked", &Rollout::baked);
    visit("soaked", &Rollout::soaked);
    visit("extended", &Rollout::extended);
    visit("uncounted", &Rollout::uncounted);
    visit("bake_seen", &Rollout::bake_seen);
    visit("last_look", &Rollout::last_look);
    visit("cursor", &Rollout::cursor);
    visit("ledger", &Rollout::ledger);
    visit("suspicious", &Rollout::suspicious);
    visit("proven", &Rollout::proven);
    visit("ln_m", &Rollout::ln_m);
    visit("blind_since", &Rollout::blind_since);
    visit("blind_why", &Rollout::blind_why);
    visit("nobody_hears", &Rollout::nobody_hears);
    visit("last_canary_request", &Rollout::last_canary_request);
    visit("expected_since", &Rollout::expected_since);
    visit("expected_count", &Rollout::expected_count);
    visit("paused", &Rollout::paused);
    visit("holds", &Rollout::holds);
    visit("triggers", &Rollout::triggers);
    visit("segments", &Rollout::segments);
    visit("canary", &Rollout::canary);
    visit("baseline", &Rollout::baseline);
    visit("baked_told", &Rollout::baked_told);
    visit("soaked_told", &Rollout::soaked_told);
    visit("last_report", &Rollout::last_report);
    visit("reason", &Rollout::reason);
    visit("changed_by", &Rollout::changed_by);
    visit("changed_at", &Rollout::changed_at);
    visit("rolled_back_at", &Rollout::rolled_back_at);
    visit("rolled_back_from", &Rollout::rolled_back_from);
    visit("acknowledged_by", &Rollout::acknowledged_by);
    visit("overrides", &Rollout::overrides);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<Notice>) {
    visit("kind", &Notice::kind);
    visit("severity", &Notice::severity);
    visit("text", &Notice::text);
}

// Events.

template <class Visit>
constexpr void fields(Visit& visit, Of<Served>) {
    visit("weight", &Served::weight);
    visit("revision", &Served::revision);
    visit("by", &Served::by);
    visit("reason", &Served::reason);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::Started>) {
    visit("id", &event::Started::id);
    visit("policy_text", &event::Started::policy_text);
    visit("policy_file", &event::Started::policy_file);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::Looked>) {
    visit("look", &event::Looked::look);
    visit("nobody_hears", &event::Looked::nobody_hears);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::Peeked>) {
    visit("look", &event::Peeked::look);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::RouteRead>) {
    visit("served", &event::RouteRead::served);
}

template <class Visit>
constexpr void fields(Visit&, Of<event::RaiseLapsed>) {}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::StoreWentBack>) {
    visit("revision", &event::StoreWentBack::revision);
    visit("weight", &event::StoreWentBack::weight);
    visit("rolled_back", &event::StoreWentBack::rolled_back);
    visit("witness", &event::StoreWentBack::witness);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::Pause>) {
    visit("reason", &event::Pause::reason);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::Resume>) {
    visit("reason", &event::Resume::reason);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::Promote>) {
    visit("override", &event::Promote::override_proof);
    visit("reason", &event::Promote::reason);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::RollBack>) {
    visit("reason", &event::RollBack::reason);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::Extend>) {
    visit("duration", &event::Extend::by);
    visit("reason", &event::Extend::reason);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::Finish>) {
    visit("reason", &event::Finish::reason);
}

template <class Visit>
constexpr void fields(Visit& visit, Of<event::Acknowledge>) {
    visit("reason", &event::Acknowledge::reason);
}

/// Event without `what`, which is read and written by hand: a variant has no fields.
template <class Visit>
constexpr void fields(Visit& visit, Of<Event>) {
    visit("at", &Event::at);
    visit("by", &Event::by);
    visit("role", &Event::role);
}

/// JournalEntry without `event`, which is an object of its own.
template <class Visit>
constexpr void fields(Visit& visit, Of<JournalEntry>) {
    visit("rollout", &JournalEntry::rollout);
    visit("revision", &JournalEntry::revision);
    visit("reason", &JournalEntry::reason);
    visit("refused", &JournalEntry::refused);
    visit("state_hash", &JournalEntry::state_hash);
    visit("previous", &JournalEntry::previous);
    visit("hash", &JournalEntry::hash);
}

}  // namespace canaryd::codec
