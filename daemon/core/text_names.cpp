// Every enumerator's name: journal, API and pages use the same ones.
#include "canaryd/text.hpp"

namespace canaryd::text {

std::string_view name(Readers readers) {
    switch (readers) {
        case Readers::function:
            return "function";
        case Readers::column:
            return "column";
        case Readers::both:
            return "both";
    }
    return "";
}

std::string_view name(Status status) {
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
    return "unknown";
}

std::string_view name(Hold::Kind kind) {
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
    return "unknown";
}

std::string_view name(Notice::Kind kind) {
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
    return "unknown";
}

std::string_view name(Uncounted kind) {
    switch (kind) {
        case Uncounted::blind:
            return "blind";
        case Uncounted::down:
            return "canaryd down";
        case Uncounted::paused:
            return "paused";
        case Uncounted::held:
            return "held";
        case Uncounted::suspicious:
            return "suspicious";
        case Uncounted::unconfirmed:
            return "traffic unconfirmed";
    }
    return "unknown";
}

std::string_view name(Action action) {
    switch (action) {
        case Action::warn:
            return "warn";
        case Action::hold:
            return "hold";
        case Action::rollback:
            return "rollback";
    }
    return "unknown";
}

std::string_view name(Population who) {
    switch (who) {
        case Population::canary:
            return "canary";
        case Population::baseline:
            return "baseline";
    }
    return "unknown";
}

std::string_view name(Decision decision) {
    switch (decision) {
        case Decision::none:
            return "none";
        case Decision::suspicious:
            return "suspicious";
        case Decision::hold:
            return "hold";
        case Decision::waiting:
            return "waiting";
        case Decision::rollback:
            return "rollback";
    }
    return "unknown";
}

}  // namespace canaryd::text
