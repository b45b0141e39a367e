#include "daemon/async.hpp"

#include <boost/asio/append.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/execution_context.hpp>
#include <map>

namespace canaryd {

/// The coroutines of one loop that wait for a ring: a service, so that they end with their loop.
class Parking : public asio::execution_context::service {
public:
    using key_type = Parking;
    static inline asio::execution_context::id id;

    using Waiter =
        asio::async_result<asio::use_awaitable_t<>, void(boost::system::error_code)>::handler_type;

    explicit Parking(asio::execution_context& loop) : service(loop) {}

    /// A number that is never given again: who holds an old one wakes nobody else.
    std::uint64_t park(Waiter waiter) {
        waiters_.emplace(++last_, std::move(waiter));
        return last_;
    }
    /// Once for each: a ring and a deadline may come in the same millisecond.
    void resume(std::uint64_t number, boost::system::error_code error) {
        auto waiter = waiters_.extract(number);
        if (waiter) asio::post(asio::append(std::move(waiter.mapped()), error));
    }

private:
    void shutdown() override { waiters_.clear(); }

    std::map<std::uint64_t, Waiter> waiters_;
    std::uint64_t last_ = 0;
};

Wake::Wake(const asio::any_io_executor& executor)
    : parking_(asio::use_service<Parking>(asio::query(executor, asio::execution::context))) {}

void Wake::ring() {
    rung_ = true;
    parking_.resume(waiter_, {});
}

Async<> Wake::wait() {
    const auto park = [this](Parking::Waiter waiter) {
        auto slot = asio::get_associated_cancellation_slot(waiter);
        waiter_ = parking_.park(std::move(waiter));
        if (!slot.is_connected()) return;
        slot.assign([&parking = parking_, number = waiter_](asio::cancellation_type) {
            parking.resume(number, asio::error::operation_aborted);
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
