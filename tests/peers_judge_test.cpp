// Other people's statistics against published numbers and against the figures worked out from
// their sources: Kayenta's judge, mSPRT and a confidence sequence.
#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/bench/evidence/peers/kayenta.hpp"
#include "tests/bench/evidence/peers/msprt.hpp"
#include "tests/bench/evidence/peers/robbins.hpp"
#include "tests/bench/evidence/traffic.hpp"
#include "tests/shares.hpp"
#include "tests/vectors.hpp"

using namespace canaryd::peers;
using namespace canaryd::vectors;
using canaryd::comparison::Random;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr int fortnight = 4032;  // looks of five minutes

std::vector<double> points_of(const std::string& text) {
    return text == "-" ? std::vector<double>{} : numbers(text);
}

const char* name_of(Label label) {
    switch (label) {
        case Label::pass:
            return "Pass";
        case Label::high:
            return "High";
        case Label::low:
            return "Low";
        case Label::no_data:
            return "Nodata";
        case Label::no_data_fails:
            return "NodataFail";
        case Label::error:
            return "Error";
    }
    return "";
}

/// Error percentages of points with 500 requests.
std::vector<double> percentages(Random& random, std::size_t points, double rate) {
    std::vector<double> values(points);
    for (double& value : values) value = static_cast<double>(random.poisson(500 * rate)) / 5;
    return values;
}

/// How many of `trials` judgements of a canary at `rate` against 1 % say High.
int seen_by_kayenta(std::size_t points, double rate, int trials) {
    KayentaMetric metric;
    metric.direction = Direction::increase;
    Random random(points);
    int seen = 0;
    for (int i = 0; i < trials; ++i) {
        const auto canary = percentages(random, points, rate);
        const auto baseline = percentages(random, points, 0.01);
        seen += classify(metric, canary, baseline).label == Label::high ? 1 : 0;
    }
    return seen;
}

}  // namespace

TEST_SUITE("peers") {
    // --- Kayenta --------------------------------------------------------------------------------

    TEST_CASE("vector mannwhitney: the class, the test and the interval") {
        for (const Row& row : rows_of("mannwhitney.csv")) {
            KayentaMetric metric;
            const std::string& direction = row.at("direction");
            metric.direction = direction == "increase"   ? Direction::increase
                               : direction == "decrease" ? Direction::decrease
                                                         : Direction::either;
            REQUIRE(number(row.at("conf")) == 0.98);
            REQUIRE(number(row.at("tolerance")) == kayenta_tolerance);
            const auto canary = points_of(row.at("canary"));
            const auto baseline = points_of(row.at("baseline"));
            check_same(std::string{name_of(classify(metric, canary, baseline).label)},
                       row.at("class"), row, "class");
            if (row.at("U") == "nan") continue;
            const MannWhitney test = mann_whitney(canary, baseline);
            check_close(test.u, number(row.at("U")), row, "U");
            check_close(test.z, number(row.at("z0")), row, "z");
            check_close(test.estimate, number(row.at("hl")), row, "estimate");
            check_close(test.lower, number(row.at("lower")), row, "lower");
            check_close(test.upper, number(row.at("upper")), row, "upper");
        }
    }

    TEST_CASE("Kayenta: its power at 500 requests a point against 1 %") {
        const auto of_20 = [](int seen) {
            return std::sqrt(0.05 + seen * (20 - seen) / 400.0) / 4.5;
        };
        canaryd::check_share(seen_by_kayenta(10, 0.015, 200), 200, 1 / 20.0, of_20(1));
        canaryd::check_share(seen_by_kayenta(10, 0.020, 200), 200, 17 / 20.0, of_20(17));
        canaryd::check_share(seen_by_kayenta(60, 0.013, 200), 200, 11 / 20.0, of_20(11));
        canaryd::check_share(seen_by_kayenta(60, 0.015, 200), 200, 19 / 20.0, of_20(19));
        CHECK(seen_by_kayenta(60, 0.010, 200) <= 4);
    }

    TEST_CASE("Kayenta: 0.3 % against 0.2 % in 60 points, and its solver is not modelled") {
        // Of 2,000 requests each. The solver would miss most of it in the last unit.
        std::vector<int> seen;
        for (const double unit : {100.0, 1.0, 0.01}) {
            Random random(60);
            const auto points = [&](double rate) {
                std::vector<double> values(60);
                for (double& value : values) {
                    value = unit * static_cast<double>(random.poisson(2000 * rate)) / 2000;
                }
                return values;
            };
            seen.push_back(0);
            for (int i = 0; i < 300; ++i) {
                const auto canary = points(0.003);
                const auto baseline = points(0.002);
                seen.back() += classify({}, canary, baseline).label == Label::high ? 1 : 0;
            }
        }
        canaryd::check_share(seen[0], 300, 28 / 30.0, std::sqrt(28 * 2 / 900.0 / 30));
        CHECK(seen[1] == seen[0]);
        CHECK(seen[2] == seen[0]);
    }

    TEST_CASE("Kayenta: a rise counts from the allowed ratio of means on") {
        const std::vector<double> baseline{1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9};
        std::vector<double> canary = baseline;
        for (double& value : canary) value *= 3;
        KayentaMetric metric;
        CHECK(classify(metric, canary, baseline).label == Label::high);
        metric.allowed_increase = 3.1;
        CHECK(classify(metric, canary, baseline).label == Label::pass);
        metric.allowed_increase = 2.9;
        CHECK(classify(metric, canary, baseline).label == Label::high);
        metric.critical = true;
        metric.critical_increase = 3.1;
        CHECK_FALSE(classify(metric, canary, baseline).critical);
        metric.critical_increase = 2.9;
        CHECK(classify(metric, canary, baseline).critical);
        // Without a mean there is no ratio, and the test is waived.
        metric.allowed_increase = 1000;
        CHECK(classify(metric, canary, std::vector<double>(10, 0.0)).label == Label::high);
        metric.direction = Direction::decrease;
        CHECK(classify(metric, canary, baseline).label == Label::pass);
        metric.allowed_decrease = 0.4;
        CHECK(classify(metric, baseline, canary).label == Label::low);
        metric.allowed_decrease = 0.3;
        CHECK(classify(metric, baseline, canary).label == Label::pass);
    }

    TEST_CASE("Kayenta: an outlier that is kept may hide a rise in the ratio of means") {
        std::vector<double> baseline(200);
        for (std::size_t i = 0; i < baseline.size(); ++i) {
            baseline[i] = 1 + 0.001 * static_cast<double>(i);
        }
        std::vector<double> canary = baseline;
        for (double& value : canary) value *= 2;
        baseline.back() = 100'000;
        KayentaMetric metric;
        CHECK(classify(metric, canary, baseline).label == Label::pass);
        metric.remove_outliers = true;
        CHECK(classify(metric, canary, baseline).label == Label::high);
    }

    TEST_CASE("Kayenta: no data, holes and outliers") {
        KayentaMetric metric;
        metric.critical = true;
        CHECK(classify(metric, {}, {1, 2}).label == Label::no_data);
        CHECK(classify(metric, {not_a_number, not_a_number}, {1, 2}).critical);
        metric.must_have_data = true;
        CHECK(classify(metric, {}, {1, 2}).label == Label::no_data);
        metric.critical = false;
        CHECK(classify(metric, {}, {1, 2}).label == Label::no_data_fails);
        metric.nan = NanStrategy::replace;
        CHECK(classify(metric, {}, {1, 2}).label == Label::pass);
        const std::vector<double> sorted{1, 2, 3, 4};
        CHECK(percentile(sorted, 0.25) == doctest::Approx(1.75));
        CHECK(percentile(sorted, 1) == doctest::Approx(4));
        CHECK(classify({}, {7, 7, 7}, {5, 5, 5}).label == Label::high);
        CHECK(classify({}, {6, 6, 6}, {5, 5, 5}).label == Label::pass);
    }

    TEST_CASE("Kayenta: all-zero legacy and a failing canary is High, where its solver passed it") {
        const std::vector<double> zeros(60, 0.0);
        std::vector<double> failing(60);
        for (std::size_t i = 0; i < failing.size(); ++i) {
            failing[i] = i % 3 == 0 ? 0.0 : 0.003 * static_cast<double>(i);
        }
        CHECK(classify({}, failing, zeros).label == Label::high);
    }

    TEST_CASE("Kayenta: the score") {
        const auto one = [](Label label, const char* group, bool critical = false) {
            return Judged{label, critical, group};
        };
        const Judged pass = one(Label::pass, "a");
        const Judged high = one(Label::high, "a");
        CHECK(kayenta_score({pass, high}, {}) == 50);
        CHECK(kayenta_score({pass, pass, one(Label::high, "b")}, {}) == 50);
        CHECK(kayenta_score({pass, pass, one(Label::high, "b")}, {{"a", 70}}) == 70);
        CHECK(kayenta_score({pass, pass, high}, {}) == 66.67);
        CHECK(kayenta_score({pass, one(Label::low, "a", true)}, {}) == 0);
        CHECK(kayenta_score({pass, one(Label::no_data, "a")}, {}) == 0);
        CHECK(kayenta_score({pass, pass, one(Label::no_data, "b")}, {}) == 100);
        CHECK(kayenta_score({pass, pass, one(Label::no_data_fails, "a")}, {}) == 66.67);
        CHECK_MESSAGE(kayenta_score({pass, pass, one(Label::error, "a")}, {}) == 100,
                      "a metric that could not be judged vanishes");
        CHECK_MESSAGE(kayenta_score({pass}, {{"a", 60}, {"b", 40}}) == 60,
                      "a group without a metric loses its weight");
        CHECK_MESSAGE(kayenta_score({one(Label::high, "a"), one(Label::high, "b")},
                                    {{"a", 80}, {"b", 80}}) == 0,
                      "weights above 100");
    }

    TEST_CASE("Kayenta: a score that is called marginal still stops, the last one promotes") {
        const KayentaThresholds thresholds{95, 75};
        CHECK(stops(75, thresholds));
        CHECK_FALSE(stops(75.01, thresholds));
        CHECK_FALSE(promotes(94.99, thresholds));
        CHECK(promotes(95, thresholds));
    }

    // --- Sequential tests -----------------------------------------------------------------------

    TEST_CASE("mSPRT: its ratio is the normal mixture's, integrated by hand") {
        const Count canary{2000, 30};
        const Count baseline{18'000, 90};
        const double tau = 0.01;
        const double v = 0.015 * 0.985 / 2000 + 0.005 * 0.995 / 18'000;
        const double difference = 0.01;
        double sum = 0;
        const double pace = 1e-5;
        for (double theta = -0.08; theta < 0.08; theta += pace) {
            sum += pace * std::exp(-theta * theta / (2 * tau * tau)) /
                   (tau * std::sqrt(2 * std::acos(-1.0))) *
                   std::exp((2 * difference * theta - theta * theta) / (2 * v));
        }
        CHECK(msprt_ln_ratio(canary, baseline, tau) ==
              doctest::Approx(std::log(sum)).epsilon(1e-6));
        CHECK(msprt_ln_ratio({10, 0}, {90, 0}, tau) == 0);
        CHECK(msprt_ln_ratio({0, 0}, {90, 1}, tau) == 0);
    }

    TEST_CASE("mSPRT: two equal sides differ in at most 5 of 100 fortnights") {
        for (const double tau : {0.0025, 0.01}) {
            int different = 0;
            for (std::uint64_t trial = 0; trial < 400; ++trial) {
                Random random(trial);
                Msprt test(tau, 0.05);
                bool out = false;
                for (int look = 0; look < fortnight && !out; ++look) {
                    out = test.look({300, random.poisson(1.5)}, {2700, random.poisson(13.5)});
                }
                different += out ? 1 : 0;
            }
            CHECK(different <= 20);
        }
    }

    TEST_CASE("mSPRT: a healthy past hides a late fault, a better canary is left alone") {
        const auto looks_until_seen = [](int healthy) {
            Random random(7);
            Msprt test(0.0025, 0.05);
            for (int look = 0; look < healthy; ++look) {
                REQUIRE_FALSE(test.look({300, random.poisson(1.5)}, {2700, random.poisson(13.5)}));
            }
            int looks = 1;
            while (!test.look({300, random.poisson(6)}, {2700, random.poisson(13.5)})) ++looks;
            return looks;
        };
        CHECK(looks_until_seen(1000) > 3 * looks_until_seen(0));
        Msprt better(0.01, 0.05);
        for (int look = 0; look < 1000; ++look) CHECK_FALSE(better.look({300, 0}, {2700, 27}));
        CHECK_MESSAGE(!better.look({3000, 3000}, {0, 0}), "nobody to compare with");
    }

    TEST_CASE("vector cs_betabinomial: the confidence sequence of a rate") {
        for (const Row& row : rows_of("cs_betabinomial.csv")) {
            const Beta prior{number(row.at("a")), number(row.at("b"))};
            const std::int64_t n = whole(row.at("n"));
            const std::int64_t k = whole(row.at("k"));
            // 1e-6 where terms near 2e10 cancel, as the vectors' own README asks.
            const double tolerance = n >= 100'000'000 ? 1e-6 : 1e-9;
            const auto close = [&](double got, double want, const char* what) {
                CHECK_MESSAGE(std::abs(got - want) <= tolerance * std::max(1.0, std::abs(want)),
                              "row ", row.at("id"), ": ", what, " is ", got, ", not ", want);
            };
            close(robbins_ln_ratio(n, k, 0.01, prior), number(row.at("log_m_at_p0.01")), "ln M");
            const Interval interval = robbins_interval(n, k, number(row.at("alpha")), prior);
            close(interval.lower, number(row.at("lower")), "lower");
            close(interval.upper, number(row.at("upper")), "upper");
        }
    }

    TEST_CASE("a confidence sequence acts when all of it lies above the limit") {
        Robbins rule(0.01, 0.05);
        CHECK_FALSE(rule.look({1000, 10}));
        CHECK_FALSE(rule.look({1000, 0}));
        CHECK(rule.look({1000, 100}));
    }
}
