// A store whose calls block, and the port made of it: each call runs on the pool.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "canaryd/ports.hpp"
#include "daemon/async.hpp"

namespace canaryd {

/// What Store says, on a pool's thread.
class BlockingStore {
public:
    virtual ~BlockingStore() = default;
    virtual std::vector<Loaded> load() = 0;
    virtual void commit(const Event& event, const Transition& transition,
                        const std::vector<Owed>& owed) = 0;
    virtual std::vector<Owed> owed() = 0;
    virtual void settle(const std::string& message_id, const std::string& why) = 0;
    virtual std::vector<JournalEntry> journal(const std::string& rollout, std::uint64_t after,
                                              std::size_t limit) = 0;
    virtual std::uint64_t count_of(const std::string& name) = 0;
};

/// Shared with its calls: one that is given up at a deadline goes on and may outlive the Store.
std::unique_ptr<Store> on_pool(std::shared_ptr<BlockingStore> store, Pool pool);

}  // namespace canaryd
