// The flag column that programs read instead of asking for the route: it follows in batches, on a
// thread and a connection of its own. Private to postgres.cpp.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "canaryd/settings.hpp"
#include "daemon/postgres.hpp"

namespace canaryd {

/// The database remembers how far the flags are (canaryd.flags), so that it goes on after a crash
/// where it was; a newer decision starts over by itself.
class FlagFollower {
public:
    FlagFollower(std::string name, const Connection& connection);
    ~FlagFollower();
    FlagFollower(const FlagFollower&) = delete;
    FlagFollower& operator=(const FlagFollower&) = delete;

    /// There may be something to follow. Never waits.
    void ring();
    /// A sentence for people; empty when there is nothing to say.
    [[nodiscard]] std::string progress() const;

private:
    void run();
    /// One batch; how long until the next one, zero when there is none.
    Duration follow();
    /// Sleeps until rung, and no longer than `most` (zero: for ever). False at the end.
    bool sleep(Duration most);

    const std::string name_;
    postgres::Database database_;
    mutable std::mutex mutex_;
    std::condition_variable wake_;
    bool rung_ = false, ending_ = false;
    bool known_ = false, done_ = false;
    std::int64_t changed_ = 0, at_block_ = 0, of_blocks_ = 0;
    std::string trouble_;
    std::thread thread_;  // last: it uses all of the above
};

}  // namespace canaryd
