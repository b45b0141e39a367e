// From played requests to the looks that judge() and step() know: tallies and triggers' windows.
#pragma once

#include <deque>

#include "canaryd/dedup.hpp"
#include "canaryd/ports.hpp"
#include "daemon/ctl/backtest/arms.hpp"

namespace canaryd::backtest {

/// Turns one look after the other into evidence, as a running source does.
class Looks {
public:
    /// Both outlive it.
    Looks(const Policy& policy, const History& history);
    /// `ask` is a whole look of the history.
    Look next(const Ask& ask, Played played);

private:
    struct Recent {
        TimePoint from;
        Played played;
    };
    void add_side(Look& look, const Ask& ask, const Played& played, Population who);
    void add_first(Look& look, const Ask& ask, const Played& played);
    void fill_windows(Look& look, const Ask& ask) const;
    void fill_window(Look& look, const rows::WindowAsk& asked, std::size_t signal, Population who,
                     std::size_t scope) const;

    const Policy& policy_;
    const History& history_;
    std::vector<Signal> signals_;
    std::size_t of_criteria_;
    Duration longest_window_{0};
    Dedup canary_, baseline_;
    TimePoint gate_from_;
    std::deque<Recent> recent_;  // since the weight is on, as long as a window reaches
};

}  // namespace canaryd::backtest
