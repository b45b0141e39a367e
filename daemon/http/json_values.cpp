#include "daemon/http/json_values.hpp"

#include <cmath>

#include "canaryd/text.hpp"
#include "daemon/http/framing.hpp"
#include "daemon/log.hpp"

namespace canaryd::http {

namespace json = boost::json;

json::string text_of(std::string_view text) {
    return valid_utf8(text) ? json::string(text.data(), text.size()) : json::string(escaped(text));
}

json::array texts(const std::vector<std::string>& lines) {
    json::array result;
    for (const std::string& line : lines) result.push_back(text_of(line));
    return result;
}

json::value number(double value) {
    constexpr double exact = 9'007'199'254'740'992.0;
    if (!std::isfinite(value)) return nullptr;
    if (value == std::floor(value) && std::abs(value) < exact) {
        return static_cast<std::int64_t>(value);
    }
    return value;
}

json::value percent(Weight weight) {
    return number(weight.basis_points / 100.0);
}

json::value seconds(Duration duration) {
    return number(static_cast<double>(duration.count()) / 1000.0);
}

json::value time(const std::optional<TimePoint>& at) {
    if (!at || *at == TimePoint{}) return nullptr;
    return json::string(text::iso(*at));
}

}  // namespace canaryd::http
