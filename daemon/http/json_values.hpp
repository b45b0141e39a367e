// How values look in answers: times, weights, durations, numbers, and text that may be anything.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/string.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "canaryd/policy.hpp"

namespace canaryd::http {

/// Error texts come from databases and routers: JSON takes only valid UTF-8.
boost::json::string text_of(std::string_view text);
boost::json::array texts(const std::vector<std::string>& lines);
/// Whole numbers without a fraction; null for what is no number.
boost::json::value number(double value);
boost::json::value percent(Weight weight);
boost::json::value seconds(Duration duration);
/// ISO 8601; null for a time that was never set.
boost::json::value time(const std::optional<TimePoint>& at);

}  // namespace canaryd::http
