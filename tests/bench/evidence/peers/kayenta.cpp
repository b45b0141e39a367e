#include "tests/bench/evidence/peers/kayenta.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <set>

namespace canaryd::peers {

namespace {

using Values = std::vector<double>;

/// Sum of t^3 - t over groups of equal values.
double ties_of(const Values& sorted) {
    double sum = 0;
    for (auto from = sorted.begin(); from != sorted.end();) {
        const auto to = std::upper_bound(from, sorted.end(), *from);
        const auto size = static_cast<double>(to - from);
        sum += size * size * size - size;
        from = to;
    }
    return sum;
}

double spread_of(std::size_t n, std::size_t m, double ties) {
    const auto pairs = static_cast<double>(n * m);
    const auto all = static_cast<double>(n + m);
    return std::sqrt(pairs / 12 * (all + 1 - ties / (all * (all - 1))));
}

Values sorted(Values values) {
    std::sort(values.begin(), values.end());
    return values;
}

/// How many differences must lie above a shift that is refused from below. Between two
/// differences only ties within a side exist, so that the spread is the same everywhere.
std::size_t needed_above(const Values& canary, const Values& baseline) {
    const std::size_t pairs = canary.size() * baseline.size();
    const double spread =
        spread_of(canary.size(), baseline.size(), ties_of(canary) + ties_of(baseline));
    const double bound = static_cast<double>(pairs) / 2 + 0.5 + kayenta_z * spread;
    return static_cast<std::size_t>(std::floor(bound)) + 1;
}

/// Pairs of sorted values with a > b.
std::size_t pairs_above(const Values& a, const Values& b) {
    std::size_t count = 0;
    std::size_t below = 0;
    for (const double value : a) {
        while (below < b.size() && b[below] < value) ++below;
        count += below;
    }
    return count;
}

Values differences(const Values& canary, const Values& baseline) {
    Values all;
    all.reserve(canary.size() * baseline.size());
    for (const double x : canary) {
        for (const double y : baseline) all.push_back(x - y);
    }
    return all;
}

double at_rank(Values& values, std::size_t rank) {
    const auto place = values.begin() + static_cast<std::ptrdiff_t>(rank);
    std::nth_element(values.begin(), place, values.end());
    return *place;
}

double median(Values values) {
    const std::size_t half = values.size() / 2;
    const double high = at_rank(values, half);
    if (values.size() % 2 == 1) return high;
    const double low =
        *std::max_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(half));
    return (low + high) / 2;
}

double mean(const Values& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Values usable(const KayentaMetric& metric, Values values) {
    if (metric.nan == NanStrategy::replace) {
        std::replace_if(
            values.begin(), values.end(), [](double v) { return std::isnan(v); }, 0.0);
    }
    values.erase(
        std::remove_if(values.begin(), values.end(), [](double v) { return std::isnan(v); }),
        values.end());
    values = sorted(std::move(values));
    if (metric.remove_outliers && !values.empty()) {
        const double q1 = percentile(values, 0.25);
        const double q3 = percentile(values, 0.75);
        const double low = std::min(percentile(values, 0.01), q1 - 3 * (q3 - q1));
        const double high = std::max(percentile(values, 0.99), q3 + 3 * (q3 - q1));
        values.erase(std::remove_if(values.begin(), values.end(),
                                    [&](double v) { return v < low || v > high; }),
                     values.end());
    }
    return values;
}

struct Shift {
    bool high = false;
    bool low = false;
};

/// Both sides sorted, not both constant.
Shift shift_of(const KayentaMetric& metric, const Values& canary, const Values& baseline) {
    const bool up = metric.direction != Direction::decrease;
    const bool down = metric.direction != Direction::increase;
    const std::size_t needed = needed_above(canary, baseline);
    // A limit on the wrong side of 0 cannot pass the tolerance: the differences are not needed.
    const bool above = up && pairs_above(canary, baseline) >= needed;
    const bool below = down && pairs_above(baseline, canary) >= needed;
    if (!above && !below) return {};
    const MannWhitney test = mann_whitney(canary, baseline);
    const double tolerance = kayenta_tolerance * std::abs(test.estimate);
    return {above && test.lower > tolerance, below && test.upper < -tolerance};
}

Shift shift_of_constants(const KayentaMetric& metric, double canary, double baseline) {
    const double difference = canary - baseline;
    const bool large = std::abs(difference) > kayenta_tolerance * std::abs(baseline);
    return {large && difference > 0 && metric.direction != Direction::decrease,
            large && difference < 0 && metric.direction != Direction::increase};
}

/// nullopt where a mean is 0: then the effect is not asked for.
std::optional<double> ratio_of_means(const Values& canary, const Values& baseline) {
    const double x = mean(canary);
    const double y = mean(baseline);
    if (x == 0 || y == 0) return std::nullopt;
    return x / y;
}

}  // namespace

double percentile(const Values& values, double p) {
    const double at = p * static_cast<double>(values.size() - 1);
    const auto low = static_cast<std::size_t>(at);
    const std::size_t high = std::min(low + 1, values.size() - 1);
    return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

MannWhitney mann_whitney(const Values& canary, const Values& baseline) {
    const Values x = sorted(canary);
    const Values y = sorted(baseline);
    Values both = x;
    both.insert(both.end(), y.begin(), y.end());
    std::sort(both.begin(), both.end());
    const auto pairs = static_cast<double>(x.size() * y.size());
    const auto above = static_cast<double>(pairs_above(x, y));
    const auto below = static_cast<double>(pairs_above(y, x));

    MannWhitney result;
    result.u = above + (pairs - above - below) / 2;
    const double off = result.u - pairs / 2;
    const double correction = off > 0 ? 0.5 : off < 0 ? -0.5 : 0.0;
    const double spread = spread_of(x.size(), y.size(), ties_of(both));
    result.z = (off - correction) / spread;

    Values all = differences(x, y);
    const std::size_t needed = std::min(needed_above(x, y), all.size());
    result.estimate = median(all);
    result.lower = at_rank(all, all.size() - needed);
    result.upper = at_rank(all, needed - 1);
    return result;
}

Judged classify(const KayentaMetric& metric, Values canary, Values baseline) {
    canary = usable(metric, std::move(canary));
    baseline = usable(metric, std::move(baseline));
    Judged judged{Label::pass, false, metric.group};
    if (canary.empty() || baseline.empty()) {
        if (metric.nan == NanStrategy::replace) return judged;
        judged.critical = metric.critical;
        judged.label =
            metric.must_have_data && !metric.critical ? Label::no_data_fails : Label::no_data;
        return judged;
    }
    const bool constant = canary.front() == canary.back() && baseline.front() == baseline.back();
    if (canary == baseline || (constant && canary.front() == baseline.front())) return judged;

    const Shift shift = constant ? shift_of_constants(metric, canary.front(), baseline.front())
                                 : shift_of(metric, canary, baseline);
    const std::optional<double> ratio = ratio_of_means(canary, baseline);
    if (shift.high && (!ratio || *ratio >= metric.allowed_increase)) {
        judged.label = Label::high;
        judged.critical = metric.critical && (!ratio || *ratio >= metric.critical_increase);
    } else if (shift.low && (!ratio || *ratio <= metric.allowed_decrease)) {
        judged.label = Label::low;
        judged.critical = metric.critical && (!ratio || *ratio <= metric.critical_decrease);
    }
    return judged;
}

double kayenta_score(const std::vector<Judged>& metrics, const std::vector<GroupWeight>& weights) {
    struct Group {
        double passed = 0, counted = 0;
    };
    std::map<std::string, Group> groups;
    std::size_t without_data = 0;
    bool critical = false;
    for (const Judged& metric : metrics) {
        Group& group = groups[metric.group];
        const bool none = metric.label == Label::no_data || metric.label == Label::no_data_fails;
        without_data += none ? 1 : 0;
        critical = critical || (metric.critical && metric.label != Label::pass);
        if (metric.label == Label::no_data || metric.label == Label::error) continue;
        group.counted += 1;
        group.passed += metric.label == Label::pass ? 1 : 0;
    }
    if (critical || 2 * without_data >= metrics.size()) return 0;
    double given = 0;
    std::set<std::string> named;
    for (const GroupWeight& weight : weights) {
        given += weight.weight;
        named.insert(weight.group);
    }
    const auto unnamed = std::count_if(groups.begin(), groups.end(), [&](const auto& group) {
        return named.count(group.first) == 0;
    });
    double score = 0;
    for (const auto& [name, group] : groups) {
        const double own = group.counted > 0 ? 100 * group.passed / group.counted : 100;
        double weight = (100 - given) / static_cast<double>(std::max<std::ptrdiff_t>(unnamed, 1));
        for (const GroupWeight& one : weights) {
            if (one.group == name) weight = one.weight;
        }
        score += own * weight / 100;
    }
    return std::round(score * 100) / 100;
}

}  // namespace canaryd::peers
