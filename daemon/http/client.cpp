#include "daemon/http/client.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

namespace canaryd::http {

namespace {

namespace asio = boost::asio;
namespace beast_http = boost::beast::http;
using boost::system::error_code;
using Local = asio::local::stream_protocol;

constexpr std::uint64_t max_answer = std::uint64_t{16} * 1024 * 1024;
constexpr std::uint32_t max_answer_head = 16 * 1024;

std::string mend(const error_code& error) {
    if (error == asio::error::access_denied) {
        return "; join the group canaryd-operators, or use sudo";
    }
    return "; is canaryd running? systemctl status canaryd";
}

/// One request on its own connection; every step shares one deadline.
class Exchange {
public:
    Exchange(const std::string& path, std::chrono::seconds timeout)
        : path_(path), socket_(io_), deadline_(io_, timeout) {
        deadline_.async_wait([this](const error_code& cancelled) {
            if (cancelled) return;
            late_ = true;
            error_code ignored;
            socket_.close(ignored);
        });
    }

    void connect() {
        const Local::endpoint endpoint(path_);
        const error_code error =
            finish([&](auto done) { socket_.async_connect(endpoint, std::move(done)); });
        if (error) throw Unreachable("canaryd at " + path_ + ": " + error.message() + mend(error));
    }

    void send(const beast_http::request<beast_http::string_body>& message) {
        // The daemon may answer before it has read everything (413): what counts is the answer.
        const error_code sent = finish([&](auto done) {
            beast_http::async_write(socket_, message,
                                    [done](const error_code& error, std::size_t) { done(error); });
        });
        if (sent == asio::error::timed_out) check(sent);
    }

    Answer receive(bool without_body) {
        boost::beast::flat_buffer buffer(max_answer_head + 64 * 1024);
        beast_http::response_parser<beast_http::string_body> parser;
        parser.header_limit(max_answer_head);
        parser.body_limit(max_answer);
        parser.skip(without_body);
        check(finish([&](auto done) {
            beast_http::async_read_header(
                socket_, buffer, parser,
                [done](const error_code& error, std::size_t) { done(error); });
        }));
        // The daemon always sends a length, and Beast is lenient with other ways to say it.
        if (parser.get().count(beast_http::field::transfer_encoding) != 0 ||
            parser.get().count(beast_http::field::content_length) > 1) {
            throw std::runtime_error("canaryd at " + path_ + ": the answer is not from canaryd");
        }
        if (!parser.is_done()) {
            check(finish([&](auto done) {
                beast_http::async_read(
                    socket_, buffer, parser,
                    [done](const error_code& error, std::size_t) { done(error); });
            }));
        }
        auto message = parser.release();
        const auto type = message[beast_http::field::content_type];
        return {static_cast<int>(message.result_int()), std::string(type.data(), type.size()),
                std::move(message.body())};
    }

private:
    /// Runs one asynchronous operation to its end, or to the deadline.
    template <class Start>
    error_code finish(Start start) {
        error_code result;
        bool done = false;
        io_.restart();
        start([&result, &done](const error_code& error) {
            result = error;
            done = true;
        });
        while (!done) io_.run_one();
        return late_ ? error_code(asio::error::timed_out) : result;
    }

    void check(const error_code& error) const {
        if (!error) return;
        const std::string where = "canaryd at " + path_ + ": ";
        if (error == asio::error::timed_out) {
            throw Unreachable(where +
                              "no answer in time; whether it did what you asked is not "
                              "known: ask canaryctl status");
        }
        if (error == asio::error::eof || error == beast_http::error::end_of_stream ||
            error == beast_http::error::partial_message || error == asio::error::broken_pipe ||
            error == asio::error::connection_reset) {
            throw Unreachable(where + "it ended without an answer; ask canaryctl status");
        }
        throw std::runtime_error(where + "the answer is not understood: " + error.message());
    }

    std::string path_;
    asio::io_context io_{1};
    Local::socket socket_;
    asio::steady_timer deadline_;
    bool late_ = false;
};

}  // namespace

Answer request(const std::string& socket_path, const std::string& method, const std::string& target,
               const std::string& accept, const std::string& body, std::chrono::seconds timeout) {
    if (socket_path.size() > 107) {
        throw Unreachable("canaryd at " + socket_path + ": the path is longer than 107 bytes");
    }
    beast_http::request<beast_http::string_body> message;
    message.version(11);
    message.method_string(method);
    message.target(target);
    message.set(beast_http::field::host, "localhost");
    message.set(beast_http::field::connection, "close");
    if (!accept.empty()) message.set(beast_http::field::accept, accept);
    if (method == "POST") {
        message.set(beast_http::field::content_type, "application/json");
        message.body() = body.empty() ? "{}" : body;
        message.content_length(message.body().size());
    }
    Exchange exchange(socket_path, timeout);
    exchange.connect();
    exchange.send(message);
    return exchange.receive(method == "HEAD");
}

}  // namespace canaryd::http
