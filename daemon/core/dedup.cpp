#include "canaryd/dedup.hpp"

namespace canaryd {

namespace {

/// The finaliser of SplitMix64: a bijection that spreads every bit over the whole word.
std::uint64_t mixed(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

}  // namespace

std::int64_t block_of(TimePoint at, Duration within) {
    const std::int64_t time = at.time_since_epoch().count();
    const std::int64_t length = within.count();
    const std::int64_t whole = time / length;
    return time % length < 0 ? whole - 1 : whole;
}

std::uint64_t hash_of_user(std::string_view user) {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : user) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3ULL;
    }
    return mixed(hash);
}

std::size_t Dedup::KeyHash::operator()(const Key& key) const {
    const std::uint64_t place = (static_cast<std::uint64_t>(key.scope) << 8) + key.signal + 1;
    return static_cast<std::size_t>(mixed(key.user ^ (place * 0x9e3779b97f4a7c15ULL)));
}

Dedup::Added Dedup::add(std::size_t signal, std::size_t segment, std::int64_t block,
                        std::optional<std::uint64_t> user, bool for_gate) {
    Block& here = blocks_[block];
    Added added;
    if (!user) {
        added.first_total = true;
        added.first_segment = segment != no_segment;
        added.e = for_gate ? 1 : 0;
        added.e2_gain = added.e;
        return added;
    }
    const Key total{signal, no_segment, *user};
    added.first_total = here.failed.insert(total).second;
    if (segment != no_segment) {
        added.first_segment = here.failed.insert(Key{signal, segment, *user}).second;
    }
    if (for_gate) {
        added.e = ++here.bursts[total];
        added.e2_gain = 2 * added.e - 1;
    }
    return added;
}

void Dedup::forget_before(std::int64_t block) {
    blocks_.erase(blocks_.begin(), blocks_.lower_bound(block));
}

void Dedup::restart_gate() {
    for (auto& [block, here] : blocks_) {
        here.bursts.clear();
    }
}

}  // namespace canaryd
