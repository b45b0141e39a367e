// The rules of a policy file: criteria, numbers from queries, triggers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "canaryd/policy.hpp"
#include "daemon/fields.hpp"

namespace canaryd {

/// A name that people type: letters, digits, '-', '_', '.' and '+'.
bool is_label(std::string_view text);
inline constexpr TextRule label_rule{
    is_label,
    "is no name; write letters, digits, '-', '_', '.' or '+', beginning with a letter "
    "or digit",
    63};
/// A table or column, as it can stand in SQL without quotes.
bool is_identifier(std::string_view text);
inline constexpr TextRule identifier_rule{
    is_identifier, "is no plain SQL name; write letters, digits and '_'", 63};

/// What an operator's word measures; a number is what a query gives.
struct Metric {
    enum class Kind { failed, succeeded, slower, traffic, off_weight, number };
    Kind kind = Kind::number;
    Share slow;  // slower: the share of requests that may be above the quantile
};

std::optional<Metric> built_in(std::string_view metric);
/// Words of later work, refused by name.
bool is_later_metric(std::string_view metric);
/// A built-in one, or one of the file's queries; notes why it is neither.
std::optional<Metric> metric_named(Fields& fields, const std::string& word, const Policy& policy);
/// Exactly one of "above" and "below"; empty when that is a problem.
std::string side_of(Fields& fields);

/// Refuses a name that was given twice, and gives the nameless theirs: the metric, then metric-2.
/// `given[i]` is empty where the file has no name.
std::vector<std::string> names_for(std::vector<Fields>& entries,
                                   const std::vector<std::string>& given,
                                   const std::vector<std::string>& defaults);

/// Reads a list of rules and names them.
template <class Rule, class ReadOne>
std::vector<Rule> read_rules(std::vector<Fields> entries, ReadOne read_one) {
    std::vector<Rule> rules;
    std::vector<std::string> given, metrics;
    for (Fields& entry : entries) {
        given.push_back(entry.text("name", label_rule).value_or(""));
        const auto rule = read_one(entry);
        metrics.push_back(rule ? rule->metric : "?");
        if (rule) rules.push_back(*rule);
    }
    const auto names = names_for(entries, given, metrics);
    if (rules.size() < entries.size()) return rules;  // there are problems: names do not matter
    for (std::size_t i = 0; i < rules.size(); ++i) rules[i].name = names[i];
    return rules;
}

/// After the baseline, which some compare with, and metrics, which some limit.
std::vector<Criterion> read_criteria(Fields& fields, const Policy& policy);
std::vector<NumberQuery> read_metrics(Fields& fields);
/// `source.query`: one SELECT in place of a table, without parameters.
std::string read_source_query(Fields& fields);
/// After metrics, segments and evaluate_every, which a trigger refers to.
std::vector<Trigger> read_triggers(Fields& fields, const Policy& policy);

}  // namespace canaryd
