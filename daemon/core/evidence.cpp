#include "canaryd/evidence.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "daemon/core/maths.hpp"

namespace canaryd {

namespace {

constexpr double guard_cap = 7.0;
constexpr double guard_memory_minutes = 60.0;
const double ln_guard = std::log(100.0);

Grid expm1_of(const Grid& grid, double sign) {
    Grid result{};
    std::transform(grid.begin(), grid.end(), result.begin(),
                   [sign](double delta) { return std::expm1(sign * delta); });
    return result;
}
const Grid breach_expm1 = expm1_of(breach_grid, 1);
const Grid promote_expm1 = expm1_of(breach_grid, -1);

constexpr double milliseconds_an_hour = 3.6e6;

/// What one request, or one millisecond, or a millionth of a cluster, without an event takes off
/// l(delta).
double per_one(double p0, double expm1, Per per) {
    switch (per) {
        case Per::request:
            break;
        case Per::hour:
            return p0 / milliseconds_an_hour * expm1;
        case Per::cluster:
            return std::log1p(p0 * expm1) / unit_of(per);
    }
    return std::log1p(p0 * expm1);
}

/// What one event, or a millionth of one, adds to l(delta).
double per_event(double delta, Per per) {
    return delta / unit_of(per);
}

/// Smallest (`rising`) or largest p whose `excess(p)`, which is monotone, is not below 0. Works on
/// the log-odds: relative accuracy near 0 and near 1 alike; per hour on the logarithm. `far` is the
/// answer when there is none.
template <class Excess>
double edge(Per per, bool rising, double far, Excess excess) {
    const auto share = [per](double odds) {
        return per == Per::hour ? std::exp(odds) : 1.0 / (1.0 + std::exp(-odds));
    };
    constexpr double widest = 50.0;
    constexpr double accuracy = 1e-11;
    double fails = rising ? -widest : widest;
    double good = -fails;
    double below = excess(share(fails));
    double above = excess(share(good));
    if (!(above >= 0)) {
        return far;
    }
    int same_end = 0;  // moved how often in a row: above 0 the good one, below 0 the other
    for (int tries = 0; std::abs(good - fails) > accuracy; ++tries) {
        double middle = 0.5 * (good + fails);
        // By halves until the curve is nearly straight, then where the straight line crosses 0; at
        // last a little beyond, so that the far end comes close as well.
        if (std::abs(good - fails) <= 1.0 && tries < 40) {
            const double crossing = fails + (good - fails) * (below / (below - above));
            const double margin = 0.5 * accuracy;
            middle = std::clamp(crossing, std::min(good, fails) + margin,
                                std::max(good, fails) - margin);
        }
        const double value = excess(share(middle));
        if (value >= 0) {
            good = middle;
            above = value;
            same_end = std::max(same_end, 0) + 1;
            // An end that stays twice is given half its weight, else it would stay for ever.
            below *= same_end > 1 ? 0.5 : 1.0;
        } else {
            fails = middle;
            below = value;
            same_end = std::min(same_end, 0) - 1;
            above *= same_end < -1 ? 0.5 : 1.0;
        }
    }
    return share(good);
}

}  // namespace

std::string count_window(const std::string& number) {
    return "metrics/" + number;
}

std::int64_t Count::counted() const {
    std::int64_t sum = 0;
    for (const InBlock& block : first) {
        sum += block.failures;
    }
    return sum;
}

// --- Tests --------------------------------------------------------------------------------------

double log_evidence(double n, double k, double p0, double delta) {
    return k * delta - n * std::log1p(p0 * std::expm1(delta));
}

double log_e_breach(double n, double k, double p0, Per per) {
    const Grid l = LimitTest(p0, per).evidence(n, k);
    return log_sum_exp(l.data(), l.data() + l.size()) - std::log(static_cast<double>(grid_size));
}

double log_e_promote(double n, double k, double p0, double phi, Per per) {
    std::array<double, promote_grid_size> l{};
    for (std::size_t j = 0; j < l.size(); ++j) {
        l[j] = (k * per_event(-breach_grid[j], per) - n * per_one(p0, promote_expm1[j], per)) / phi;
    }
    return log_sum_exp(l.data(), l.data() + l.size()) -
           std::log(static_cast<double>(promote_grid_size));
}

namespace {

/// T2 of one delta, with expm1(delta) worked out before.
double relative_term(const Pair& counts, const Margin& margin, double delta, double expm1) {
    if (counts.baseline <= 0) {
        return 0.0;
    }
    const double tilted = margin.times * counts.canary;
    const double theta = tilted / (tilted + counts.baseline);
    const double bet = theta * expm1;
    return counts.events * delta - (counts.events + counts.others) * std::log1p(bet) -
           counts.canary * margin.plus * (1.0 - theta) * expm1 / (1.0 + bet);
}

}  // namespace

double log_evidence(const Pair& counts, const Margin& margin, double delta) {
    return relative_term(counts, margin, delta, std::expm1(delta));
}

Grid relative_evidence(const Pair& counts, const Margin& margin) {
    Grid l{};
    if (counts.canary > 0 && counts.baseline > 0) {
        for (std::size_t j = 0; j < grid_size; ++j) {
            l[j] = relative_term(counts, margin, breach_grid[j], breach_expm1[j]);
        }
    }
    return l;
}

double log_e_breach(const Pair& counts, const Margin& margin) {
    const Grid l = relative_evidence(counts, margin);
    return log_sum_exp(l.data(), l.data() + l.size()) - std::log(static_cast<double>(grid_size));
}

double log_e_promote(const Pair& counts, const Margin& margin) {
    std::array<double, promote_grid_size> l{};
    for (std::size_t j = 0; j < l.size(); ++j) {
        l[j] = relative_term(counts, margin, -breach_grid[j], promote_expm1[j]);
    }
    return log_sum_exp(l.data(), l.data() + l.size()) -
           std::log(static_cast<double>(promote_grid_size));
}

double burst_size(std::int64_t sum_e, std::int64_t sum_e2) {
    if (sum_e <= 0) {
        return 1.0;
    }
    return std::max(1.0, static_cast<double>(sum_e2) / static_cast<double>(sum_e));
}

double rate_of(std::int64_t n, std::int64_t k, Per per) {
    const auto seen = static_cast<double>(n);
    return static_cast<double>(k) / (per == Per::hour ? seen / milliseconds_an_hour : seen);
}

bool proven_below(std::int64_t n, std::int64_t k, double p0, double beta, double phi, Per per) {
    if (n <= 0 || k < 0 || k > n) {
        return false;
    }
    return rate_of(n, k, per) < p0 && log_e_promote(static_cast<double>(n), static_cast<double>(k),
                                                    p0, phi, per) >= -std::log(beta);
}

double log_sum_exp(const double* first, const double* last) {
    double highest = minus_infinity;
    for (const double* at = first; at != last; ++at) {
        highest = std::max(highest, *at);
    }
    if (!std::isfinite(highest)) {
        return highest;
    }
    double sum = 0;
    for (const double* at = first; at != last; ++at) {
        // Terms below one part in 10^17 of the largest leave a double as it is.
        if (*at >= highest - 40.0) {
            sum += std::exp(*at - highest);
        }
    }
    return highest + std::log(sum);
}

double log_add_exp(double a, double b) {
    const double high = std::max(a, b);
    const double low = std::min(a, b);
    return low > high - 40.0 ? high + std::log1p(std::exp(low - high)) : high;
}

double Bounds::rate() const {
    return requests > 0 ? rate_of(requests, events, per) : 0.0;
}

bool Bounds::proves_upper() const {
    return per == Per::hour ? std::isfinite(upper) : upper < 1;
}

Bounds bounds_of(std::int64_t n, std::int64_t k, double alpha, double beta, double phi, Per per) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    Bounds bounds{n, k, 0.0, per == Per::hour ? infinity : 1.0, per};
    if (n <= 0 || k < 0 || k > n) {
        return bounds;
    }
    const auto requests = static_cast<double>(n);
    const auto events = static_cast<double>(k);
    bounds.lower = edge(per, false, bounds.lower, [&](double p0) {
        return log_e_breach(requests, events, p0, per) + std::log(alpha);
    });
    bounds.upper = edge(per, true, bounds.upper, [&](double p0) {
        return log_e_promote(requests, events, p0, phi, per) + std::log(beta);
    });
    return bounds;
}

LimitTest::LimitTest(double p0, Per per) {
    for (std::size_t j = 0; j < grid_size; ++j) {
        per_one_[j] = per_one(p0, breach_expm1[j], per);
        per_event_[j] = per_event(breach_grid[j], per);
    }
}

Grid LimitTest::evidence(double n, double k) const {
    Grid l{};
    if (n > 0) {
        for (std::size_t j = 0; j < grid_size; ++j) {
            l[j] = k * per_event_[j] - n * per_one_[j];
        }
    }
    return l;
}

// --- The ledger's arithmetic --------------------------------------------------------------------

Mass move_mass(double ln_c, bool phase_start, double minutes, double horizon_minutes, double eta) {
    if (phase_start) {
        return {ln_c + std::log1p(-eta), ln_c + std::log(eta)};
    }
    // ln(1 - h) is -dt/H itself: nothing is lost for a short look or a very long one.
    const double elapsed = minutes / horizon_minutes;
    return {ln_c - elapsed, ln_c + std::log(-std::expm1(-elapsed))};
}

void add_look(Grid& ln_r, double ln_mass, const Grid& l) {
    for (std::size_t j = 0; j < grid_size; ++j) {
        ln_r[j] = log_add_exp(ln_r[j], ln_mass) + l[j];
    }
}

Shares shares_of(std::size_t claims, std::size_t segments) {
    const double share = 1.0 / static_cast<double>(std::max<std::size_t>(claims, 1)) /
                         static_cast<double>(grid_size);
    if (segments == 0) {
        return {std::log(share), minus_infinity};
    }
    const double half = 0.5 * share;
    return {std::log(half), std::log(half / static_cast<double>(segments))};
}

void add_baseline(Grid& guard, const Grid& l, double minutes) {
    const double kept = std::exp(-minutes / guard_memory_minutes);
    for (std::size_t j = 0; j < grid_size; ++j) {
        guard[j] = std::min(guard_cap, std::max(0.0, guard[j] * kept + l[j]));
    }
}

bool guard_on(const Grid& guard) {
    return std::any_of(guard.begin(), guard.end(), [](double g) { return g >= ln_guard; });
}

void add_failures(std::vector<InBlock>& blocks, const std::vector<InBlock>& more) {
    for (const InBlock& added : more) {
        const auto same = [&](const InBlock& block) { return block.block == added.block; };
        const auto place = std::find_if(blocks.begin(), blocks.end(), same);
        if (place == blocks.end()) {
            blocks.push_back(added);
        } else {
            place->failures += added.failures;
        }
    }
}

std::int64_t most_in_one_block(const std::vector<InBlock>& blocks) {
    std::int64_t most = 0;
    for (const InBlock& block : blocks) {
        most = std::max(most, block.failures);
    }
    return most;
}

Stream::Stream() {
    ln_r.fill(minus_infinity);
    ln_calm.fill(minus_infinity);
    guard.fill(0.0);
}

double Stream::ln_sum() const {
    return log_sum_exp(ln_r.data(), ln_r.data() + ln_r.size());
}

// --- Confirmation -------------------------------------------------------------------------------

bool waited_enough(const std::vector<Waited>& looks, Duration wanted) {
    Duration sum{0};
    std::size_t with_requests = 0;
    for (const Waited& look : looks) {
        sum += look.dt;
        with_requests += look.requests > 0 ? 1 : 0;
    }
    return sum >= wanted && with_requests >= 2;
}

bool above_in_both_halves(const std::vector<Waited>& looks, double limit, Per per) {
    struct Half {
        std::int64_t requests = 0;
        std::int64_t events = 0;
    };
    Half all;
    Duration whole{0};
    for (const Waited& look : looks) {
        all = {all.requests + look.requests, all.events + look.events};
        whole += look.dt;
    }
    std::optional<Half> first;
    Duration nearest{0};
    Half before;
    Duration passed{0};
    for (const Waited& look : looks) {
        before = {before.requests + look.requests, before.events + look.events};
        passed += look.dt;
        const bool both = before.requests > 0 && before.requests < all.requests;
        // Twice the distance from the middle, so that whole milliseconds stay whole.
        const Duration distance = std::chrono::abs(2 * passed - whole);
        if (both && (!first || distance < nearest)) {
            first = before;
            nearest = distance;
        }
    }
    const auto above = [&](std::int64_t n, std::int64_t k) { return rate_of(n, k, per) > limit; };
    return first && above(first->requests, first->events) &&
           above(all.requests - first->requests, all.events - first->events);
}

}  // namespace canaryd
