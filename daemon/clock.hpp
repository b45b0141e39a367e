// The Clock port: one ordered map of alarms, fed by a timerfd in production and by advance() in
// simulation.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "canaryd/ports.hpp"

namespace canaryd {

/// Alarms in the order of their times, then of their making. One thread.
class Alarms {
public:
    Clock::Key add(SteadyPoint at, std::function<void()> ring);
    void forget(const Clock::Key& key);
    [[nodiscard]] std::optional<SteadyPoint> first() const;
    /// Rings the first alarm that is due, if any; says whether one rang.
    bool ring_one(SteadyPoint now);

private:
    std::map<Clock::Key, std::function<void()>> alarms_;
    std::uint64_t made_ = 0;
};

/// Real time. Alarms count suspend (CLOCK_BOOTTIME), which Asio's own timers do not.
std::unique_ptr<Clock> make_system_clock(boost::asio::any_io_executor executor);

}  // namespace canaryd
