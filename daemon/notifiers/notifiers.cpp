#include "daemon/notifiers/notifiers.hpp"

#include <array>
#include <stdexcept>
#include <string>

namespace canaryd {
namespace {

const Connection& connection_of(const NotifySpec& spec, const Settings& settings) {
    const auto found = settings.connections.find(spec.connection);
    if (found == settings.connections.end()) {
        throw std::invalid_argument("notify: no connection \"" + spec.connection +
                                    "\"; define it under connections in canaryd.yaml");
    }
    if (found->second.kind != spec.kind) {
        throw std::invalid_argument("notify: connection \"" + spec.connection + "\" is of kind " +
                                    found->second.kind + ", not " + spec.kind);
    }
    return found->second;
}

struct Kind {
    std::string_view name;
    std::shared_ptr<Notifier> (*make)(const NotifySpec&, const Settings&,
                                      boost::asio::any_io_executor);
};

constexpr std::array kinds{
    Kind{"slack",
         [](const NotifySpec& spec, const Settings& settings, boost::asio::any_io_executor io) {
             return make_slack_notifier(spec, connection_of(spec, settings), std::move(io));
         }},
    Kind{"log", [](const NotifySpec&, const Settings&,
                   boost::asio::any_io_executor) { return make_log_notifier(); }},
};

}  // namespace

std::shared_ptr<Notifier> make_notifier(const NotifySpec& spec, const Settings& settings,
                                        boost::asio::any_io_executor io) {
    std::string known;
    for (const Kind& kind : kinds) {
        if (kind.name == spec.kind) return kind.make(spec, settings, std::move(io));
        known += (known.empty() ? "" : ", ") + std::string(kind.name);
    }
    throw std::invalid_argument("notify: unknown kind \"" + spec.kind + "\"; known: " + known);
}

}  // namespace canaryd
