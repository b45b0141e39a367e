// The statistics against numbers that other programs worked out with 60 digits.
#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "canaryd/analysis.hpp"
#include "canaryd/dedup.hpp"
#include "canaryd/evidence.hpp"
#include "canaryd/other_counts.hpp"
#include "tests/vectors.hpp"

using namespace canaryd;
using namespace canaryd::vectors;

namespace {

Duration time_of(const Row& row, const char* minutes) {
    return Duration{std::llround(number(row.at(minutes)) * 60'000)};
}

/// The policy with one limit that a sequence of ledger_single.csv is about; nothing warms up, and
/// an alarm changes no evidence.
Policy single_limit(const Row& row) {
    Policy policy;
    policy.name = policy.canary = "new";
    policy.steps = {{"all", everybody, Duration{1}}};
    policy.soak = time_of(row, "H_min");
    policy.warm_up = policy.confirm_without_baseline = Duration{0};
    policy.criteria = {{"errors", "error_rate", Signal{}, number(row.at("p0"))}};
    policy.false_rollback = number(row.at("alpha"));
    policy.dispersion.limits = number(row.at("phi"));
    return policy;
}

}  // namespace

TEST_SUITE("vectors") {
    TEST_CASE("vector t1_limit: the evidence of one count, for harm and for health") {
        for (const Row& row : rows_of("t1_limit.csv")) {
            const double n = number(row.at("n"));
            const double k = number(row.at("k"));
            const double p0 = number(row.at("p0"));
            check_close(log_e_breach(n, k, p0), number(row.at("log_e_breach")), row, "breach");
            check_close(log_e_promote(n, k, p0), number(row.at("log_e_promote")), row, "promote");
        }
    }

    TEST_CASE("vector ledger_single: one stream, look by look, by the judge itself") {
        const std::vector<Row> rows = rows_of("ledger_single.csv");
        Policy policy;
        Ledger ledger;
        TimePoint at;
        bool alarmed = false;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const Row& row = rows[i];
            if (starts_sequence(rows, i)) {
                policy = single_limit(row);
                ledger = new_ledger(policy);
                at = TimePoint{};
                alarmed = false;
            }
            ledger.phase_fresh = row.at("phase_start") == "1";
            Tally tally;
            tally.requests = whole(row.at("n"));
            const std::int64_t k = whole(row.at("k"));
            tally.events = {Count{k, {{0, k}}}};
            tally.bursts = {Burst{k, k}};
            Look look;
            look.from = at;
            look.to = at += time_of(row, "dt_min");
            look.on_time = {tally};
            const Verdict verdict = judge(policy, ledger, look, number(row.at("eta")));
            ledger = verdict.ledger;
            alarmed = alarmed || verdict.ln_m >= -std::log(policy.false_rollback);
            check_close(verdict.ln_m, number(row.at("log_M")), row, "ln M");
            check_close(ledger.ln_c, number(row.at("log_C")), row, "ln C");
            check_same(alarmed, row.at("alarmed") == "1", row, "alarmed");
        }
    }

    TEST_CASE("vector t2_relative: the canary against its baseline") {
        for (const Row& row : rows_of("t2_relative.csv")) {
            const Pair counts{number(row.at("n_c")), number(row.at("x_c")), number(row.at("n_b")),
                              number(row.at("y_b"))};
            const Margin margin{number(row.at("rho")), number(row.at("dm"))};
            check_close(log_e_breach(counts, margin), number(row.at("log_e_breach")), row,
                        "breach");
            check_close(log_e_promote(counts, margin), number(row.at("log_e_promote")), row,
                        "promote");
        }
    }

    TEST_CASE("vector t1p_poisson: events per time against a limit") {
        for (const Row& row : rows_of("t1p_poisson.csv")) {
            constexpr double an_hour = 3.6e6;
            const double watched = number(row.at("time")) * an_hour;
            const double limit = number(row.at("lambda0")), k = number(row.at("k"));
            check_close(log_e_breach(watched, k, limit, Per::hour), number(row.at("log_e_breach")),
                        row, "breach");
            check_close(log_e_promote(watched, k, limit, 1.0, Per::hour),
                        number(row.at("log_e_promote")), row, "promote");
        }
    }

    TEST_CASE("vector quantile_buckets: slower than a limit, as far as buckets tell") {
        for (const Row& row : rows_of("quantile_buckets.csv")) {
            const auto seen = exceedances(numbers(row.at("le")), wholes(row.at("cumulative")),
                                          number(row.at("limit")));
            REQUIRE_MESSAGE(seen, "row ", row.at("id"));
            check_same(seen->requests, whole(row.at("n")), row, "requests");
            check_same(seen->at_least, whole(row.at("exceed_lo")), row, "at least");
            check_same(seen->at_most, whole(row.at("exceed_hi")), row, "at most");
            const double p0 = 1 - number(row.at("quantile"));
            const auto n = static_cast<double>(seen->requests);
            check_close(log_e_breach(n, static_cast<double>(seen->at_least), p0),
                        number(row.at("log_e_breach")), row, "breach");
            check_close(log_e_promote(n, static_cast<double>(seen->at_most), p0),
                        number(row.at("log_e_promote")), row, "promote");
        }
    }

    TEST_CASE("vector dispersion: how much wider history varies than single requests would") {
        for (const Row& row : rows_of("dispersion.csv")) {
            const auto series = [&](const char* n, const char* k) {
                const auto requests = wholes(row.at(n));
                const auto events = wholes(row.at(k));
                std::vector<BlockCounts> blocks;
                for (std::size_t i = 0; i < requests.size(); ++i) {
                    blocks.push_back({requests[i], events[i]});
                }
                return blocks;
            };
            const auto one = series("n1", "k1");
            check_close(batch_dispersion(one), number(row.at("phi_batch(1)")), row, "batch");
            check_close(split_dispersion(one, series("n2", "k2")), number(row.at("phi_split(1,2)")),
                        row, "split");
        }
    }

    TEST_CASE("vector ledger_full: five streams of unequal weight, limits and comparisons") {
        const std::vector<Row> rows = rows_of("ledger_full.csv");
        const std::vector<double> weights{0.30, 0.25, 0.25, 0.10, 0.10};
        const LimitTest errors(0.01);
        const LimitTest slow(0.05);
        std::vector<Stream> streams;
        double ln_c = 0;
        bool alarmed = false;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const Row& row = rows[i];
            if (starts_sequence(rows, i)) {
                streams.assign(weights.size(), Stream{});
                ln_c = 0;
                alarmed = false;
            }
            const auto at = [&](const char* name) { return number(row.at(name)); };
            const auto pair = [&](const char* ours, const char* theirs) {
                return Pair{at("n"), at(ours), at("nb"), at(theirs)};
            };
            const std::vector<Grid> l{errors.evidence(at("n"), at("e")),
                                      slow.evidence(at("n"), at("s")),
                                      relative_evidence(pair("e", "eb"), {1.2, 0.001}),
                                      relative_evidence(pair("m", "mb"), {1.2, 0.005}),
                                      relative_evidence(pair("s", "sb"), {1.2, 0.005})};
            const std::size_t active = row.at("active") == "all" ? weights.size() : 2;
            double all = 0;
            for (std::size_t k = 0; k < active; ++k) all += weights[k];
            const Mass mass = move_mass(ln_c, row.at("phase_start") == "1", at("dt_min"), 30'240);
            ln_c = mass.ln_kept;
            std::vector<double> sums{ln_c};
            for (std::size_t k = 0; k < weights.size(); ++k) {
                const double share = std::log(weights[k] / all / static_cast<double>(grid_size));
                if (k < active) add_look(streams[k].ln_r, mass.ln_moved + share, l[k]);
                sums.push_back(streams[k].ln_sum());
            }
            const double ln_m = log_sum_exp(sums.data(), sums.data() + sums.size());
            alarmed = alarmed || ln_m >= -std::log(0.01);
            const auto top = std::max_element(sums.begin() + 1, sums.end());
            check_close(ln_m, at("log_M"), row, "ln M");
            check_same(static_cast<std::int64_t>(top - sums.begin() - 1),
                       whole(row.at("top_stream_0based")), row, "top stream");
            check_close(*top, at("log_top"), row, "ln of the top stream");
            check_same(alarmed, row.at("alarmed") == "1", row, "alarmed");
        }
    }

    TEST_CASE("vector bounds_lcb_ucb: what is proven of a rate") {
        const auto relative = [](double got, double want) {
            return want == 0.0 || want == 1.0 ? got == want
                                              : std::abs(got - want) <= 1e-9 * std::abs(want);
        };
        for (const Row& row : rows_of("bounds_lcb_ucb.csv")) {
            const Bounds bounds = bounds_of(whole(row.at("n")), whole(row.at("k")),
                                            number(row.at("alpha")), number(row.at("beta")));
            CHECK_MESSAGE(relative(bounds.lower, number(row.at("lcb"))), "row ", row.at("id"),
                          ": lower is ", bounds.lower, ", not ", row.at("lcb"));
            CHECK_MESSAGE(relative(bounds.upper, number(row.at("ucb"))), "row ", row.at("id"),
                          ": upper is ", bounds.upper, ", not ", row.at("ucb"));
        }
    }

    TEST_CASE("vector clusters: users instead of requests, as clusters and by first failures") {
        for (const Row& row : rows_of("clusters.csv")) {
            std::int64_t requests = 0;
            std::int64_t failed = 0;
            std::int64_t clusters = 0;
            double shares = 0;
            for (const std::string& user : split(row.at("err/size per user"), ';')) {
                const std::vector<std::int64_t> pair =
                    wholes(std::string{user}.replace(user.find('/'), 1, ";"));
                requests += pair[1];
                failed += pair[0] > 0 ? 1 : 0;
                ++clusters;
                shares += static_cast<double>(pair[0]) / static_cast<double>(pair[1]);
            }
            check_same(clusters, whole(row.at("clusters")), row, "clusters");
            check_close(shares, number(row.at("k_fraction_sum")), row, "sum of shares");
            constexpr int one = unit_of(Per::cluster);
            check_close(log_e_breach(static_cast<double>(clusters) * one, shares * one,
                                     number(row.at("p0")), Per::cluster),
                        number(row.at("log_e_cluster")), row, "evidence of clusters");
            check_same(requests, whole(row.at("requests")), row, "requests");
            check_same(failed, whole(row.at("users_with_error")), row, "users with an error");
            check_close(log_e_breach(static_cast<double>(requests), static_cast<double>(failed),
                                     number(row.at("p0"))),
                        number(row.at("log_e_dedup")), row, "evidence");
        }
    }

    TEST_CASE("vector combine: evidence is averaged by weight") {
        for (const Row& row : rows_of("combine.csv")) {
            std::vector<double> terms = numbers(row.at("log_e"));
            const std::vector<double> weights = numbers(row.at("weights"));
            const double threshold = -std::log(number(row.at("alpha")));
            REQUIRE(terms.size() == weights.size());
            // One alone at 1/(alpha v): where weighted Bonferroni alarms, the mean has to as well.
            bool alone = false;
            for (std::size_t i = 0; i < terms.size(); ++i) {
                alone = alone || terms[i] >= threshold - std::log(weights[i]);
                terms[i] += std::log(weights[i]);
            }
            const double mean = log_sum_exp(terms.data(), terms.data() + terms.size());
            check_close(mean, number(row.at("log_avg")), row, "mean");
            check_same(mean >= threshold, row.at("alarm_avg") == "1", row, "alarm");
            check_same(alone, row.at("alarm_weighted_bonferroni") == "1", row,
                       "alarm of one alone");
            CHECK_MESSAGE((mean >= threshold || !alone), "row ", row.at("id"));
        }
        MESSAGE(
            "skipped: combine.csv, columns q and ebh_rejected_0based: a false discovery rate "
            "over many tests, which nothing in the product asks for");
    }

    TEST_CASE("vector dedup_blocks: a user that fails again in a block counts once") {
        const std::vector<Row> rows = rows_of("dedup_blocks.csv");
        const Duration hour{std::chrono::hours{1}};
        Dedup dedup;
        std::vector<InBlock> floor;
        Burst burst;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const Row& row = rows[i];
            if (starts_sequence(rows, i)) {
                dedup = Dedup{};
                floor.clear();
                burst = {};
            }
            const std::vector<std::string> times = split(row.at("time_utc_s"), ';');
            const std::vector<std::string> failed = split(row.at("failed_01"), ';');
            std::vector<std::string> users = split(row.at("user"), ';');
            users.resize(times.size());
            std::vector<InBlock> counted;
            for (std::size_t r = 0; r < times.size(); ++r) {
                if (failed[r] != "1") {
                    continue;
                }
                const TimePoint at{Duration{std::llround(number(times[r]) * 1000.0)}};
                const std::int64_t block = block_of(at, hour);
                const auto user = users[r].empty()
                                      ? std::optional<std::uint64_t>{}
                                      : std::optional<std::uint64_t>{hash_of_user(users[r])};
                const Dedup::Added added = dedup.add(0, Dedup::no_segment, block, user, true);
                if (added.first_total) {
                    add_failures(counted, {{block, 1}});
                }
                burst = {burst.sum_e + 1, burst.sum_e2 + added.e2_gain};
            }
            add_failures(floor, counted);
            check_same(static_cast<std::int64_t>(times.size()), whole(row.at("n_requests")), row,
                       "requests");
            check_same(Count{0, counted}.counted(), whole(row.at("k_counted_failures")), row,
                       "counted failures");
            check_same(most_in_one_block(floor), whole(row.at("max_users_in_one_block_so_far")),
                       row, "users in one block");
            check_same(burst.sum_e, whole(row.at("sum_e_failures_so_far")), row, "sum e");
            check_same(burst.sum_e2, whole(row.at("sum_e2_failures2_so_far")), row, "sum e2");
        }
    }

    TEST_CASE("vector shared_outage: a failing baseline puts the guard on") {
        const std::vector<Row> rows = rows_of("shared_outage.csv");
        std::vector<Grid> guards;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const Row& row = rows[i];
            const auto n = wholes(row.at("baseline_n_requests_per_scope"));
            const auto k = wholes(row.at("baseline_k_counted_failures_per_scope"));
            const auto highest = numbers(row.at("max_G_nats_per_scope"));
            const auto on = wholes(row.at("guard_on_01_per_scope"));
            if (starts_sequence(rows, i)) {
                guards.assign(n.size(), Grid{});
            }
            const LimitTest test(number(row.at("p0")));
            for (std::size_t scope = 0; scope < n.size(); ++scope) {
                Grid& guard = guards[scope];
                add_baseline(
                    guard,
                    test.evidence(static_cast<double>(n[scope]), static_cast<double>(k[scope])),
                    number(row.at("dt_min")));
                check_close(*std::max_element(guard.begin(), guard.end()), highest[scope], row,
                            "highest G");
                check_same(guard_on(guard) || guard_on(guards[0]), on[scope] == 1, row, "guard");
            }
        }
    }

    TEST_CASE("vector gate: promoted on proof only") {
        for (const Row& row : rows_of("gate.csv")) {
            const std::int64_t n = whole(row.at("n_requests"));
            const std::int64_t k = whole(row.at("k_raw_failures"));
            const double p0 = number(row.at("p0"));
            const double phi =
                burst_size(whole(row.at("sum_e_failures")), whole(row.at("sum_e2_failures2")));
            check_close(phi, number(row.at("phi_gate")), row, "burst size");
            check_close(log_e_promote(static_cast<double>(n), static_cast<double>(k), p0, phi),
                        number(row.at("log_E_promote_nats")), row, "evidence of health");
            const bool promote = row.at("bake_done_01") == "1" && row.at("suspicious_01") == "0" &&
                                 proven_below(n, k, p0, number(row.at("beta")), phi);
            check_same(std::string{promote ? "promote" : "extend"}, row.at("verdict"), row,
                       "verdict");
        }
    }

    TEST_CASE("every vector file that is not read is named") {
        const std::map<std::string, std::string> known = {
            {"t1_limit.csv", ""},         {"ledger_single.csv", ""}, {"bounds_lcb_ucb.csv", ""},
            {"clusters.csv", ""},         {"combine.csv", ""},       {"dedup_blocks.csv", ""},
            {"shared_outage.csv", ""},    {"gate.csv", ""},          {"rollout_ledger.csv", ""},
            {"t2_relative.csv", ""},      {"ledger_full.csv", ""},   {"t1p_poisson.csv", ""},
            {"quantile_buckets.csv", ""}, {"dispersion.csv", ""},
        };
        // The suites `planner` and `peers` read these.
        const std::set<std::string> elsewhere{"theory_bounds.csv",      "planner_detect.csv",
                                              "planner_detect_rel.csv", "planner_promote.csv",
                                              "mannwhitney.csv",        "cs_betabinomial.csv"};
        std::size_t read = 0;
        for (const auto& entry : std::filesystem::directory_iterator(folder())) {
            const std::string name = entry.path().filename().string();
            const auto place = known.find(name);
            if (place != known.end() && place->second.empty()) {
                ++read;
            } else if (place != known.end()) {
                MESSAGE("skipped: ", name, ": ", place->second);
            } else if (entry.path().extension() == ".csv" && !elsewhere.contains(name)) {
                MESSAGE("skipped: ", name, ": a file this test does not know");
            }
        }
        CHECK(read == 14);
    }
}
