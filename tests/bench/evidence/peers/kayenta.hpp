// Kayenta's judge (NetflixACAJudge, MannWhitneyClassifier, WeightedSumScorer at a69573be): two
// windows of points, one Mann-Whitney interval a metric, one score.
//
// The interval's ends are found exactly, as order statistics of the pairwise differences (analysis
// 11). Not modelled, and so in Kayenta's favour: its solver stops within 1e-4 of them, in the unit
// of the metric, whatever that is. Where rates are written as tiny numbers it misses rises that
// this model reports: 8 of 30 in place of 28, for the same series divided by 100, and "Pass" for a
// canary that fails beside a legacy without an error (spinnaker#5622). Two constant sides are
// compared as they are, where Kayenta adds a little noise. Fetching, its retries and the windows of
// a lifetime are not here.
#pragma once

#include <string>
#include <vector>

namespace canaryd::peers {

enum class Direction { increase, decrease, either };
enum class NanStrategy { remove, replace };  // replace: by 0
enum class Label { pass, high, low, no_data, no_data_fails, error };

struct KayentaMetric {
    Direction direction = Direction::either;
    NanStrategy nan = NanStrategy::remove;
    bool remove_outliers = false;
    bool critical = false;
    bool must_have_data = false;
    double allowed_increase = 1.0;  // of the ratio of means
    double allowed_decrease = 1.0;
    double critical_increase = 1.0;
    double critical_decrease = 1.0;
    std::string group = "all";
};

/// What the test says of canary minus baseline.
struct MannWhitney {
    double u = 0;         // pairs in which the canary is higher, ties a half
    double z = 0;         // of u, with corrections for ties and continuity
    double estimate = 0;  // Hodges and Lehmann: the median of the differences
    double lower = 0, upper = 0;
};
inline constexpr double kayenta_tolerance = 0.25;
inline constexpr double kayenta_z = 2.3263478740408408;  // 98 % of both sides
/// Both sides must have a point.
MannWhitney mann_whitney(const std::vector<double>& canary, const std::vector<double>& baseline);

struct Judged {
    Label label = Label::error;
    bool critical = false;
    std::string group;
};
/// One metric, first rule that fits: no data, the same values, one value, the interval.
Judged classify(const KayentaMetric& metric, std::vector<double> canary,
                std::vector<double> baseline);

struct GroupWeight {
    std::string group;
    double weight = 0;
};
/// 0 to 100, two digits. Groups without a weight share what the others leave; a group that had
/// nothing to count is worth 100. Any critical metric that did not pass, or no data for half of
/// the metrics, is 0.
double kayenta_score(const std::vector<Judged>& metrics, const std::vector<GroupWeight>& weights);

struct KayentaThresholds {
    double pass = 95;
    double marginal = 75;
};
/// A live judgement ends the canary at a score that is still called marginal.
inline bool stops(double score, const KayentaThresholds& thresholds) {
    return score <= thresholds.marginal;
}
/// The final verdict is the last score's alone.
inline bool promotes(double last_score, const KayentaThresholds& thresholds) {
    return !stops(last_score, thresholds) && last_score >= thresholds.pass;
}

/// Share `p` of sorted values by linear interpolation (R's type 7).
double percentile(const std::vector<double>& sorted, double p);

}  // namespace canaryd::peers
