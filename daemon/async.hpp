// Coroutine tools of the deciding thread: wake-ups, sleeping on the Clock, deadlines, pools.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "canaryd/ports.hpp"

namespace canaryd {

namespace asio = boost::asio;

class Parking;

/// A flag and at most one waiting coroutine: a ring while nobody waits is kept, and rings before
/// the waiter runs are one. No time and no socket is involved, so it works under the virtual clock
/// as well. The waiter belongs to its loop, which destroys it when it ends. One thread.
///
/// Not Asio's channel: of 1.81, after one cancelled receive it refuses whatever is sent.
class Wake {
public:
    explicit Wake(const asio::any_io_executor& executor);
    Wake(const Wake&) = delete;
    Wake& operator=(const Wake&) = delete;
    void ring();
    /// Throws boost::system::system_error when a deadline cancels it before it is rung; it can be
    /// waited for again.
    Async<> wait();

private:
    Parking& parking_;
    std::uint64_t waiter_ = 0;
    bool rung_ = false;
};

/// An alarm of the Clock that is forgotten when its owner goes out of scope.
class Alarm {
public:
    Alarm(Clock& clock, SteadyPoint at, std::function<void()> ring)
        : clock_(clock), key_(clock.call_at(at, std::move(ring))) {}
    ~Alarm() { clock_.forget(key_); }
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;

private:
    Clock& clock_;
    Clock::Key key_;
};

/// Waits for a ring, at most until `at`.
inline Async<> wait_until(Clock& clock, Wake& wake, SteadyPoint at) {
    const Alarm alarm(clock, at, [&wake] { wake.ring(); });
    co_await wake.wait();
}

inline Async<> sleep_until(Clock& clock, SteadyPoint at) {
    Wake wake(co_await asio::this_coro::executor);
    co_await wait_until(clock, wake, at);
}

/// What a deadline throws: what was tried and for how long.
struct TimedOut : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// `work`, cancelled at the deadline. `work` must be cancellable: pool calls and Wakes are.
template <class T>
Async<T> with_deadline(Clock& clock, Duration limit, std::string what, Async<T> work) {
    const auto executor = co_await asio::this_coro::executor;
    const auto signal = std::make_shared<asio::cancellation_signal>();
    bool late = false;
    // From inside the loop, whoever rings the clock: from outside, co_spawn would pass it on later,
    // when the work may have ended and taken the signal with it.
    const Alarm alarm(clock, clock.steady() + limit,
                      [&late, executor, ours = std::weak_ptr(signal)] {
                          late = true;
                          asio::dispatch(executor, [ours] {
                              const auto still = ours.lock();
                              if (still) still->emit(asio::cancellation_type::terminal);
                          });
                      });
    try {
        if constexpr (std::is_void_v<T>) {
            co_await asio::co_spawn(
                executor, std::move(work),
                asio::bind_cancellation_slot(signal->slot(), asio::use_awaitable));
            co_return;
        } else {
            T result = co_await asio::co_spawn(
                executor, std::move(work),
                asio::bind_cancellation_slot(signal->slot(), asio::use_awaitable));
            co_return result;
        }
    } catch (const boost::system::system_error&) {
        if (!late) throw;
    }
    throw TimedOut(what + ": no answer within " + std::to_string(limit.count()) + " ms");
}

/// Where blocking calls go. In production a thread of its own; in simulation the loop's executor.
using Pool = asio::any_io_executor;

/// Runs `call` on the pool and comes back with its result. A pool thread cannot be cancelled: the
/// call owns its arguments, and an answer that comes after a deadline is dropped.
template <class Call>
auto run_blocking(Pool pool, Call call) -> Async<std::invoke_result_t<Call&>> {
    using T = std::invoke_result_t<Call&>;
    using Value = std::conditional_t<std::is_void_v<T>, bool, std::optional<T>>;
    struct Slot {
        explicit Slot(asio::any_io_executor executor) : wake(std::move(executor)) {}
        Wake wake;
        Value value{};
        std::exception_ptr error;
    };
    const auto executor = co_await asio::this_coro::executor;
    const auto slot = std::make_shared<Slot>(executor);
    asio::post(pool, [slot, executor, call = std::move(call)]() mutable {
        std::exception_ptr error;
        Value value{};
        try {
            if constexpr (std::is_void_v<T>) {
                call();
            } else {
                value.emplace(call());
            }
        } catch (...) {
            error = std::current_exception();
        }
        asio::post(executor, [slot, error, value = std::move(value)]() mutable {
            slot->value = std::move(value);
            slot->error = error;
            slot->wake.ring();
        });
    });
    co_await slot->wake.wait();
    if (slot->error) std::rethrow_exception(slot->error);
    if constexpr (!std::is_void_v<T>) co_return std::move(*slot->value);
}

/// Completion of a loop that must never end by an exception: the process ends and systemd starts
/// it again from what is stored. In simulation the exception comes out of poll(): the crash.
inline void or_die(const std::exception_ptr& error) {
    if (error) std::rethrow_exception(error);
}

}  // namespace canaryd
