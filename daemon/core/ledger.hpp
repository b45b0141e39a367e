// One look in both ledgers, before anything is decided. Core only.
#pragma once

#include <vector>

#include "canaryd/evidence.hpp"
#include "daemon/core/counts.hpp"

namespace canaryd {

/// One ledger's streams after a look.
struct Applied {
    std::vector<char> guarded;  // a shared outage is on for the stream (7.2)
    std::vector<double> sums;   // ln sum_j R of each (6.2)
};
struct BothApplied {
    Applied rollback, hold;
};
/// Evidence, guards, floors and the gate's counts of one look: everything but decisions.
BothApplied apply_look(const Rules& rules, const Look& look, const Counts& counts,
                       double start_share, Ledger& next);

/// Enough different users failed in one block for the stream to act (7.1).
bool has_floor(const Policy& policy, const Stream& stream);
/// The sums that act: -inf for limit streams short of their floor (7.1).
std::vector<double> acting_sums(const Policy& policy, const Book& book,
                                const std::vector<Stream>& streams, std::vector<double> sums);
std::vector<double> sums_of(const std::vector<Stream>& streams);
/// ln M: C and the streams' sums, in this order; -inf leaves a stream out (section 1). What may act
/// is a part of a supermartingale, so Ville's 1939 bound holds for it too.
double ln_m(double ln_c, std::vector<double> sums);
/// The number of the largest sum; of those as large within 1e-9, the lowest (6.2).
std::size_t top_of(const std::vector<double>& sums);
/// phi_gate of a limit stream (8.1): how often failing users failed, or the policy's dispersion,
/// which stands in for it where a source knows no users (7.4); the larger.
double phi_of(const Policy& policy, const Stream& stream);

}  // namespace canaryd
