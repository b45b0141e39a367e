// Which side a user is on: one hash, the same in C++, in SQL and in any application.
#pragma once

#include <string_view>

#include "canaryd/policy.hpp"

namespace canaryd {

/// First 8 bytes, big-endian, of sha256(salt + ":" + user) mod 10000; a UUID in lower case.
/// In [0, 10000). The salt is the policy's name: a retry meets the same users first.
int bucket_of(std::string_view salt, std::string_view user);

/// Canary iff the bucket is below the weight in basis points: sticky, and 10 % is inside 50 %.
bool on_canary(std::string_view salt, std::string_view user, Weight weight);

}  // namespace canaryd
