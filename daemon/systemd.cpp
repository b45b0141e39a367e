#include "daemon/systemd.hpp"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cstdint>

#include "daemon/log.hpp"

namespace canaryd::systemd {
namespace {

/// One line: a newline in it would be a message of its own, such as a WATCHDOG=1.
std::string status_line(const std::string& status) {
    return "STATUS=" + escaped(status);
}

}  // namespace

void notify(const std::string& state) {
    sd_notify(0, state.c_str());
}

void ready(const std::string& status) {
    notify("READY=1\n" + status_line(status));
}

void status(const std::string& status) {
    notify(status_line(status));
}

void reloading() {
    notify("RELOADING=1");
}

void stopping() {
    notify("STOPPING=1");
}

Duration watchdog_interval() {
    std::uint64_t microseconds = 0;
    if (sd_watchdog_enabled(0, &microseconds) <= 0) return Duration{0};
    const auto half =
        std::chrono::duration_cast<Duration>(std::chrono::microseconds{microseconds / 2});
    return std::clamp(half, Duration{1}, Duration{std::chrono::seconds{10}});
}

void watchdog_ping() {
    notify("WATCHDOG=1");
}

bool may_feed(const Health& health, Duration notifiers_silent) {
    return health.latest_lateness < std::chrono::minutes{2} &&
           health.busy < std::chrono::seconds{25} && notifiers_silent < std::chrono::seconds{15};
}

}  // namespace canaryd::systemd
