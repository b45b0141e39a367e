// A rollout as JSON: the shape is described in README.md and is a promise.
#pragma once

#include <string>
#include <vector>

#include "canaryd/controller.hpp"

namespace canaryd::http {

/// Listing more rollouts than this leaves `criteria` out: each of its bounds is a bisection.
inline constexpr std::size_t most_with_criteria = 16;

std::string view_json(const View& view);
std::string views_json(const std::vector<View>& views);
/// GET /status: health and views in one object.
std::string status_json(const std::vector<View>& views, const Health& health);
/// GET …/route.
std::string route_json(const View& view, const std::string& user);
/// {"text": …}
std::string text_json(const std::string& text);
/// {"lines": […]}
std::string lines_json(const std::vector<std::string>& lines);
/// An array of entries; stops early at 4 MiB. `event_as_text`: the event is a JSON document inside
/// a string, byte for byte what the entry's hash covers.
std::string journal_json(const std::vector<JournalEntry>& entries, bool event_as_text);
/// {"id", "reason"}
std::string started_json(const Transition& transition);
/// {"id", "revision", "status", "desired", "reason"}
std::string done_json(const Transition& transition);

/// What readers of the route get: read back, else confirmed, else nobody.
Weight weight_of_readers(const View& view);

}  // namespace canaryd::http
