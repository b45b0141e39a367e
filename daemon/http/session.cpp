#include "daemon/http/session.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <cstdio>
#include <random>

#include "daemon/async.hpp"
#include "daemon/log.hpp"

namespace canaryd::http {

namespace beast_http = boost::beast::http;
using boost::system::error_code;
using namespace std::chrono_literals;

namespace {

constexpr int most_requests = 100;  // of one connection
constexpr Duration time_to_head = 5s;
constexpr Duration time_to_body = 10s;
constexpr Duration time_idle = 30s;
constexpr Duration time_to_write = 10s;
constexpr Duration time_to_linger = 1s;
constexpr std::size_t most_lingering = 256 * 1024;
constexpr std::size_t chunk = 16 * 1024;

beast_http::response<beast_http::string_body> message_of(Reply reply, const std::string& id,
                                                         TimePoint now) {
    beast_http::response<beast_http::string_body> message;
    message.version(11);
    message.result(static_cast<unsigned>(reply.status));
    message.reason(phrase(reply.status));
    message.set("Date", http_date(now));
    message.set("Cache-Control", "no-store");
    message.set("X-Content-Type-Options", "nosniff");
    message.set("X-Request-Id", id);
    message.set("Connection", reply.close ? "close" : "keep-alive");
    for (const auto& [name, value] : reply.fields) message.set(name, value);
    if (reply.status != 204) {
        message.set("Content-Type", reply.type);
        message.content_length(reply.body.size());
    }
    message.body() = std::move(reply.body);
    return message;
}

}  // namespace

/// A connection's entry in the hub's books, taken out when the connection ends.
class Place {
public:
    Place(std::shared_ptr<Hub> hub, std::string peer)
        : hub_(std::move(hub)), peer_(std::move(peer)), number_(hub_->connections_++) {
        if (peer_.empty()) return;
        ++hub_->tcp_;
        ++hub_->peers_[peer_];
    }
    ~Place() {
        hub_->sessions_.erase(number_);
        if (peer_.empty()) return;
        --hub_->tcp_;
        if (--hub_->peers_[peer_] == 0) hub_->peers_.erase(peer_);
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    void enter(const std::shared_ptr<Session>& session) { hub_->sessions_[number_] = session; }

private:
    std::shared_ptr<Hub> hub_;
    std::string peer_;
    std::uint64_t number_;
};

class Session {
public:
    Session(std::shared_ptr<Hub> hub, Socket socket, const Caller& caller, const std::string& peer)
        : place(hub, peer), hub_(std::move(hub)), socket_(std::move(socket)), caller_(caller) {}

    Async<> run();
    void close() {
        error_code ignored;
        socket_.close(ignored);
    }

    Place place;

private:
    enum class Got { something, nothing, late };

    Async<Got> read_head(HeadReader& reader, bool first);
    Async<Got> read_until(SteadyPoint at, std::size_t size);
    Async<Reply> answer(HeadReader& reader, std::string id);
    Async<bool> write(Reply reply, std::string id, bool without_body);
    Async<bool> write_continue();
    Async<> linger();
    /// Ends what the socket is waiting for, not the socket: 408 can still be sent.
    std::function<void()> cancel(bool& late) {
        return [this, &late] {
            late = true;
            error_code ignored;
            socket_.cancel(ignored);
        };
    }

    std::shared_ptr<Hub> hub_;
    Socket socket_;
    Caller caller_;
    std::string buffer_;  // read and not used yet
};

/// Reads once more, or until the time is over.
Async<Session::Got> Session::read_until(SteadyPoint at, std::size_t size) {
    bool late = hub_->clock.steady() >= at;
    if (late) co_return Got::late;
    const Alarm alarm(hub_->clock, at, cancel(late));
    const std::size_t before = buffer_.size();
    buffer_.resize(before + size);
    error_code error;
    const std::size_t got =
        co_await socket_.async_read_some(asio::buffer(buffer_.data() + before, size),
                                         asio::redirect_error(asio::use_awaitable, error));
    buffer_.resize(before + got);
    if (got > 0) co_return Got::something;
    co_return late ? Got::late : Got::nothing;
}

/// A new connection has five seconds for a whole head; a used one may be idle before it begins.
Async<Session::Got> Session::read_head(HeadReader& reader, bool first) {
    const bool idle = !first && buffer_.empty();
    if (idle) {
        const Got got = co_await read_until(hub_->clock.steady() + time_idle, chunk);
        if (got != Got::something || hub_->stopped) co_return Got::nothing;
    }
    const SteadyPoint deadline = hub_->clock.steady() + time_to_head;
    while (reader.read(buffer_) == HeadReader::State::more) {
        const Got got = co_await read_until(deadline, chunk);
        if (hub_->stopped) co_return Got::nothing;
        if (got != Got::something) co_return got;
    }
    co_return Got::something;
}

/// From a head that was read to its reply; the body is read only when the head is in order.
Async<Reply> Session::answer(HeadReader& reader, std::string id) {
    if (reader.read(buffer_) == HeadReader::State::refused) {
        co_return problem(reader.refusal(), id, true);
    }
    buffer_.erase(0, reader.size());
    const Head& head = reader.head();
    const auto length = static_cast<std::size_t>(head.content_length.value_or(0));
    Admission admission = admit(head, caller_, hub_->listen_address);
    if (admission.refusal) co_return problem(*admission.refusal, id, length > 0);
    if (admission.endpoint == nullptr) {
        Reply options;
        options.status = 204;
        options.fields.emplace_back("Allow", admission.allow);
        co_return options;
    }
    if (head.expects_continue && buffer_.size() < length && !co_await write_continue()) {
        co_return problem({408, "late", "the interim answer was not taken"}, id, true);
    }
    const SteadyPoint deadline = hub_->clock.steady() + time_to_body;
    while (buffer_.size() < length) {
        const Got got = co_await read_until(deadline, std::min(chunk, length - buffer_.size()));
        if (got == Got::something && !hub_->stopped) continue;
        co_return problem({408, "late", "the body did not come within 10 s"}, id, true);
    }
    Request request;
    request.endpoint = admission.endpoint;
    request.head = head;
    request.rollout = admission.rollout;
    request.body = buffer_.substr(0, length);
    request.caller = caller_;
    request.id = id;
    buffer_.erase(0, length);
    Reply reply = co_await serve(hub_->controller, std::move(request));
    co_return reply;
}

/// False when the peer did not take it in time, or is gone.
Async<bool> Session::write(Reply reply, std::string id, bool without_body) {
    bool late = false;
    const Alarm alarm(hub_->clock, hub_->clock.steady() + time_to_write, cancel(late));
    auto message = message_of(std::move(reply), id, hub_->clock.now());
    beast_http::response_serializer<beast_http::string_body> serializer(message);
    error_code error;
    if (without_body) {
        co_await beast_http::async_write_header(socket_, serializer,
                                                asio::redirect_error(asio::use_awaitable, error));
    } else {
        co_await beast_http::async_write(socket_, serializer,
                                         asio::redirect_error(asio::use_awaitable, error));
    }
    co_return !error && !late;
}

Async<bool> Session::write_continue() {
    static constexpr std::string_view text = "HTTP/1.1 100 Continue\r\n\r\n";
    bool late = false;
    const Alarm alarm(hub_->clock, hub_->clock.steady() + time_to_write, cancel(late));
    error_code error;
    co_await asio::async_write(socket_, asio::buffer(text.data(), text.size()),
                               asio::redirect_error(asio::use_awaitable, error));
    co_return !error && !late;
}

/// Closing on unread bytes would reset the connection, and the peer might lose the answer: what
/// still comes is thrown away for a moment. None of it is looked at.
Async<> Session::linger() {
    error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    const SteadyPoint deadline = hub_->clock.steady() + time_to_linger;
    for (std::size_t dropped = 0; dropped < most_lingering; dropped += chunk) {
        buffer_.clear();
        const Got got = co_await read_until(deadline, chunk);
        if (got != Got::something) break;
    }
}

Async<> Session::run() {
    for (int served = 1; served <= most_requests; ++served) {
        HeadReader reader;
        const Got got = co_await read_head(reader, served == 1);
        if (got == Got::nothing) break;
        const std::string id = hub_->next_id();
        Reply reply;
        if (got == Got::late) {
            reply = problem({408, "late", "the head did not come within 5 s"}, id, true);
        } else {
            reply = co_await answer(reader, id);
        }
        if (hub_->stopped) break;
        const bool last = !reader.head().keep_alive || served == most_requests;
        reply.close = reply.close || last;
        const bool closes = reply.close;
        const bool without_body = reader.head().method == Method::head;
        const bool written = co_await write(std::move(reply), id, without_body);
        if (!written || hub_->stopped) break;
        if (closes) {
            co_await linger();
            break;
        }
    }
    close();
}

namespace {

Async<> run_session(std::shared_ptr<Session> session) {
    co_await session->run();
}

/// One try to say why: the connection is not worth waiting for.
void turn_away(Socket socket, const Refusal& refusal, const std::string& id, TimePoint now) {
    const Reply reply = problem(refusal, id, true);
    auto message = message_of(reply, id, now);
    error_code error;
    socket.non_blocking(true, error);
    if (!error) beast_http::write(socket, message, error);
    socket.close(error);
}

}  // namespace

Hub::Hub(Clock& clock_port, Controller& controller_, std::string address)
    : clock(clock_port), controller(controller_), listen_address(std::move(address)) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%08x-", std::random_device{}());
    id_prefix_ = text.data();
}

std::string Hub::next_id() {
    return id_prefix_ + std::to_string(++requests_);
}

void Hub::take(const std::shared_ptr<Hub>& hub, Socket socket, const Caller& caller,
               const std::string& peer) {
    const auto of_peer = hub->peers_.find(peer);
    const bool too_many_of_peer =
        !peer.empty() && of_peer != hub->peers_.end() && of_peer->second >= most_of_peer;
    const bool too_many = hub->sessions_.size() >= most || (!peer.empty() && hub->tcp_ >= most_tcp);
    if (too_many_of_peer || too_many) {
        const Refusal refusal{
            too_many ? 503 : 429, "connections",
            too_many ? "too many connections" : "32 connections are open already"};
        turn_away(std::move(socket), refusal, hub->next_id(), hub->clock.now());
        return;
    }
    const auto executor = socket.get_executor();
    const auto session = std::make_shared<Session>(hub, std::move(socket), caller, peer);
    session->place.enter(session);
    asio::co_spawn(executor, run_session(session), [](const std::exception_ptr& error) {
        // A connection's trouble is its own: it ends, the daemon does not.
        try {
            if (error) std::rethrow_exception(error);
        } catch (const std::exception& trouble) {
            log(Level::warning, std::string("a connection ended: ") + trouble.what());
        }
    });
}

void Hub::stop() {
    stopped = true;
    const auto sessions = sessions_;
    for (const auto& [number, weak] : sessions) {
        if (const auto session = weak.lock()) session->close();
    }
}

}  // namespace canaryd::http
