#include "daemon/async.hpp"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/execution_context.hpp>
#include <map>

namespace canaryd {

/// The coroutines of one loop that wait for a ring.
class Parking : public asio::execution_context::service {
public:
    using key_type = Parking;
    static inline asio::execution_context::id id;

    struct Waiter {
        virtual ~Waiter() = default;
        virtual void resume(boost::system::error_code error) = 0;
    };

    explicit Parking(asio::execution_context& loop) : service(loop) {}

    /// A number that is never given again.
    std::uint64_t park(std::unique_ptr<Waiter> waiter) {
        waiters_.emplace(++last_, std::move(waiter));
        return last_;
    }
    /// Once for each: a ring and a deadline may come in the same millisecond.
    void resume(std::uint64_t number, boost::system::error_code error) {
        const auto waiter = waiters_.extract(number);
        if (waiter) waiter.mapped()->resume(error);
    }

private:
    void shutdown() override {
        // What a frame destroys may ring another one, which is still here or gone.
        while (!waiters_.empty()) waiters_.extract(waiters_.begin());
    }

    std::map<std::uint64_t, std::unique_ptr<Waiter>> waiters_;
    std::uint64_t last_ = 0;
};

namespace {

template <class Handler>
struct HandlerWaiter : Parking::Waiter {
    HandlerWaiter(Handler its, asio::any_io_executor loop)
        : handler(std::move(its)), executor(std::move(loop)) {}
    void resume(boost::system::error_code error) override {
        asio::post(executor, [handler = std::move(handler), error]() mutable {
            asio::get_associated_cancellation_slot(handler).clear();
            std::move(handler)(error);
        });
    }
    Handler handler;
    asio::any_io_executor executor;
};

}  // namespace

Wake::Wake(asio::any_io_executor executor)
    : executor_(std::move(executor)),
      parking_(asio::use_service<Parking>(asio::query(executor_, asio::execution::context))) {}

void Wake::ring() {
    rung_ = true;
    parking_.resume(waiter_, {});
}

Async<> Wake::wait() {
    const auto park = [this](auto handler) {
        auto slot = asio::get_associated_cancellation_slot(handler);
        waiter_ = parking_.park(
            std::make_unique<HandlerWaiter<decltype(handler)>>(std::move(handler), executor_));
        if (!slot.is_connected()) return;
        slot.assign([&parking = parking_, key = waiter_](asio::cancellation_type) {
            parking.resume(key, asio::error::operation_aborted);
        });
    };
    while (!rung_) {
        try {
            co_await asio::async_initiate<const asio::use_awaitable_t<>&,
                                          void(boost::system::error_code)>(park,
                                                                           asio::use_awaitable);
        } catch (const boost::system::system_error&) {
            if (!rung_) throw;  // an answer that came with its deadline is an answer
        }
    }
    rung_ = false;
}

}  // namespace canaryd
