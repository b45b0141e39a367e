// How a rollout begins: its policy is read and its metrics are looked at before the deciding loop
// has it, for the loop waits for nobody's database.
#include <stdexcept>
#include <utility>

#include "daemon/controller_impl.hpp"
#include "daemon/stores/stores.hpp"

namespace canaryd {
namespace {

// Looks of others may be before it in the queue.
constexpr Duration check_limit = std::chrono::seconds{25};

}  // namespace

/// One unfinished rollout per name: it is not over, or users are not yet where it sends them.
std::shared_ptr<Entry> Controller::Impl::unfinished_of(const std::string& name) const {
    const auto newest = newest_of(name);
    if (!newest) return nullptr;
    const Rollout& rollout = newest->rollout;
    return !rollout.over() || rollout.applied != rollout.desired ? newest : nullptr;
}

Controller::Impl::Starting::Starting(std::shared_ptr<Names> starting, std::string name)
    : starting_(std::move(starting)), name_(std::move(name)) {
    if (!starting_->insert(name_).second)
        throw std::invalid_argument("another start of " + name_ + " is under way");
}

Controller::Impl::Starting::~Starting() {
    starting_->erase(name_);
}

/// An entry with ports of its own whose metrics can be read; nothing else has it yet. The
/// unfinished one of that name if there is one. Throws std::invalid_argument.
Async<std::shared_ptr<Entry>> Controller::Impl::prepare(Policy policy) {
    if (auto running = unfinished_of(policy.name)) co_return running;
    std::shared_ptr<Entry> entry;
    try {
        entry = make_entry(std::move(policy));
    } catch (const std::exception& why) {
        throw std::invalid_argument(why.what());
    }
    try {
        co_await with_deadline(clock, check_limit, "the metrics", entry->ports.source->check());
    } catch (const std::exception& why) {
        throw std::invalid_argument("not started, nobody was moved: its metrics cannot be read: " +
                                    std::string(why.what()) +
                                    "; when that is mended, start it again");
    }
    co_return entry;
}

Async<> Controller::Impl::start(std::shared_ptr<Item> item) {
    const std::shared_ptr<Entry> entry = item->entry;
    // Unfinished now, or when it was prepared: step() refuses, and the journal has it.
    auto running = unfinished_of(entry->policy.name);
    if (!running && entry->rollout.revision > 0) running = entry;
    if (running) {
        Event event{clock.now(), item->by.name, item->by.role, event::Started{}};
        co_await apply(running, std::move(event), item->reply);
        co_return;
    }
    std::uint64_t earlier = 0;
    std::exception_ptr error;
    try {
        earlier = co_await with_deadline(clock, store_limit, "counting rollouts",
                                         store.count_of(entry->policy.name));
    } catch (const StoreReadOnly&) {
        error = std::current_exception();
    }
    if (error) {
        item->reply->fail(error);
        co_return;
    }
    event::Started started;
    started.id = entry->policy.name + "-" + std::to_string(earlier + 1);
    started.policy_text = item->start->policy_text;
    started.policy_file = item->start->policy_file;
    Event event{clock.now(), item->by.name, item->by.role, std::move(started)};
    co_await apply(entry, std::move(event), item->reply);
    if (entry->rollout.revision > 0) take_in(entry);  // else the store could not be written
}

}  // namespace canaryd
