#include "daemon/policy_rules.hpp"

#include <algorithm>
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

std::optional<Criterion> read_criterion(Fields& fields) {
    Criterion criterion;
    fields.known({"name", "metric", "below", "above"});
    fields.later({"no_worse_than", "margin", "then"});
    fields.require({"metric"});
    const auto word = fields.text("metric");
    const bool relative = fields.has("no_worse_than");
    const std::string side = relative ? std::string{} : side_of(fields);
    fields.done();
    if (!word) return std::nullopt;
    criterion.metric = *word;
    const auto metric = built_in(*word);
    if (!metric) {
        refuse_metric(fields, *word, {});
        return std::nullopt;
    }
    if (metric->kind == Metric::Kind::traffic || metric->kind == Metric::Kind::off_weight) {
        fields.problem("metric", as_written(*word) + " cannot be proven; make it a trigger");
        return std::nullopt;
    }
    if (side.empty()) return std::nullopt;
    if (metric->kind != Metric::Kind::slower) {
        const auto limit = healthy_limit(fields, *metric, side);
        if (!limit) return std::nullopt;
        criterion.limit = limit->value();
        return criterion;
    }
    if (side == "above") {
        refuse_side(fields, side, "below: 2s");
        return std::nullopt;
    }
    const auto than = fields.duration(side, {.min = 1ms, .unit = "s"});
    if (!than) return std::nullopt;
    criterion.signal = {Signal::Kind::slower, *than};
    criterion.limit = metric->slow.value();
    return criterion;
}

bool is_metric_name(std::string_view text) {
    return !text.empty() && text.front() >= 'a' && text.front() <= 'z' &&
           std::all_of(text.begin(), text.end(),
                       [](char c) { return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_'; });
}

/// The number of a "$1" at `at`, 0 when there is none.
int parameter_at(std::string_view query, std::size_t at) {
    int number = 0;
    for (std::size_t i = at + 1; i < query.size() && is_digit(query[i]) && number < 100; ++i) {
        number = number * 10 + (query[i] - '0');
    }
    return number;
}

/// One statement that reads.
void check_select(Fields& fields, const std::string& query) {
    std::string begin;
    for (const char c : query.substr(0, query.find_first_of(" \n\t("))) {
        begin += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    if (begin != "select" && begin != "with") {
        fields.problem("query", as_written(query) +
                                    " does not begin with select or with; write "
                                    "one query that reads");
    }
    if (query.find(';') != std::string::npos) {
        fields.problem("query", as_written(query) + " has a ';' in it; write one query, without");
    }
}

void check_query(Fields& fields, const std::string& query) {
    check_select(fields, query);
    std::set<int> parameters;
    for (std::size_t i = 0; i < query.size(); ++i) {
        if (query[i] == '$') parameters.insert(parameter_at(query, i));
    }
    parameters.erase(0);
    if (parameters != std::set<int>{1, 2}) {
        fields.problem("query", as_written(query) +
                                    " must use $1 and $2, begin and end of the "
                                    "time it counts, and no other; write `… "
                                    "created_at >= $1 and created_at < $2`");
    }
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

void refuse_metric(Fields& fields, const std::string& metric,
                   const std::vector<std::string>& numbers) {
    if (is_later_metric(metric)) {
        return fields.problem("metric", as_written(metric) + " is not supported yet; remove this");
    }
    if (metric.starts_with("latency_p")) {
        return fields.problem("metric", as_written(metric) +
                                            " is no percentile here; write latency_p50 to "
                                            "latency_p99, for example latency_p95");
    }
    std::vector<std::string> words{"error_rate", "success_rate", "latency_p95", "traffic"};
    words.insert(words.end(), numbers.begin(), numbers.end());
    const std::string near = nearest(metric, words);
    fields.problem("metric", as_written(metric) + " is not a metric; " +
                                 (near.empty() ? "metrics are error_rate, success_rate, "
                                                 "latency_p95, traffic, or one defined by a query "
                                                 "under metrics"
                                               : "did you mean \"" + near + "\"?"));
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

std::vector<Criterion> read_criteria(Fields& fields) {
    return read_rules<Criterion>(
        fields.mappings("criteria",
                        "has no criteria, so that nothing could be proven; write at least "
                        "`- {metric: error_rate, below: 1%}`"),
        read_criterion);
}

std::vector<NumberQuery> read_metrics(Fields& fields) {
    const TextRule name_rule{is_metric_name,
                             "is no metric's name; write lower-case letters, digits and '_'", 63};
    std::vector<NumberQuery> metrics;
    for (auto& [name, entry] : fields.named("metrics", name_rule)) {
        entry.require({"query"});
        const auto query = entry.text("query", {.longest = 10'000, .lines = true});
        entry.done();
        if (query) check_query(entry, *query);
        if (built_in(name.value) || is_later_metric(name.value) ||
            name.value.starts_with("latency_p")) {
            entry.problem("\"" + name.value + "\" is built in; write another name");
        }
        metrics.push_back({name.value, query.value_or("")});
    }
    return metrics;
}

std::string read_source_query(Fields& fields) {
    const auto query = fields.text("query", {.longest = 10'000, .lines = true});
    if (!query) return {};
    check_select(fields, *query);
    for (std::size_t i = 0; i < query->size(); ++i) {
        if ((*query)[i] != '$' || parameter_at(*query, i) == 0) continue;
        fields.problem("query", as_written(*query) +
                                    " has a parameter; write one without: what it gives is asked "
                                    "for by time and id around it");
        break;
    }
    return *query;
}

}  // namespace canaryd
