#include "daemon/policy_rules.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace canaryd {
namespace {

using namespace std::chrono_literals;

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

std::optional<int> percentile_of(std::string_view metric) {
    constexpr std::string_view front = "latency_p";
    if (!metric.starts_with(front) || metric.size() != front.size() + 2) return std::nullopt;
    const char tens = metric[front.size()];
    const char ones = metric[front.size() + 1];
    if (!is_digit(tens) || !is_digit(ones)) return std::nullopt;
    const int percentile = (tens - '0') * 10 + (ones - '0');
    return percentile >= 50 ? std::optional(percentile) : std::nullopt;
}

void refuse_side(Fields& fields, const std::string& side, const std::string& mend) {
    fields.problem(side, as_written(side + " " + fields.raw(side)) +
                             " is no limit for a criterion, which says what is healthy; write `" +
                             mend + "`, or make this a trigger");
}

/// The share of failed or slow requests in a healthy service, from the operator's side of it.
std::optional<Share> healthy_limit(Fields& fields, const Metric& metric, const std::string& side) {
    const bool success = metric.kind == Metric::Kind::succeeded;
    if (side != (success ? "above" : "below")) {
        refuse_side(fields, side, success ? "above: 99%" : "below: 1%");
        return std::nullopt;
    }
    const auto share = fields.share(side);
    if (!share) return std::nullopt;
    const Share limit = success ? share->rest() : *share;
    if (limit.billionths <= 0) {
        fields.problem(side, fields.written(side) +
                                 " can never hold, for a single failure breaks "
                                 "it; write one like " +
                                 (success ? "99%" : "1%"));
    } else if (limit.billionths >= Share::whole) {
        fields.problem(side, fields.written(side) + " can never fail; write one like " +
                                 (success ? "99%" : "1%"));
    } else {
        return limit;
    }
    return std::nullopt;
}

/// "x1.2 + 0.1pp", "x2", "0.2pp": how much worse than the baseline is fine.
std::optional<Margin> margin_of(std::string_view text) {
    Margin margin;
    const std::size_t plus = text.find(" + ");
    const bool both = plus != std::string_view::npos;
    const std::string_view first = text.substr(0, both ? plus : text.size());
    const std::string_view second = both ? text.substr(plus + 3) : text;
    if (both || text.starts_with("x")) {
        const auto times = first.starts_with("x") ? read_number(first.substr(1)) : Read<double>{};
        if (!times.value || *times.value < 1 || *times.value > 100) return std::nullopt;
        margin.times = *times.value;
    }
    if (both || !text.starts_with("x")) {
        if (!second.ends_with("pp")) return std::nullopt;
        const auto points = read_share(std::string(second.substr(0, second.size() - 2)) + "%");
        if (!points.value || points.value->billionths >= Share::whole) return std::nullopt;
        margin.plus = points.value->value();
    }
    return margin;
}

/// The tight margin holds; one that rolls back should be wide (analysis 3).
Margin default_margin(const Metric& metric) {
    return {1.2, metric.kind == Metric::Kind::slower ? 0.005 : 0.001};
}

/// `no_worse_than: baseline`, its margin, and for a latency what slow means: its own limit.
bool read_comparison(Fields& fields, Criterion& criterion, const Metric& metric,
                     const Policy& policy, const std::vector<Criterion>& limits) {
    criterion.no_worse_than = default_margin(metric);
    criterion.then = Action::hold;
    const auto than = fields.word("no_worse_than", {"baseline"});
    for (const std::string_view side : {"above", "below"}) {
        if (fields.has(side)) {
            fields.problem(side, "stands beside no_worse_than; make it a criterion of its own");
        }
    }
    if (policy.baseline.empty()) {
        fields.problem("no_worse_than",
                       "there is no baseline to compare with; add `baseline`, or "
                       "remove this");
    }
    if (const auto text = fields.text("margin")) {
        const auto margin = margin_of(*text);
        if (!margin) {
            fields.problem("margin", as_written(*text) +
                                         " is no margin; write how many times the baseline's share "
                                         "and how many points more are fine, like x1.2 + 0.1pp");
        } else {
            criterion.no_worse_than = margin;
        }
    }
    if (metric.kind != Metric::Kind::slower) return than.has_value();
    const auto same = std::find_if(limits.begin(), limits.end(), [&](const Criterion& limit) {
        return limit.metric == criterion.metric;
    });
    if (same == limits.end()) {
        fields.problem("metric", as_written(criterion.metric) +
                                     " has no limit here, so that nothing says what slow is; add "
                                     "`{metric: " +
                                     criterion.metric + ", below: 2s}`");
        return false;
    }
    criterion.signal = same->signal;
    return than.has_value();
}

/// "2 per hour", "12 per day": so many events an hour.
std::optional<double> per_hour(std::string_view text) {
    for (const auto& [unit, hours] : {std::pair<std::string_view, double>{" per hour", 1},
                                      std::pair<std::string_view, double>{" per day", 24}}) {
        if (!text.ends_with(unit)) continue;
        const auto number = read_number(text.substr(0, text.size() - unit.size()));
        if (!number.value || !(*number.value > 0) || *number.value > 1e6) return std::nullopt;
        return *number.value / hours;
    }
    return std::nullopt;
}

/// What a query of `metrics` counts: a limit on how often it may happen, or on its share.
bool read_count(Fields& fields, Criterion& criterion, const Metric& metric,
                const std::string& side) {
    constexpr const char* mend = "below: 2 per hour";
    if (side == "above") {
        refuse_side(fields, side, mend);
        return false;
    }
    criterion.signal = {Signal::Kind::counted, Duration{0}, criterion.metric, Per::hour};
    const std::string raw = fields.raw(side);
    if (raw.ends_with("%")) {
        criterion.signal.per = Per::cluster;
        const auto share = healthy_limit(fields, metric, side);
        if (share) criterion.limit = share->value();
        return share.has_value();
    }
    const auto text = fields.text(side);
    if (!text) return false;
    const auto limit = per_hour(*text);
    if (!limit) {
        fields.problem(side, as_written(*text) +
                                 " is no limit for what a query counts; write how often it may "
                                 "happen, like `below: 2 per hour` or `below: 12 per day`, or "
                                 "`below: 1%` for a query that gives a sum of shares and how many "
                                 "they are");
        return false;
    }
    criterion.limit = *limit;
    return true;
}

/// `above` or `below`: the highest healthy share.
bool read_limit(Fields& fields, Criterion& criterion, const Metric& metric,
                const std::string& side) {
    if (metric.kind == Metric::Kind::number) return read_count(fields, criterion, metric, side);
    if (metric.kind != Metric::Kind::slower) {
        const auto limit = healthy_limit(fields, metric, side);
        if (limit) criterion.limit = limit->value();
        return limit.has_value();
    }
    if (side == "above") {
        refuse_side(fields, side, "below: 2s");
        return false;
    }
    const auto than = fields.duration(side, {.min = 1ms, .unit = "s"});
    if (!than) return false;
    criterion.signal = {Signal::Kind::slower, *than};
    criterion.limit = metric.slow.value();
    return true;
}

std::optional<Criterion> read_criterion(Fields& fields, const Policy& policy,
                                        const std::vector<Criterion>& limits) {
    Criterion criterion;
    fields.known({"name", "metric", "below", "above", "no_worse_than", "margin", "then"});
    fields.require({"metric"});
    const auto word = fields.text("metric");
    const bool relative = fields.has("no_worse_than");
    const std::string side = relative ? std::string{} : side_of(fields);
    const auto then = fields.word("then", {"rollback", "hold"});
    if (!relative && fields.has("margin")) {
        fields.problem("margin", "goes with no_worse_than; remove it");
    }
    fields.done();
    if (!word) return std::nullopt;
    criterion.metric = *word;
    const auto metric = metric_named(fields, *word, policy);
    if (!metric) return std::nullopt;
    if (metric->kind == Metric::Kind::traffic || metric->kind == Metric::Kind::off_weight) {
        fields.problem("metric", as_written(*word) + " cannot be proven; make it a trigger");
        return std::nullopt;
    }
    if (relative && metric->kind == Metric::Kind::number) {
        fields.problem("no_worse_than",
                       "the query counts the canary's alone; write a limit, like "
                       "`below: 2 per hour`");
        return std::nullopt;
    }
    if (relative) {
        if (!read_comparison(fields, criterion, *metric, policy, limits)) return std::nullopt;
    } else if (side.empty() || !read_limit(fields, criterion, *metric, side)) {
        return std::nullopt;
    }
    if (then) criterion.then = *then == "hold" ? Action::hold : Action::rollback;
    return criterion;
}

/// What the file's latency limits call slow, whether they are right otherwise or not.
std::vector<Criterion> latency_limits(const std::vector<Fields>& entries) {
    std::vector<Criterion> limits;
    for (const Fields& entry : entries) {
        const auto metric = built_in(entry.raw("metric"));
        if (!metric || metric->kind != Metric::Kind::slower || entry.has("no_worse_than")) continue;
        Criterion limit;
        limit.metric = entry.raw("metric");
        limit.signal.kind = Signal::Kind::slower;
        assign(limit.signal.than, read_duration(entry.raw("below"), "s").value);
        limits.push_back(limit);
    }
    return limits;
}

/// A built-in one, or one of the file's queries.
std::optional<Metric> metric_of(std::string_view word, const Policy& policy) {
    if (const auto known = built_in(word)) return known;
    const bool number = std::any_of(policy.metrics.begin(), policy.metrics.end(),
                                    [&](const NumberQuery& query) { return query.name == word; });
    return number ? std::optional(Metric{}) : std::nullopt;
}

/// Notes why `metric` is none.
void refuse_metric(Fields& fields, const std::string& metric, const Policy& policy) {
    if (is_later_metric(metric)) {
        return fields.problem("metric", as_written(metric) + " is not supported yet; remove this");
    }
    if (metric.starts_with("latency_p")) {
        return fields.problem("metric", as_written(metric) +
                                            " is no percentile here; write latency_p50 to "
                                            "latency_p99, for example latency_p95");
    }
    std::vector<std::string> words{"error_rate", "success_rate", "latency_p95", "traffic"};
    for (const NumberQuery& query : policy.metrics) words.push_back(query.name);
    const std::string near = nearest(metric, words);
    fields.problem("metric", as_written(metric) + " is not a metric; " +
                                 (near.empty() ? "metrics are error_rate, success_rate, "
                                                 "latency_p95, traffic, or one defined by a query "
                                                 "under metrics"
                                               : "did you mean \"" + near + "\"?"));
}

}  // namespace

std::optional<Metric> built_in(std::string_view metric) {
    if (metric == "error_rate") return Metric{Metric::Kind::failed, {}};
    if (metric == "success_rate") return Metric{Metric::Kind::succeeded, {}};
    if (metric == "traffic") return Metric{Metric::Kind::traffic, {}};
    if (metric == "user_share") return Metric{Metric::Kind::off_weight, {}};
    if (const auto percentile = percentile_of(metric)) {
        return Metric{Metric::Kind::slower, Share{(100 - *percentile) * (Share::whole / 100)}};
    }
    return std::nullopt;
}

bool is_later_metric(std::string_view metric) {
    return metric == "complaints" || metric == "critical_complaints";
}

std::optional<Metric> metric_named(Fields& fields, const std::string& word, const Policy& policy) {
    const auto metric = metric_of(word, policy);
    if (!metric) refuse_metric(fields, word, policy);
    return metric;
}

std::string side_of(Fields& fields) {
    const bool above = fields.has("above");
    const bool below = fields.has("below");
    if (above && below) {
        fields.problem("below", "stands beside above; write one of the two");
    } else if (!above && !below) {
        fields.problem("has neither above nor below; write one, for example `below: 1%`");
    } else {
        return above ? "above" : "below";
    }
    return {};
}

bool is_label(std::string_view text) {
    const auto fits = [](char c) { return is_letter(c) || is_digit(c); };
    return !text.empty() && fits(text.front()) &&
           std::all_of(text.begin(), text.end(), [&](char c) {
               return fits(c) || c == '-' || c == '_' || c == '.' || c == '+';
           });
}

bool is_identifier(std::string_view text) {
    return !text.empty() && !is_digit(text.front()) &&
           std::all_of(text.begin(), text.end(),
                       [](char c) { return is_letter(c) || is_digit(c) || c == '_'; });
}

std::vector<std::string> names_for(std::vector<Fields>& entries,
                                   const std::vector<std::string>& given,
                                   const std::vector<std::string>& defaults) {
    std::set<std::string> taken;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (given[i].empty() || taken.insert(given[i]).second) continue;
        entries[i].problem("name", as_written(given[i]) +
                                       " is taken by an entry above; write "
                                       "another name");
    }
    std::vector<std::string> names = given;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (!names[i].empty()) continue;
        names[i] = defaults[i];
        for (int n = 2; !taken.insert(names[i]).second; ++n) {
            names[i] = defaults[i] + "-" + std::to_string(n);
        }
    }
    return names;
}

std::vector<Criterion> read_criteria(Fields& fields, const Policy& policy) {
    constexpr std::string_view mend =
        "so that nothing could be proven; write at least `- {metric: error_rate, below: 1%}`";
    auto entries = fields.mappings("criteria", "has no criteria, " + std::string(mend));
    const bool none_on_requests =
        !entries.empty() && std::all_of(entries.begin(), entries.end(), [&](const Fields& entry) {
            const auto metric = metric_of(entry.raw("metric"), policy);
            return entry.has("no_worse_than") || (metric && metric->kind == Metric::Kind::number);
        });
    if (none_on_requests)
        fields.problem("criteria", "has no limit on requests, " + std::string(mend));
    const std::vector<Criterion> limits = latency_limits(entries);
    std::map<std::string, Per> queries;
    return read_rules<Criterion>(std::move(entries), [&](Fields& entry) {
        auto criterion = read_criterion(entry, policy, limits);
        if (criterion && criterion->signal.kind == Signal::Kind::counted &&
            queries.emplace(criterion->metric, criterion->signal.per).first->second !=
                criterion->signal.per) {
            entry.problem("metric", as_written(criterion->metric) +
                                        " is limited in time by one criterion and as a share by "
                                        "another; a query gives one number or two: write another "
                                        "one for this");
        }
        return criterion;
    });
}

}  // namespace canaryd
