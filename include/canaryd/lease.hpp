// Which daemon may act, where several share a store; and what this machine remembers of a store,
// so that an older copy of it is noticed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>

#include "canaryd/ports.hpp"

namespace canaryd {

/// Another daemon acts now: this one must stop, and start anew as one that stands by.
struct LeaseLost : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// How long a lease lasts, by the store's clock. A daemon that dies is followed within this, one
/// `stand_by_every` and the time of a load.
inline constexpr Duration lease_length = std::chrono::seconds{12};
/// Three tries before it ends.
inline constexpr Duration lease_renewed_every = std::chrono::seconds{3};
inline constexpr Duration stand_by_every = std::chrono::seconds{1};
/// How much of the lease has to be left, by our own clock, when an order is sent.
inline constexpr Duration lease_margin = std::chrono::seconds{3};

/// The right to act: one row of the shared store, with a number that grows at each change of
/// holder. The store checks it with every commit, so that a daemon that was stopped and goes on
/// changes nothing. Throwing means that the store could not be asked.
class Lease {
public:
    virtual ~Lease() = default;
    /// Takes it when nobody has it or its time is over; else who has it, for people.
    virtual Async<std::optional<std::string>> take() = 0;
    /// False, for ever: somebody else took it since.
    virtual Async<bool> renew() = 0;
    /// Lets it go, so that another daemon need not wait for its end.
    virtual Async<> release() = 0;
};

/// What is remembered of a rollout outside the store.
struct Mark {
    std::uint64_t revision = 0;
    Weight weight;
    bool rolled_back = false;
};

/// Written after each commit, read at each start, by rollout id.
class Marks {
public:
    virtual ~Marks() = default;
    [[nodiscard]] virtual std::map<std::string, Mark> read() const = 0;
    /// Never throws: a mark that cannot be written is no reason to stop.
    virtual void write(const Rollout& rollout) noexcept = 0;
    /// For people: "the marks in /var/lib/canaryd".
    [[nodiscard]] virtual std::string name() const = 0;
};

}  // namespace canaryd
