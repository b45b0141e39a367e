#include "daemon/ctl/backtest/inject.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <sstream>

#include "daemon/units.hpp"

namespace canaryd::backtest {
namespace {

std::vector<std::string> words_of(const std::string& text) {
    std::istringstream in(text);
    std::vector<std::string> words;
    for (std::string word; in >> word;) words.push_back(word);
    return words;
}

std::string meant(const std::string& word, const std::vector<std::string>& names) {
    const std::string near = nearest(word, names);
    return near.empty() ? "" : "; did you mean " + near + "?";
}

/// Empty, or what is wrong with the word behind kind and share.
std::string read_option(const Policy& policy, const std::string& word, Injection& into) {
    if (word == "both") {
        into.both = true;
        return {};
    }
    const std::string segment = policy.segment.empty() ? "agent" : policy.segment;
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const std::vector<std::string> names{segment, "from", "until", "both"};
    if (equals == std::string::npos || std::find(names.begin(), names.end(), name) == names.end()) {
        return as_written(word) + " is not known" + meant(name, names) + "; there are " + segment +
               "=NAME, from=3d, until=4d and both";
    }
    const std::string value = word.substr(equals + 1);
    if (name == segment) {
        const auto found = std::find(policy.segments.begin(), policy.segments.end(), value);
        if (found == policy.segments.end()) {
            return as_written(value) + " is no " + segment + " of the policy" +
                   meant(value, policy.segments);
        }
        into.segment = static_cast<std::size_t>(found - policy.segments.begin());
        return {};
    }
    const Read<Duration> time = read_duration(value, "d");
    if (!time.value) return name + ": " + as_written(value) + time.fault;
    if (name == "from") {
        into.from = *time.value;
    } else {
        into.until = *time.value;
    }
    return {};
}

/// One round of splitmix64.
std::uint64_t mixed(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31U);
}

}  // namespace

ReadInjection read_injection(const Policy& policy, const std::string& text) {
    const std::vector<std::string> words = words_of(text);
    const auto fault = [&](const std::string& why) {
        return ReadInjection{std::nullopt, "--inject " + as_written(text) + ": " + why};
    };
    constexpr const char* example = "write \"errors 2% from=3d\" or \"slow 20%\"";
    if (words.size() < 2) return fault(std::string("a kind and a share are wanted; ") + example);
    Injection injection;
    injection.as_written = shortened(text);
    if (words[0] == "slow") {
        injection.kind = Injection::Kind::slow;
        if (!slow_time(policy)) return fault("no criterion or trigger of the policy is on latency");
    } else if (words[0] != "errors") {
        return fault(as_written(words[0]) + " is no kind" + meant(words[0], {"errors", "slow"}) +
                     "; " + example);
    }
    const Read<Share> share = read_share(words[1]);
    if (!share.value) return fault(as_written(words[1]) + share.fault);
    if (share.value->billionths <= 0 || share.value->billionths > Share::whole) {
        return fault(as_written(words[1]) + " is not above 0% and at most 100%");
    }
    injection.share = share.value->value();
    for (std::size_t i = 2; i < words.size(); ++i) {
        const std::string wrong = read_option(policy, words[i], injection);
        if (!wrong.empty()) return fault(wrong);
    }
    if (injection.until && *injection.until <= injection.from) {
        return fault("until is not after from");
    }
    return {injection, {}};
}

std::optional<Duration> slow_time(const Policy& policy) {
    std::optional<Duration> time;
    const auto past = [&](const Signal& signal) {
        if (signal.kind != Signal::Kind::slower) return;
        time = std::max(time.value_or(Duration{0}), signal.than + Duration{1});
    };
    for (const Criterion& criterion : policy.criteria) past(criterion.signal);
    if (time) return time;
    for (const Trigger& trigger : policy.triggers) {
        if (trigger.kind == Trigger::Kind::share) past(trigger.signal);
    }
    return time;
}

Draws::Draws(std::uint64_t seed, std::uint64_t a, std::uint64_t b, std::uint64_t c)
    : state_(mixed(mixed(mixed(mixed(seed) ^ a) ^ b) ^ c)) {}

double Draws::next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    return static_cast<double>(mixed(state_) >> 11U) * 0x1.0p-53;
}

std::int64_t Draws::binomial(std::int64_t n, double p) {
    if (n <= 0 || p <= 0) return 0;
    if (p >= 1) return n;
    if (p > 0.5) return n - binomial(n, 1 - p);
    const double mean = static_cast<double>(n) * p;
    if (mean > 30) {
        const double angle = 2 * std::numbers::pi * next();
        const double normal = std::sqrt(-2 * std::log1p(-next())) * std::cos(angle);
        const double drawn = std::floor(mean + normal * std::sqrt(mean * (1 - p)) + 0.5);
        return std::clamp<std::int64_t>(static_cast<std::int64_t>(drawn), 0, n);
    }
    // Gaps between the chances that come true are geometric.
    const double ln_miss = std::log1p(-p);
    std::int64_t count = 0;
    double at = 0;
    for (;;) {
        at += std::floor(std::log1p(-next()) / ln_miss) + 1;
        if (at > static_cast<double>(n)) return count;
        ++count;
    }
}

}  // namespace canaryd::backtest
