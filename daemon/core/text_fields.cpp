// check --explain: every field of a policy and its value, whether it was written or not, in the
// order and under the names of policies/README.md, nothing cut.
#include <algorithm>

#include "daemon/core/text_parts.hpp"

namespace canaryd::text {

std::string event_words(const Criterion& criterion) {
    if (criterion.signal.kind == Signal::Kind::slower) {
        return "requests slower than " + duration(criterion.signal.than);
    }
    if (criterion.signal.kind == Signal::Kind::counted)
        return "what the query " + criterion.signal.number + " counts";
    return "failed requests (errors and timeouts)";
}

namespace {

/// Fields and their values under the names of policies/README.md, nothing cut.
class FieldList {
public:
    void add(const std::string& field, std::string value) {
        constexpr std::size_t beside = 28;  // the longest name is confirm_without_baseline
        std::replace(value.begin(), value.end(), '\n', ' ');
        std::string line = "  " + field;
        line.resize(std::max(line.size() + 1, beside), ' ');
        lines_ += line + wrap(clean(value), page_width, beside) + "\n";
    }
    [[nodiscard]] const std::string& lines() const { return lines_; }

private:
    std::string lines_;
};

std::string or_none(const std::string& value) {
    return value.empty() ? "none" : value;
}

void add_services(FieldList& fields, const Policy& policy) {
    fields.add("name", policy.name);
    fields.add("canary", policy.canary);
    fields.add("baseline", or_none(list(policy.baseline)));
    fields.add("protected", or_none(list(policy.protected_names)));
    fields.add("source.kind", policy.source.kind);
    fields.add("source.connection", policy.source.connection);
    const bool from_table = policy.source.query.empty();
    fields.add("source.table", from_table ? policy.source.table : "none, the query stands for it");
    fields.add("source.query", or_none(policy.source.query));
    fields.add("router.kind", policy.router.kind);
    fields.add("router.connection", policy.router.connection);
    const auto& readers = policy.router.readers;
    fields.add("router.readers",
               readers ? std::string(name(*readers))
                       : "both where the users' flag column follows this route, else function");
    const auto& lease = policy.router.exposure_lease;
    fields.add("router.exposure_lease", lease ? duration(*lease) : "off");
}

void add_ladder(FieldList& fields, const Policy& policy) {
    for (std::size_t i = 0; i < policy.steps.size(); ++i) {
        const std::string front = "steps[" + std::to_string(i) + "].";
        fields.add(front + "weight", weight(policy.steps[i].weight));
        fields.add(front + "bake", duration(policy.steps[i].bake));
        fields.add(front + "name", policy.steps[i].name);
    }
    fields.add("max_step", policy.max_step > Duration{0} ? duration(policy.max_step) : "3 x bake");
    fields.add("evaluate_every", duration(policy.evaluate_every));
    fields.add("peek_every", duration(policy.peek_every));
    fields.add("settle", duration(policy.settle));
    fields.add("warm_up", duration(policy.warm_up));
}

std::string criterion_words(const Criterion& criterion) {
    const auto& worse = criterion.no_worse_than;
    const std::string rule = worse ? " no_worse_than baseline, margin " + margin(*worse)
                                   : " below " + rate(criterion.limit, criterion.signal.per);
    return criterion.name + ": " + criterion.metric + ", " + event_words(criterion) + rule +
           ", then " + std::string(name(criterion.then));
}

void add_rules(FieldList& fields, const Policy& policy) {
    for (std::size_t i = 0; i < policy.criteria.size(); ++i) {
        fields.add("criteria[" + std::to_string(i) + "]", criterion_words(policy.criteria[i]));
    }
    if (policy.triggers.empty()) fields.add("triggers[]", "none");
    for (std::size_t i = 0; i < policy.triggers.size(); ++i) {
        const Trigger& trigger = policy.triggers[i];
        fields.add("triggers[" + std::to_string(i) + "]",
                   trigger.name + ": " + trigger_rule(trigger) +
                       (trigger.each_segment ? ", each " + policy.segment : "") + ", then " +
                       std::string(name(trigger.then)));
    }
    if (policy.metrics.empty()) fields.add("metrics", "none");
    for (const NumberQuery& query : policy.metrics) {
        fields.add("metrics", query.name + ": " + query.query);
    }
}

void add_watch(FieldList& fields, const Policy& policy) {
    fields.add("segments", policy.segments.empty()
                               ? "none"
                               : policy.segment + " in " + policy.segment_column + ": " +
                                     list(policy.segments));
    fields.add("segment_seen.requests", number(policy.segment_requests));
    fields.add("segment_seen.users", number(policy.segment_users));
    fields.add("segment_seen.if_not", policy.segment_ask ? "ask" : "ignore");
    fields.add("on_shared_outage", policy.hold_on_shared_outage ? "hold" : "rollback");
    fields.add("blind.hold_after", duration(policy.blind_hold_after));
    const auto& blind = policy.blind_rollback_after;
    fields.add("blind.rollback_after", blind ? duration(*blind) : "never");
    fields.add("expect_traffic.requests", number(policy.expect_requests));
    fields.add("expect_traffic.within", duration(policy.expect_within));
    fields.add("expect_traffic.share", share(policy.expect_share));
    fields.add("expect_traffic.over", duration(policy.expect_over));
}

void add_statistics(FieldList& fields, const Policy& policy) {
    fields.add("confirm_without_baseline", duration(policy.confirm_without_baseline));
    fields.add("harm_floor.users", number(policy.floor_users));
    fields.add("harm_floor.within", duration(policy.floor_within));
    fields.add("dispersion", dispersion(policy.dispersion));
    fields.add("suspicious", harm(policy.suspicious * 100) + " of 100");
    fields.add("false_rollback", share(policy.false_rollback));
    fields.add("false_hold", share(policy.false_hold));
    fields.add("false_promotion", share(policy.false_promotion));
    fields.add("finish.soak", duration(policy.soak));
}

void add_people(FieldList& fields, const Policy& policy) {
    if (policy.notify.empty()) fields.add("notify[]", "nobody is told");
    for (std::size_t i = 0; i < policy.notify.size(); ++i) {
        const std::string front = "notify[" + std::to_string(i) + "].";
        const NotifySpec& place = policy.notify[i];
        fields.add(front + "kind", place.kind);
        if (place.kind == "log") continue;
        fields.add(front + "connection", place.connection);
        fields.add(front + "channel", place.channel.empty() ? "the webhook's own" : place.channel);
    }
    fields.add("report.day_1", duration(policy.report_day_1));
    fields.add("report.day_2_and_3", duration(policy.report_day_2_and_3));
    fields.add("report.later", duration(policy.report_later));
}

}  // namespace

std::string every_field(const Policy& policy) {
    FieldList fields;
    add_services(fields, policy);
    add_ladder(fields, policy);
    add_rules(fields, policy);
    add_watch(fields, policy);
    add_statistics(fields, policy);
    add_people(fields, policy);
    fields.add("hash", policy.hash);
    return fields.lines();
}

}  // namespace canaryd::text
