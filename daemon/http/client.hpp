// A small blocking HTTP client for canaryctl, over the daemon's Unix socket.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>

namespace canaryd::http {

struct Answer {
    int status = 0;
    std::string content_type;
    std::string body;
};

/// The daemon is not there: exit status 2.
struct Unreachable : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// One request on its own connection. `accept` and `body` (JSON, when not empty) as given.
Answer request(const std::string& socket_path, const std::string& method, const std::string& target,
               const std::string& accept, const std::string& body,
               std::chrono::seconds timeout = std::chrono::seconds{30});

}  // namespace canaryd::http
