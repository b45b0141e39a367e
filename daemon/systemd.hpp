// What systemd is told: READY, STATUS, RELOADING, STOPPING, and the watchdog's pings.
#pragma once

#include <string>

#include "canaryd/policy.hpp"

namespace canaryd::systemd {

/// sd_notify with these lines; nothing when not under systemd.
void notify(const std::string& state);
void ready(const std::string& status);
void status(const std::string& status);
void reloading();
void stopping();
/// Half of WatchdogSec as a duration between pings, at most 10 s; 0: no watchdog.
Duration watchdog_interval();
void watchdog_ping();

}  // namespace canaryd::systemd
