#include "daemon/http/server.hpp"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "daemon/async.hpp"
#include "daemon/http/session.hpp"
#include "daemon/log.hpp"

namespace canaryd::http {

namespace {

using boost::system::error_code;
using Tcp = asio::ip::tcp;
using Local = asio::local::stream_protocol;

constexpr const char* operators = "canaryd-operators";

std::string where(const Settings& settings) {
    const bool v6 = settings.listen_address.find(':') != std::string::npos;
    const std::string host = v6 ? "[" + settings.listen_address + "]" : settings.listen_address;
    return "listen " + host + ":" + std::to_string(settings.listen_port);
}

void listen_tcp(Tcp::acceptor& acceptor, const Settings& settings) {
    error_code error;
    const auto address = asio::ip::make_address(settings.listen_address, error);
    if (error) throw std::runtime_error(where(settings) + ": no IP address; write 127.0.0.1");
    if (!address.is_loopback()) {
        throw std::runtime_error(where(settings) +
                                 ": not a loopback address; write 127.0.0.1 and put a proxy with "
                                 "TLS in front of it");
    }
    const Tcp::endpoint endpoint(address, settings.listen_port);
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) throw std::runtime_error(where(settings) + ": " + error.message());
}

/// The Unix socket that systemd passed, or -1.
int passed_socket() {
    const int passed = sd_listen_fds(0);
    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + passed; ++fd) {
        if (sd_is_socket_unix(fd, SOCK_STREAM, 1, nullptr, 0) > 0) return fd;
    }
    return -1;
}

/// A socket file that nobody answers on is what a killed daemon leaves behind.
void remove_stale(asio::any_io_executor executor, const std::string& path) {
    struct stat file {};
    if (::lstat(path.c_str(), &file) != 0) return;
    if (!S_ISSOCK(file.st_mode)) {
        throw std::runtime_error("socket " + path + ": a file that is no socket is in the way");
    }
    Local::socket probe(executor);
    error_code error;
    probe.connect(Local::endpoint(path), error);
    if (!error) throw std::runtime_error("socket " + path + ": another daemon answers on it");
    if (error != asio::error::connection_refused) {
        throw std::runtime_error("socket " + path + ": " + error.message());
    }
    if (::unlink(path.c_str()) != 0) {
        throw std::runtime_error("socket " + path +
                                 ": cannot remove the old one: " + std::strerror(errno));
    }
}

void listen_local(Local::acceptor& acceptor, const std::string& path) {
    if (path.size() >= sizeof(sockaddr_un::sun_path)) {
        throw std::runtime_error("socket " + path +
                                 ": longer than 107 bytes; choose a shorter one");
    }
    remove_stale(acceptor.get_executor(), path);
    error_code error;
    acceptor.open(Local(), error);
    // Nobody else may open it between bind and chown.
    const mode_t before = ::umask(0177);
    if (!error) acceptor.bind(Local::endpoint(path), error);
    ::umask(before);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) throw std::runtime_error("socket " + path + ": " + error.message());
    const group* entry = ::getgrnam(operators);
    if (entry != nullptr && ::chown(path.c_str(), static_cast<uid_t>(-1), entry->gr_gid) != 0) {
        log(Level::warning, "socket " + path + ": cannot be given to group " + operators + ": " +
                                std::strerror(errno) + "; only this user's group may command");
    }
    if (::chmod(path.c_str(), 0660) != 0) {
        throw std::runtime_error("socket " + path + ": chmod: " + std::strerror(errno));
    }
}

/// One peer for the limit of connections: an address, and all of loopback together.
std::string peer_of(const Tcp::socket& socket) {
    error_code error;
    const auto endpoint = socket.remote_endpoint(error);
    if (error) return "gone";
    return endpoint.address().is_loopback() ? "loopback" : endpoint.address().to_string();
}

/// Nothing when the kernel does not say who it is: then nobody is served.
std::optional<Caller> caller_of(Local::socket& socket) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
        return {};
    }
    return Caller{true, credentials.uid};
}

}  // namespace

struct Server::Impl {
    Impl(const asio::any_io_executor& executor, Clock& clock, Controller& controller,
         const Settings& settings)
        : hub(std::make_shared<Hub>(clock, controller, settings.listen_address)),
          tcp(executor),
          local(executor) {}

    std::shared_ptr<Hub> hub;
    Tcp::acceptor tcp;
    Local::acceptor local;
    std::string own_path;  // of the socket file we made
    struct stat own_file {};

    void open(const Settings& settings) {
        if (settings.listen_port != 0) listen_tcp(tcp, settings);
        const int fd = passed_socket();
        if (fd >= 0) {
            local.assign(Local(), fd);
            return;
        }
        if (settings.socket.empty()) return;
        listen_local(local, settings.socket);
        own_path = settings.socket;
        ::lstat(own_path.c_str(), &own_file);
    }

    void stop() {
        error_code ignored;
        tcp.close(ignored);
        local.close(ignored);
        hub->stop();
        struct stat now {};
        // A newer daemon may have put its own there.
        if (!own_path.empty() && ::lstat(own_path.c_str(), &now) == 0 &&
            now.st_ino == own_file.st_ino && now.st_dev == own_file.st_dev) {
            ::unlink(own_path.c_str());
        }
    }

    void take(Tcp::socket socket) {
        error_code ignored;
        socket.set_option(Tcp::no_delay(true), ignored);
        const std::string peer = peer_of(socket);
        Hub::take(hub, Socket(std::move(socket)), Caller{}, peer);
    }

    void take(Local::socket socket) {
        const auto caller = caller_of(socket);
        if (caller) Hub::take(hub, Socket(std::move(socket)), *caller, "");
    }
};

namespace {

/// Accepts until the acceptor is closed. A lack of descriptors passes: wait, do not spin.
template <class Impl, class Acceptor>
Async<> accept_on(std::shared_ptr<Impl> impl, Acceptor& acceptor) {
    bool said = false;
    while (acceptor.is_open()) {
        error_code error;
        auto socket =
            co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
        if (impl->hub->stopped) co_return;
        if (!error) {
            said = false;
            impl->take(std::move(socket));
            continue;
        }
        if (!said) log(Level::warning, "accept: " + error.message());
        said = true;
        co_await sleep_until(impl->hub->clock,
                             impl->hub->clock.steady() + std::chrono::milliseconds{100});
    }
}

}  // namespace

Server::Server(asio::any_io_executor executor, Clock& clock, Controller& controller,
               const Settings& settings)
    : impl_(std::make_shared<Impl>(executor, clock, controller, settings)) {
    impl_->open(settings);
    if (impl_->tcp.is_open()) asio::co_spawn(executor, accept_on(impl_, impl_->tcp), or_die);
    if (impl_->local.is_open()) asio::co_spawn(executor, accept_on(impl_, impl_->local), or_die);
}

Server::~Server() {
    impl_->stop();
}

std::uint16_t Server::port() const {
    error_code error;
    const auto endpoint = impl_->tcp.local_endpoint(error);
    return error ? std::uint16_t{0} : endpoint.port();
}

}  // namespace canaryd::http
