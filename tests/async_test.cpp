// Wake-ups and deadlines of the deciding thread, on a clock that the test moves.
#include "daemon/async.hpp"

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>

#include "tests/simulation/ports.hpp"

namespace canaryd {
namespace {

using simulation::VirtualClock;
using std::chrono::seconds;

Async<> waits(Wake& wake, int& times) {
    co_await wake.wait();
    ++times;
}

/// A member that says when its coroutine's frame is destroyed, and rings then, as guards may.
struct Witness {
    Witness(bool& gone, Wake& wake) : gone_(gone), wake_(wake) {}
    ~Witness() {
        gone_ = true;
        wake_.ring();
    }
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;

private:
    bool& gone_;
    Wake& wake_;
};

Async<> waits_for_ever(bool& gone) {
    Wake wake(co_await asio::this_coro::executor);
    const Witness witness(gone, wake);
    co_await wake.wait();
}

std::size_t poll(asio::io_context& loop) {
    loop.restart();
    return loop.poll();
}

}  // namespace

TEST_SUITE("async") {
    TEST_CASE("a ring wakes the waiter, is kept for the next one, and two of them are one") {
        asio::io_context loop(1);
        Wake wake(loop.get_executor());
        int times = 0;
        asio::co_spawn(loop, waits(wake, times), or_die);
        poll(loop);
        CHECK(times == 0);
        wake.ring();
        wake.ring();
        poll(loop);
        CHECK(times == 1);
        asio::co_spawn(loop, waits(wake, times), or_die);
        poll(loop);
        CHECK(times == 1);
        wake.ring();
        poll(loop);
        CHECK(times == 2);
        wake.ring();
        asio::co_spawn(loop, waits(wake, times), or_die);
        poll(loop);
        CHECK(times == 3);
    }

    TEST_CASE("a wait that a deadline ended takes nothing from the next one") {
        asio::io_context loop(1);
        VirtualClock clock;
        Wake wake(loop.get_executor());
        int times = 0;
        std::string said;
        const auto patient = [&]() -> Async<> {
            try {
                co_await with_deadline(clock, seconds{5}, "the bell", waits(wake, times));
            } catch (const TimedOut& error) {
                said = error.what();
            }
        };
        for (int round = 0; round < 3; ++round) {
            said.clear();
            asio::co_spawn(loop, patient(), or_die);
            poll(loop);
            REQUIRE(clock.advance());
            poll(loop);
            CHECK(said == "the bell: no answer within 5000 ms");
            CHECK(times == round);
            asio::co_spawn(loop, patient(), or_die);
            poll(loop);
            wake.ring();
            poll(loop);
            CHECK(times == round + 1);
            CHECK_FALSE(clock.advance());  // its alarm went with it
        }
    }

    TEST_CASE("an answer and its deadline in the same moment, in either order, are an answer") {
        for (const bool answer_first : {true, false}) {
            asio::io_context loop(1);
            VirtualClock clock;
            Wake wake(loop.get_executor());
            int times = 0, ends = 0;
            asio::co_spawn(loop, with_deadline(clock, seconds{5}, "the bell", waits(wake, times)),
                           [&](const std::exception_ptr& error) {
                               CHECK_FALSE(error);
                               ++ends;
                           });
            poll(loop);
            if (answer_first) wake.ring();
            asio::post(loop, [&clock] { clock.advance(); });
            if (!answer_first) asio::post(loop, [&wake] { wake.ring(); });
            poll(loop);
            CHECK(ends == 1);
            CHECK(times == 1);
        }
    }

    TEST_CASE("a deadline rung from outside the loop after the answer finds nobody") {
        asio::io_context loop(1);
        VirtualClock clock;
        Wake wake(loop.get_executor());
        int times = 0, ends = 0;
        asio::co_spawn(loop, with_deadline(clock, seconds{5}, "the bell", waits(wake, times)),
                       [&](const std::exception_ptr&) { ++ends; });
        poll(loop);
        wake.ring();
        REQUIRE(clock.advance());
        poll(loop);
        CHECK(ends == 1);
        CHECK(times == 1);
    }

    TEST_CASE("a loop that ends destroys who still waits") {
        bool gone = false;
        {
            asio::io_context loop(1);
            asio::co_spawn(loop, waits_for_ever(gone), or_die);
            poll(loop);
            CHECK_FALSE(gone);
        }
        CHECK(gone);
    }
}

}  // namespace canaryd
