// Counts that are not "requests of known users": buckets of a histogram, and the tempering that
// stands in for users where a source knows none. Formulas: analysis 4 and 7.4 of the design's
// statistics.
//
// Pure functions on values; any thread. What they give goes through evidence.hpp like any count.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "canaryd/evidence.hpp"

namespace canaryd {

/// Requests slower than a limit, as far as a histogram's buckets tell (section 4).
struct Exceedances {
    std::int64_t requests = 0;
    std::int64_t at_least = 0;  // evidence of harm: no false rollback
    std::int64_t at_most = 0;   // evidence of health, and the baseline's y: no false promotion
    bool at_bound = false;      // the limit is a bucket's bound: both are exact. Where it is not, a
                                // tail between two bounds is invisible; say so at start
};
/// `bounds` are the buckets' upper bounds in rising order, the last one infinite; `cumulative` the
/// requests up to each. With le1 < limit < le2: n - c(le2) <= k <= n - c(le1). nullopt where that
/// is no histogram (bounds that do not rise, counts that fall or are negative, no infinite bound):
/// no evidence (section 10). By the definition of a quantile, without interpolation: a p95 is at
/// most L where at most 5 % are slower than L.
std::optional<Exceedances> exceedances(const std::vector<double>& bounds,
                                       const std::vector<std::int64_t>& cumulative, double limit);

/// One block of history.
struct BlockCounts {
    std::int64_t requests = 0;
    std::int64_t events = 0;
};
/// phi_batch = max(1, B/(B-1) sum (K_b - p N_b)^2 / (p (1-p) sum N_b))   (7.4): how much wider the
/// counts of blocks of 4 h vary than independent requests would. For limit streams, from at least
/// 7 days of the baseline at the canary's size. 1 where p is 0 or 1 or there are fewer than two
/// blocks. The dispersion of quasi-likelihood (McCullagh & Nelder 1989), pooled over the blocks.
double batch_dispersion(const std::vector<BlockCounts>& blocks);
/// phi_split = max(1, sum (K1 - th K)^2 / sum th (1-th) K), th = N1/(N1+N2), K = K1+K2   (7.4): the
/// same for relative streams, from two parts of the baseline's users in the same blocks; what hits
/// both cancels. 1 where nothing varies. Both series are equally long. The same dispersion, given
/// each block's sum.
double split_dispersion(const std::vector<BlockCounts>& one, const std::vector<BlockCounts>& two);
/// l / phi (section 1): evidence of a source without users. phi below 1 counts as 1. As
/// quasi-likelihood scales a log likelihood (McCullagh & Nelder 1989); approximate, as that is: one
/// large burst may still win.
Grid tempered(Grid l, double phi);

}  // namespace canaryd
