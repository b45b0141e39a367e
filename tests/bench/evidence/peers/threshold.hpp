// A plain threshold on the newest window, and "N in a row": what an alert rule with a `for` does.
#pragma once

#include <cstdint>

namespace canaryd::peers {

struct Count {
    std::int64_t requests = 0;
    std::int64_t events = 0;
};

/// The window's share of events is above the limit. A window without a request breaks no rule.
inline bool above(const Count& window, double limit) {
    return window.requests > 0 &&
           static_cast<double>(window.events) > limit * static_cast<double>(window.requests);
}

/// Acts at the `needed`-th breach in a row.
class InARow {
public:
    explicit InARow(int needed) : needed_(needed) {}
    bool look(bool breached) {
        seen_ = breached ? seen_ + 1 : 0;
        return seen_ >= needed_;
    }

private:
    int needed_;
    int seen_ = 0;
};

}  // namespace canaryd::peers
