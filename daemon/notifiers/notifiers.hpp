// The table of notifier kinds. To add one: a file with a class and its factory, a line in the
// table.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>

#include "canaryd/ports.hpp"
#include "canaryd/settings.hpp"

namespace canaryd {

/// A notifier for one entry of `notify`. `io` is the notifiers' own loop, with a resolver of its
/// own: a name that does not resolve delays nobody else. Callable from the deciding thread.
/// Throws std::invalid_argument when the kind or connection is unknown.
std::shared_ptr<Notifier> make_notifier(const NotifySpec& spec, const Settings& settings,
                                        boost::asio::any_io_executor io);

std::shared_ptr<Notifier> make_slack_notifier(const NotifySpec& spec, const Connection& connection,
                                              boost::asio::any_io_executor io);
std::shared_ptr<Notifier> make_log_notifier();

}  // namespace canaryd
