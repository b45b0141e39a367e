#include "daemon/routers/postgres_flags.hpp"

#include <algorithm>
#include <utility>

#include "daemon/log.hpp"

namespace canaryd {

namespace {

// Between two batches, so that vacuum, writers and replicas keep up, and that look-ups have the
// server to themselves for nine tenths of the time. As canaryd.follow() does.
constexpr Duration least_pause = std::chrono::milliseconds{10};
constexpr int pauses_per_batch = 9;
constexpr Duration least_wait = std::chrono::seconds{1};
constexpr Duration most_wait = std::chrono::minutes{1};
constexpr postgres::Limits batch_limits{.statement = std::chrono::seconds{20}};

}  // namespace

FlagFollower::FlagFollower(std::string name, const Connection& connection)
    : name_(std::move(name)), database_(connection), thread_([this] { run(); }) {}

FlagFollower::~FlagFollower() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    wake_.notify_one();
    database_.interrupt();
    thread_.join();
}

void FlagFollower::ring() {
    {
        const std::lock_guard lock(mutex_);
        rung_ = true;
    }
    wake_.notify_one();
}

bool FlagFollower::sleep(Duration most) {
    std::unique_lock lock(mutex_);
    const auto over = [&] { return ending_ || rung_; };
    if (most > Duration{0}) {
        wake_.wait_for(lock, most, over);
    } else {
        wake_.wait(lock, over);
    }
    rung_ = false;
    return !ending_;
}

void FlagFollower::run() {
    Duration wait{0};
    Duration backoff = least_wait;
    while (sleep(wait)) {
        try {
            wait = follow();
            // There may be nothing to follow for a week: the connection is one of few.
            if (wait == Duration{0}) database_.close();
            backoff = least_wait;
        } catch (const std::exception& error) {
            wait = backoff;
            backoff = std::min(2 * backoff, most_wait);
            const std::lock_guard lock(mutex_);
            if (trouble_.empty() && !ending_)
                log(Level::warning, "flags of " + name_ + ": " + error.what());
            trouble_ = error.what();
        }
    }
}

Duration FlagFollower::follow() {
    // A batch that a crash of the server takes is done again, so that its commit need not wait for
    // the disk. The last one does, and with it all before.
    const auto row = database_.write(
        batch_limits,
        "select done, changed, at_block, of_blocks,"
        " ceil(1000 * extract(epoch from clock_timestamp() - now()))::bigint,"
        " set_config('synchronous_commit',"
        " case when done then current_setting('synchronous_commit') else 'off' end, true)"
        " from canaryd.follow_flags($1)",
        name_);
    const bool done = row.boolean(0, 0);
    const std::int64_t changed = row.integer(0, 1);
    const std::lock_guard lock(mutex_);
    if (done_ && !done) changed_ = 0;
    known_ = true;
    done_ = done;
    changed_ += changed;
    at_block_ = row.integer(0, 2);
    of_blocks_ = row.integer(0, 3);
    trouble_.clear();
    if (done) return Duration{0};
    return std::max(least_pause, pauses_per_batch * Duration(row.integer(0, 4)));
}

std::string FlagFollower::progress() const {
    const std::lock_guard lock(mutex_);
    const std::string rows = std::to_string(changed_) + (changed_ == 1 ? " row" : " rows");
    std::string words;
    if (known_ && done_) {
        words = "flags: all follow the route, " + rows + " changed";
    } else if (known_) {
        const std::int64_t percent = of_blocks_ > 0 ? at_block_ * 100 / of_blocks_ : 0;
        words = "flags: following, " + std::to_string(percent) + " % of the table, " + rows +
                " changed so far";
    }
    if (trouble_.empty()) return words;
    return (words.empty() ? "flags" : words) + "; stopped, tried again by itself: " + trouble_;
}

}  // namespace canaryd
