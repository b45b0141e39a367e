// The words that stand for enumerators and alternatives in what is stored. They are not the words
// for people (canaryd/text.hpp): old journals are read for ever, so these never change.
#pragma once

#include <string_view>

#include "canaryd/rollout.hpp"

namespace canaryd::codec {

/// Carries a type to its description.
template <class T>
struct Of {
    using Struct = T;
};

constexpr std::string_view word(Population who) {
    switch (who) {
        case Population::canary:
            return "canary";
        case Population::baseline:
            return "baseline";
    }
    return {};
}

constexpr std::string_view word(Status status) {
    switch (status) {
        case Status::pending:
            return "pending";
        case Status::progressing:
            return "progressing";
        case Status::rolled_back:
            return "rolled_back";
        case Status::finishing:
            return "finishing";
        case Status::finished:
            return "finished";
    }
    return {};
}

constexpr std::string_view word(Hold::Kind kind) {
    switch (kind) {
        case Hold::Kind::blind:
            return "blind";
        case Hold::Kind::shared_outage:
            return "shared_outage";
        case Hold::Kind::drift:
            return "drift";
        case Hold::Kind::unproven:
            return "unproven";
        case Hold::Kind::trigger:
            return "trigger";
        case Hold::Kind::confirmation:
            return "confirmation";
        case Hold::Kind::unconfirmed:
            return "unconfirmed";
        case Hold::Kind::criterion:
            return "criterion";
        case Hold::Kind::store_went_back:
            return "store_went_back";
    }
    return {};
}

constexpr std::string_view word(Severity severity) {
    switch (severity) {
        case Severity::info:
            return "info";
        case Severity::warning:
            return "warning";
        case Severity::critical:
            return "critical";
    }
    return {};
}

constexpr std::string_view word(Notice::Kind kind) {
    switch (kind) {
        case Notice::Kind::started:
            return "started";
        case Notice::Kind::promoted:
            return "promoted";
        case Notice::Kind::extended:
            return "extended";
        case Notice::Kind::held:
            return "held";
        case Notice::Kind::waiting:
            return "waiting";
        case Notice::Kind::blind:
            return "blind";
        case Notice::Kind::rolled_back:
            return "rolled_back";
        case Notice::Kind::back_in_sight:
            return "back_in_sight";
        case Notice::Kind::resumed:
            return "resumed";
        case Notice::Kind::paused:
            return "paused";
        case Notice::Kind::soaked:
            return "soaked";
        case Notice::Kind::finished:
            return "finished";
        case Notice::Kind::drift:
            return "drift";
        case Notice::Kind::warned:
            return "warned";
        case Notice::Kind::report:
            return "report";
        case Notice::Kind::raise_lapsed:
            return "raise_lapsed";
    }
    return {};
}

// The alternatives of What.

constexpr std::string_view word(Of<event::Started>) {
    return "started";
}
constexpr std::string_view word(Of<event::Looked>) {
    return "looked";
}
constexpr std::string_view word(Of<event::Peeked>) {
    return "peeked";
}
constexpr std::string_view word(Of<event::RouteRead>) {
    return "route_read";
}
constexpr std::string_view word(Of<event::RaiseLapsed>) {
    return "raise_lapsed";
}
constexpr std::string_view word(Of<event::StoreWentBack>) {
    return "store_went_back";
}
constexpr std::string_view word(Of<event::Pause>) {
    return "pause";
}
constexpr std::string_view word(Of<event::Resume>) {
    return "resume";
}
constexpr std::string_view word(Of<event::Promote>) {
    return "promote";
}
constexpr std::string_view word(Of<event::RollBack>) {
    return "roll_back";
}
constexpr std::string_view word(Of<event::Extend>) {
    return "extend";
}
constexpr std::string_view word(Of<event::Finish>) {
    return "finish";
}
constexpr std::string_view word(Of<event::Acknowledge>) {
    return "acknowledge";
}

}  // namespace canaryd::codec
