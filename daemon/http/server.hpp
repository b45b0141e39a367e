// The status page and API: GET on loopback TCP, GET and commands on the Unix socket.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>

#include "canaryd/controller.hpp"
#include "canaryd/settings.hpp"

namespace canaryd::http {

/// Accepts on both listeners until destroyed; on the deciding thread. Throws when an address is in
/// use. Under systemd a passed socket (LISTEN_FDS) takes the place of settings.socket.
class Server {
public:
    Server(boost::asio::any_io_executor executor, Clock& clock, Controller& controller,
           const Settings& settings);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    /// The TCP port in use (settings.listen_port 0 listens on none and returns 0).
    [[nodiscard]] std::uint16_t port() const;

private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace canaryd::http
