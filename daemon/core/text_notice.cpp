// What a message says that was not known when it was decided, and the way back without canaryd.
#include "daemon/core/text_parts.hpp"

namespace canaryd::text {

std::vector<std::string> way_back(const View& view) {
    const Rollout& rollout = view.rollout;
    const Weight applied = rollout.applied.value_or(nobody);
    const Weight served = view.served ? view.served->weight : nobody;
    const bool exposed = rollout.desired > nobody || applied > nobody || served > nobody;
    const bool lowering = applied > rollout.desired;
    const bool trouble = lowering || !view.router_error.empty() || !view.store_trouble.empty();
    // Who finished may have no legacy to go back to.
    const bool helps = exposed && trouble && rollout.status != Status::finished;
    return helps ? view.by_hand : std::vector<std::string>{};
}

std::string told(const View& view, const Notice& notice) {
    std::string words = notice.text;
    if (notice.severity == Severity::info) return words;
    if (notice.kind == Notice::Kind::rolled_back) words += "\n" + who_is_back(view);
    std::string ways;
    for (const std::string& way : way_back(view)) ways += (ways.empty() ? "" : " or: ") + way;
    if (!ways.empty()) words += "\nPast canaryd: " + ways;
    return words;
}

}  // namespace canaryd::text
