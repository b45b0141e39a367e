// One connection: its limits, its deadlines, one request after the other.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "canaryd/controller.hpp"
#include "daemon/http/api.hpp"

namespace canaryd::http {

class Session;

using Socket = boost::asio::generic::stream_protocol::socket;

/// What the connections share. Lives as long as the last of them; `stopped` when the server is
/// gone, and then nothing of the controller's is touched any more.
class Hub {
public:
    static constexpr std::size_t most = 256;
    static constexpr std::size_t most_tcp = most - 64;
    static constexpr std::size_t most_of_peer = 32;

    Hub(Clock& clock, Controller& controller, std::string listen_address);

    /// Serves the connection, or says that there are too many and closes it. `peer` is empty on
    /// the Unix socket.
    static void take(const std::shared_ptr<Hub>& hub, Socket socket, const Caller& caller,
                     const std::string& peer);
    void stop();

    Clock& clock;
    Controller& controller;
    const std::string listen_address;
    bool stopped = false;
    [[nodiscard]] std::string next_id();

private:
    friend class Place;
    std::string id_prefix_;  // so that ids of two runs of the daemon differ
    std::uint64_t requests_ = 0, connections_ = 0;
    std::map<std::uint64_t, std::weak_ptr<Session>> sessions_;
    std::map<std::string, std::size_t> peers_;
    std::size_t tcp_ = 0;
};

}  // namespace canaryd::http
