// What systemd is told: READY, STATUS, RELOADING, STOPPING, and the watchdog's pings.
#pragma once

#include <string>

#include "canaryd/controller.hpp"

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
/// Whether a ping is deserved: no look is more than two minutes late, the deciding loop has not
/// been at one message for 25 s, and the notifiers' loop, which was asked so long ago and has not
/// answered since, has not been silent for 15 s. Databases and Slack may be as dead as they like: a
/// restart mends loops, not them.
bool may_feed(const Health& health, Duration notifiers_silent);

}  // namespace canaryd::systemd
