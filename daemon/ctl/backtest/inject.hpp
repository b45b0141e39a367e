// A fault that never was: added to the recorded requests, the same ones for the same seed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "canaryd/policy.hpp"

namespace canaryd::backtest {

/// "errors 2% agent=jobs from=3d until=4d": of the canary's requests that went well, 2 % fail.
struct Injection {
    enum class Kind {
        errors,  // a request that went well fails
        slow     // a quick request takes longer than every latency criterion allows
    };
    Kind kind = Kind::errors;
    double share = 0;                    // of the requests that it can befall, in (0, 1]
    std::optional<std::size_t> segment;  // index of the policy's segments; nullopt: all requests
    Duration from{0};                    // since the rollout began
    std::optional<Duration> until;
    bool both = false;  // the baseline's requests too: a shared outage
    std::string as_written;

    [[nodiscard]] bool active(Duration since_begin) const {
        return since_begin >= from && (!until || since_begin < *until);
    }
};

/// An injection, or why it is none: a sentence that names the word and the mend.
struct ReadInjection {
    std::optional<Injection> value;
    std::string fault;
};
ReadInjection read_injection(const Policy& policy, const std::string& text);

/// How long a request takes that was made slow: longer than the criteria allow, and shorter than
/// what only triggers forbid. nullopt: no rule of the policy is about latency.
std::optional<Duration> slow_time(const Policy& policy);

/// A number in [0, 1), the same on every machine for the same seed and place.
class Draws {
public:
    explicit Draws(std::uint64_t seed, std::uint64_t a = 0, std::uint64_t b = 0,
                   std::uint64_t c = 0);
    double next();
    /// How many of n chances of p come true. Exact up to a mean of 30, then by the normal curve.
    std::int64_t binomial(std::int64_t n, double p);

private:
    std::uint64_t state_;
};

}  // namespace canaryd::backtest
