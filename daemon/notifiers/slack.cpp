// Slack by an incoming webhook: one POST a message, on the notifiers' own loop.
#include <boost/asio/connect.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <stdexcept>
#include <utility>

#include "daemon/async.hpp"
#include "daemon/clock.hpp"
#include "daemon/notifiers/notifiers.hpp"
#include "daemon/notifiers/slack_message.hpp"

namespace canaryd {
namespace {

namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using boost::asio::ip::tcp;

constexpr std::chrono::seconds longest_try{10};
constexpr int burst = 3;
constexpr std::chrono::seconds refill_every{1};

/// What all rollouts of a loop share: how quickly each webhook may be called (Slack takes one
/// message a second and short bursts), and a clock. Owned by the loop, used on its thread.
class Webhooks : public asio::execution_context::service {
public:
    using key_type = Webhooks;
    static inline asio::execution_context::id id;
    explicit Webhooks(asio::execution_context& context) : service(context) {}
    void shutdown() override {
        lines_.clear();
        clock_.reset();
    }

    /// For the words "sent 00:12" in a message; nothing is decided by it.
    TimePoint now(const asio::any_io_executor& io) {
        if (!clock_) clock_ = make_system_clock(io);
        return clock_->now();
    }

    /// Nothing: go on. A duration: ask again then.
    std::optional<Duration> take(const std::string& webhook, const asio::any_io_executor& io) {
        Line& line = lines_.try_emplace(webhook, io).first->second;
        if (line.tokens == 0) return line.next;
        --line.tokens;
        if (!line.refilling) refill(line, refill_every);
        return std::nullopt;
    }
    /// A 429 is meant for everybody who uses the webhook.
    void pause(const std::string& webhook, Duration wait) {
        Line& line = lines_.at(webhook);
        line.tokens = 0;
        refill(line, wait);
    }

private:
    struct Line {
        explicit Line(const asio::any_io_executor& io) : timer(io) {}
        asio::steady_timer timer;
        int tokens = burst;
        bool refilling = false;
        Duration next{refill_every};
    };
    void refill(Line& line, Duration wait) {
        line.refilling = true;
        line.next = std::min<Duration>(wait, std::chrono::seconds{30});
        line.timer.expires_after(wait);
        line.timer.async_wait([this, &line](const boost::system::error_code& replaced) {
            if (replaced) return;
            line.refilling = false;
            if (++line.tokens < burst) refill(line, refill_every);
        });
    }
    std::map<std::string, Line> lines_;
    std::unique_ptr<Clock> clock_;
};

/// One try: what its coroutine and its deadline share.
struct Try {
    explicit Try(const asio::any_io_executor& io) : deadline(io), resolver(io), socket(io) {}
    asio::steady_timer deadline;
    tcp::resolver resolver;
    tcp::socket socket;
    std::string host = "webhook";
    const char* doing = "credential";
    bool late = false;
    bool written = false;

    /// What went wrong, without the URL, which is a secret.
    [[nodiscard]] std::string failure(const std::string& why) const {
        return "slack " + host + ": " + doing + ": " + why +
               (written ? "; the message may have arrived" : "");
    }
    [[nodiscard]] std::string no_answer() const {
        return failure("no answer within " + std::to_string(longest_try.count()) + " s");
    }
};
using Attempt = std::shared_ptr<Try>;
/// What became of a try, or why it failed. Texts go from thread to thread, exceptions do not.
struct Result {
    Sent sent;
    std::string failure;  // empty: it did not fail
};
using Reply = std::function<void(Result)>;

/// Beast 1.81 reads some codings as an empty body. The connection is not used again, so only what
/// decides where this body ends has to be sound.
void check_framing(const http::response_header<>& header) {
    const auto codings = header.count(http::field::transfer_encoding);
    const auto lengths = header.count(http::field::content_length);
    const bool chunked = codings == 1 && header.version() == 11 &&
                         boost::beast::iequals(header[http::field::transfer_encoding], "chunked") &&
                         lengths == 0;
    if ((codings > 0 && !chunked) || lengths > 1 ||
        header[http::field::content_length].find(',') != boost::beast::string_view::npos) {
        throw std::runtime_error("an answer whose length is not clear");
    }
}

http::request<http::string_body> post_of(const slack::Webhook& webhook, std::string body) {
    http::request<http::string_body> request{http::verb::post, webhook.target, 11};
    request.set(http::field::host, webhook.authority());
    request.set(http::field::user_agent, "canaryd");
    request.set(http::field::content_type, "application/json; charset=utf-8");
    request.set(http::field::connection, "close");
    request.body() = std::move(body);
    request.prepare_payload();
    return request;
}

/// The answer to one request. What is used of the header is read before the body: trailers would
/// be merged into it.
template <class Stream>
Async<slack::Answer> talk(Attempt attempt, Stream& stream,
                          http::request<http::string_body> request) {
    attempt->doing = "request";
    co_await http::async_write(stream, request, asio::use_awaitable);
    attempt->written = true;
    attempt->doing = "answer";
    boost::beast::flat_buffer buffer{16 * 1024};
    http::response_parser<http::string_body> parser;
    parser.header_limit(8 * 1024);
    parser.body_limit(64 * 1024);
    co_await http::async_read_header(stream, buffer, parser, asio::use_awaitable);
    check_framing(parser.get());
    slack::Answer answer;
    answer.status = parser.get().result_int();
    answer.retry_after = std::string(parser.get()[http::field::retry_after]);
    co_await http::async_read(stream, buffer, parser, asio::use_awaitable);
    answer.body = std::move(parser.get().body());
    co_return answer;
}

ssl::context trusting_the_system() {
    ssl::context context(ssl::context::tls_client);
    SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
    context.set_default_verify_paths();
    context.set_verify_mode(ssl::verify_peer);
    return context;
}

Async<slack::Answer> exchange(Attempt attempt, slack::Webhook webhook, std::string body) {
    attempt->socket.close();
    attempt->written = false;
    attempt->doing = "name look-up";
    const auto places =
        co_await attempt->resolver.async_resolve(webhook.host, webhook.port, asio::use_awaitable);
    // A look-up cannot be cancelled; after the deadline nobody waits for the message's fate.
    if (attempt->late) throw std::runtime_error("too late");
    attempt->doing = "connect";
    co_await asio::async_connect(attempt->socket, places, asio::use_awaitable);
    auto request = post_of(webhook, std::move(body));
    if (!webhook.tls) {
        slack::Answer answer = co_await talk(attempt, attempt->socket, std::move(request));
        co_return answer;
    }
    attempt->doing = "TLS";
    ssl::context context = trusting_the_system();
    ssl::stream<tcp::socket&> stream(attempt->socket, context);
    stream.set_verify_callback(ssl::host_name_verification(webhook.host));
    SSL_set_tlsext_host_name(stream.native_handle(), webhook.host.c_str());
    co_await stream.async_handshake(ssl::stream_base::client, asio::use_awaitable);
    slack::Answer answer = co_await talk(attempt, stream, std::move(request));
    co_return answer;
}

/// Reads the secret at each message, so that a new one works without a restart.
slack::Webhook webhook_of(const Connection& connection) {
    return slack::parse_webhook(connection.url.empty() ? read_credential(connection.credential)
                                                       : connection.url);
}

Async<Sent> post_message(Attempt attempt, Connection connection, Message message) {
    const slack::Webhook webhook = webhook_of(connection);
    attempt->host = webhook.host;
    const auto io = co_await asio::this_coro::executor;
    Webhooks& webhooks = asio::use_service<Webhooks>(asio::query(io, asio::execution::context));
    if (const auto wait = webhooks.take(connection.name, io)) {
        co_return Sent{Sent::Kind::later, wait, "slack " + webhook.host + ": one message a second"};
    }
    const TimePoint now = webhooks.now(io);
    slack::Answer answer = co_await exchange(attempt, webhook, slack::payload(message, now));
    if (slack::refuses_form(answer)) {
        answer = co_await exchange(attempt, webhook, slack::plain_payload(message, now));
    }
    Sent sent = slack::outcome_of(answer, webhook.host);
    if (sent.kind == Sent::Kind::later && sent.wait) webhooks.pause(connection.name, *sent.wait);
    co_return sent;
}

/// The whole try on the notifiers' loop, ended by its own deadline. Replies, and never throws.
Async<> deliver(Attempt attempt, Connection connection, Message message, Reply reply) {
    attempt->deadline.expires_after(longest_try);
    attempt->deadline.async_wait([attempt, reply](const boost::system::error_code& in_time) {
        if (in_time) return;
        attempt->late = true;
        attempt->resolver.cancel();
        attempt->socket.close();
        reply({{}, attempt->no_answer()});
    });
    Result result;
    try {
        result.sent = co_await post_message(attempt, std::move(connection), std::move(message));
    } catch (const boost::system::system_error& error) {
        result.failure = attempt->failure(error.code().message());
    } catch (const std::exception& error) {
        const std::string why = error.what();
        result.failure = why.starts_with("slack ") ? why : attempt->failure(why);
    }
    attempt->deadline.cancel();
    attempt->socket.close();
    reply(std::move(result));
}

class SlackNotifier : public Notifier {
public:
    SlackNotifier(Connection connection, asio::any_io_executor io)
        : connection_(std::move(connection)), io_(std::move(io)) {}

    Async<Sent> send(Message message) override {
        struct Slot {
            explicit Slot(asio::any_io_executor executor) : wake(std::move(executor)) {}
            Wake wake;
            std::optional<Result> result;
        };
        const asio::any_io_executor caller = co_await asio::this_coro::executor;
        const auto slot = std::make_shared<Slot>(caller);
        // Called on the other thread, by the try or by its deadline: the first answer counts, and
        // none when this coroutine was given up meanwhile.
        const std::weak_ptr<Slot> waiting = slot;
        const Reply reply = [waiting, caller](Result result) {
            asio::post(caller, [waiting, result = std::move(result)]() mutable {
                const auto live = waiting.lock();
                if (!live || live->result) return;
                live->result = std::move(result);
                live->wake.ring();
            });
        };
        const auto attempt = std::make_shared<Try>(io_);
        asio::co_spawn(io_, deliver(attempt, connection_, std::move(message), reply), or_die);
        co_await slot->wake.wait();
        if (!slot->result->failure.empty()) throw std::runtime_error(slot->result->failure);
        co_return std::move(slot->result->sent);
    }

private:
    Connection connection_;
    asio::any_io_executor io_;
};

}  // namespace

std::shared_ptr<Notifier> make_slack_notifier(const NotifySpec& spec, const Connection& connection,
                                              asio::any_io_executor io) {
    if (connection.url.empty() && connection.credential.empty()) {
        throw std::invalid_argument("connection " + spec.connection +
                                    ": no webhook; write webhook: {credential: NAME}");
    }
    if (!connection.url.empty()) slack::parse_webhook(connection.url);
    return std::make_shared<SlackNotifier>(connection, std::move(io));
}

}  // namespace canaryd
