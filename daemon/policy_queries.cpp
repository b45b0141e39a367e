// The SQL of a policy file: numbers from queries, and a query in a table's place.
#include <algorithm>
#include <set>

#include "daemon/policy_rules.hpp"

namespace canaryd {
namespace {

bool is_metric_name(std::string_view text) {
    return !text.empty() && text.front() >= 'a' && text.front() <= 'z' &&
           std::all_of(text.begin(), text.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
           });
}

/// The number of a "$1" at `at`, 0 when there is none.
int parameter_at(std::string_view query, std::size_t at) {
    int number = 0;
    for (std::size_t i = at + 1;
         i < query.size() && query[i] >= '0' && query[i] <= '9' && number < 100; ++i) {
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
