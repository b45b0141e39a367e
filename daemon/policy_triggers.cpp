#include <algorithm>

#include "daemon/policy_rules.hpp"

namespace canaryd {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> words{""};
    for (const char c : text) {
        if (c == ' ') {
            words.emplace_back();
        } else {
            words.back() += c;
        }
    }
    return words;
}

/// A whole number from `least` to a billion.
std::optional<std::int64_t> count_of(const std::string& word, std::int64_t least) {
    const auto read = read_whole(word);
    if (!read.value || *read.value < least || *read.value > 1'000'000'000) return std::nullopt;
    return read.value;
}

/// "2 of 3 looks".
void read_for(Fields& fields, Trigger& trigger) {
    const auto text = fields.text("for");
    if (!text) return;
    const auto words = split(*text);
    const bool shape = words.size() == 4 && words[1] == "of" && words[3] == "looks";
    const auto needed = shape ? count_of(words[0], 0) : std::nullopt;
    const auto looks = shape ? count_of(words[2], 0) : std::nullopt;
    if (!needed || !looks) {
        fields.problem("for", as_written(*text) + " is not `k of n looks`; write 2 of 3 looks");
    } else if (*needed < 1) {
        fields.problem("for", as_written(*text) + " always fires; write at least 1 of n looks");
    } else if (*needed > *looks) {
        fields.problem("for", as_written(*text) + " can never fire; write at most " +
                                  std::to_string(*looks) + " of " + std::to_string(*looks) +
                                  " looks");
    } else if (*looks > 32) {
        fields.problem("for", as_written(*text) +
                                  " remembers more than 32 looks; write at most "
                                  "32, or a longer `over`");
    } else {
        trigger.needed = static_cast<int>(*needed);
        trigger.looks = static_cast<int>(*looks);
    }
}

/// "10 failures", "10 failures from 3 users", "30 expected".
void read_floor(Fields& fields, Trigger& trigger) {
    const auto text = fields.text("at_least");
    if (!text) return;
    if (trigger.kind == Trigger::Kind::number) {
        return fields.problem("at_least", "a number from a query has no such floor; remove it");
    }
    if (trigger.kind == Trigger::Kind::off_weight) {
        return fields.problem("at_least", "chance is its floor, however few users; remove it");
    }
    const auto words = split(*text);
    const auto count = count_of(words[0], 1);
    const std::string noun = words.size() > 1 ? words[1] : "";
    if (trigger.kind == Trigger::Kind::traffic) {
        if (words.size() == 2 && noun == "expected" && count) {
            trigger.at_least = *count;
            return;
        }
        return fields.problem(
            "at_least", as_written(*text) + " does not fit traffic; write one like 30 expected");
    }
    const bool failures = count && (noun == "failures" || noun == "failure");
    if (failures && words.size() == 2) {
        trigger.at_least = *count;
        trigger.users = 0;
        return;
    }
    const bool users = failures && words.size() == 5 && words[2] == "from" &&
                       (words[4] == "users" || words[4] == "user");
    const auto different = users ? count_of(words[3], 1) : std::nullopt;
    if (!different) {
        return fields.problem("at_least", as_written(*text) +
                                              " is no floor; write one like 10 failures, or 10 "
                                              "failures from 3 users");
    }
    trigger.at_least = *count;
    trigger.users = *different;
}

bool wrong_side(Fields& fields, const std::string& side, bool wrong, const std::string& mend) {
    if (wrong) {
        fields.problem(side, as_written(side + " " + fields.raw(side)) +
                                 " would fire on a healthy service; write " + mend);
    }
    return wrong;
}

/// `error_rate above`, `success_rate below`, `traffic below`: the threshold as a share.
std::optional<Share> threshold_of(Fields& fields, const Metric& metric, const std::string& side) {
    const bool above = metric.kind == Metric::Kind::failed;
    const bool traffic = metric.kind == Metric::Kind::traffic;
    const std::string mend = above ? "`above: 5%`" : traffic ? "`below: 20%`" : "`below: 90%`";
    if (wrong_side(fields, side, above != (side == "above"), mend)) return std::nullopt;
    const auto share = fields.share(side);
    if (!share) return std::nullopt;
    const std::string written = fields.written(side);
    const bool never = above ? share->billionths >= Share::whole : share->billionths <= 0;
    // All of the traffic it should have is what a healthy service has: half of the looks are below.
    const bool always =
        traffic ? share->billionths >= Share::whole : share->billionths > Share::whole;
    if (never) {
        fields.problem(side, written + " can never fire; write one like " + mend);
    } else if (always) {
        fields.problem(side, written + " would always fire; write one like " + mend);
    } else {
        return metric.kind == Metric::Kind::succeeded ? share->rest() : *share;
    }
    return std::nullopt;
}

/// `user_share off_weight_by: 2pp`; false when there is a problem.
bool read_off_weight(Fields& fields, Trigger& trigger, const Policy& policy) {
    constexpr std::string_view unit = "pp";
    trigger.kind = Trigger::Kind::off_weight;
    trigger.at_least = trigger.users = 0;
    for (const std::string_view side : {"above", "below"}) {
        if (fields.has(side)) {
            fields.problem(side, "user_share is held against the weight; write off_weight_by: 2pp");
        }
    }
    fields.require({"off_weight_by"});
    if (policy.baseline.empty()) {
        fields.problem("metric",
                       "user_share needs the users of a baseline; add one, or remove "
                       "this");
    }
    const auto text = fields.text("off_weight_by");
    if (!text) return false;
    const bool points = text->ends_with(unit);
    const auto read =
        read_number(std::string_view(*text).substr(0, text->size() - (points ? unit.size() : 0)));
    if (!points || !read.value || *read.value <= 0 || *read.value >= 100) {
        fields.problem("off_weight_by", as_written(*text) +
                                            " is no distance of two shares; write percentage "
                                            "points like 2pp");
        return false;
    }
    trigger.threshold = *read.value / 100;
    trigger.as_written = "off_weight_by " + *text;
    return true;
}

/// Kind, signal and threshold; false when there is a problem.
bool read_rule(Fields& fields, Trigger& trigger, const Metric& metric, const std::string& side,
               const Policy& policy) {
    trigger.above = side == "above";
    trigger.as_written = side + " " + fields.raw(side);
    switch (metric.kind) {
        case Metric::Kind::number: {
            trigger.kind = Trigger::Kind::number;
            trigger.at_least = trigger.users = 0;
            if (numbers_of(policy, trigger.metric) > 1) {
                fields.problem("metric", as_written(trigger.metric) +
                                             " gives two numbers, for the criterion that limits "
                                             "its share; write a query of its own for this");
                return false;
            }
            const auto number = fields.number(side);
            assign(trigger.threshold, number);
            return number.has_value();
        }
        case Metric::Kind::slower: {
            if (wrong_side(fields, side, side == "below", "`above: 5s`")) return false;
            const auto than = fields.duration(side, {.min = 1ms, .unit = "s"});
            trigger.signal.kind = Signal::Kind::slower;
            assign(trigger.signal.than, than);
            trigger.threshold = metric.slow.value();
            return than.has_value();
        }
        case Metric::Kind::traffic:
            trigger.kind = Trigger::Kind::traffic;
            trigger.at_least = 30;
            trigger.users = 0;
            break;
        case Metric::Kind::off_weight:
            return false;  // has neither side: read_off_weight()
        case Metric::Kind::failed:
        case Metric::Kind::succeeded:
            trigger.above = true;  // of the failed share, however it was said
            break;
    }
    const auto threshold = threshold_of(fields, metric, side);
    if (threshold) trigger.threshold = threshold->value();
    return threshold.has_value();
}

void read_each(Fields& fields, Trigger& trigger, const Policy& policy) {
    const auto each = fields.text("each");
    if (!each) return;
    trigger.each_segment = true;
    if (policy.segment.empty()) {
        fields.problem("each", as_written(*each) + " is not defined; add segments, or remove this");
    } else if (*each != policy.segment) {
        fields.problem("each",
                       as_written(*each) + " is not the segment's name; write " + policy.segment);
    } else if (trigger.kind == Trigger::Kind::number) {
        fields.problem("each", "a query gives one number for all; remove this");
    } else if (trigger.kind == Trigger::Kind::off_weight) {
        fields.problem("each", "the weight is one of all users; remove this");
    }
}

std::optional<Trigger> read_trigger(Fields& fields, const Policy& policy) {
    Trigger trigger;
    trigger.over = 15min;
    fields.known({"name", "metric", "above", "below", "off_weight_by", "over", "for", "at_least",
                  "each", "then"});
    fields.require({"metric"});
    const auto word = fields.text("metric");
    std::optional<Metric> metric;
    if (word) {
        trigger.metric = *word;
        metric = metric_named(fields, *word, policy);
    }
    bool ruled = false;
    if (metric && metric->kind == Metric::Kind::off_weight) {
        ruled = read_off_weight(fields, trigger, policy);
    } else {
        const std::string side = side_of(fields);
        ruled = metric && !side.empty() && read_rule(fields, trigger, *metric, side, policy);
        if (fields.has("off_weight_by"))
            fields.problem("off_weight_by", "belongs to user_share; remove it");
    }
    assign(trigger.over, fields.duration("over", {.min = 1s, .max = 24h * 30}));
    read_for(fields, trigger);
    if (metric) read_floor(fields, trigger);
    if (metric) read_each(fields, trigger, policy);
    if (const auto then = fields.word("then", {"rollback", "hold", "warn"})) {
        trigger.then = *then == "rollback" ? Action::rollback
                       : *then == "hold"   ? Action::hold
                                           : Action::warn;
    }
    if (trigger.over < policy.evaluate_every && !trigger.at_peeks()) {
        const std::string over =
            fields.has("over") ? fields.written("over") : as_yaml(trigger.over) + " (the default)";
        fields.problem("over", over + " is shorter than evaluate_every (" +
                                   as_yaml(policy.evaluate_every) +
                                   "), so that requests between two looks would be missed; write "
                                   "at least " +
                                   as_yaml(policy.evaluate_every) + ", or for: 1 of 1 looks");
    }
    fields.done();
    if (!ruled) return std::nullopt;
    return trigger;
}

}  // namespace

std::vector<Trigger> read_triggers(Fields& fields, const Policy& policy) {
    return read_rules<Trigger>(fields.mappings("triggers"),
                               [&](Fields& entry) { return read_trigger(entry, policy); });
}

}  // namespace canaryd
