#include "daemon/clock.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <ctime>
#include <system_error>

namespace canaryd {

Clock::Key Alarms::add(SteadyPoint at, std::function<void()> ring) {
    const Clock::Key key{at, ++made_};
    alarms_.emplace(key, std::move(ring));
    return key;
}

void Alarms::forget(const Clock::Key& key) {
    alarms_.erase(key);
}

std::optional<SteadyPoint> Alarms::first() const {
    if (alarms_.empty()) return std::nullopt;
    return alarms_.begin()->first.first;
}

bool Alarms::ring_one(SteadyPoint now) {
    if (alarms_.empty() || alarms_.begin()->first.first > now) return false;
    // Taken out before it rings: ringing may add and forget alarms.
    const auto ring = std::move(alarms_.begin()->second);
    alarms_.erase(alarms_.begin());
    ring();
    return true;
}

namespace {

class SystemClock final : public Clock {
public:
    explicit SystemClock(boost::asio::any_io_executor executor) : timer_(executor) {
        const int fd = ::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
        if (fd < 0) throw std::system_error(errno, std::generic_category(), "timerfd_create");
        timer_.assign(fd);
        wait();
    }

    TimePoint now() const override {
        return std::chrono::floor<Duration>(std::chrono::system_clock::now());
    }

    SteadyPoint steady() const override {
        timespec time{};
        ::clock_gettime(CLOCK_BOOTTIME, &time);
        return SteadyPoint{std::chrono::floor<Duration>(std::chrono::seconds{time.tv_sec} +
                                                        std::chrono::nanoseconds{time.tv_nsec})};
    }

    Key call_at(SteadyPoint at, std::function<void()> ring) override {
        const Key key = alarms_.add(at, std::move(ring));
        arm();
        return key;
    }

    void forget(const Key& key) override { alarms_.forget(key); }

private:
    void arm() {
        const auto first = alarms_.first();
        if (!first || (armed_ && *armed_ <= *first)) return;
        armed_ = first;
        // A time of zero would disarm; one in the past fires at once.
        const auto since = std::max(first->time_since_epoch(), Duration{1});
        const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
        itimerspec spec{};
        spec.it_value.tv_sec = seconds.count();
        spec.it_value.tv_nsec = std::chrono::nanoseconds(since - seconds).count();
        ::timerfd_settime(timer_.native_handle(), TFD_TIMER_ABSTIME, &spec, nullptr);
    }

    void wait() {
        timer_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                          [this](const boost::system::error_code& error) {
                              if (error) return;
                              std::uint64_t expirations = 0;
                              [[maybe_unused]] const auto got =
                                  ::read(timer_.native_handle(), &expirations, sizeof expirations);
                              armed_.reset();
                              while (alarms_.ring_one(steady())) {
                              }
                              arm();
                              wait();
                          });
    }

    boost::asio::posix::stream_descriptor timer_;
    Alarms alarms_;
    std::optional<SteadyPoint> armed_;
};

}  // namespace

std::unique_ptr<Clock> make_system_clock(boost::asio::any_io_executor executor) {
    return std::make_unique<SystemClock>(std::move(executor));
}

}  // namespace canaryd
