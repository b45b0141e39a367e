// GET /metrics: what Prometheus may know of the daemon. Labels are rollout names and small enums.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "canaryd/controller.hpp"

namespace canaryd::http {

/// Prometheus text of the moment, built anew from what the controller knows.
std::string metrics_page(const std::vector<View>& views, const Health& health,
                         std::uint64_t dropped_log_lines);

}  // namespace canaryd::http
