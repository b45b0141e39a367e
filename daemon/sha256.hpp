// SHA-256 by OpenSSL: policy hashes, the journal's chain, users' buckets.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace canaryd {

std::array<unsigned char, 32> sha256(std::string_view bytes);
std::string sha256_hex(std::string_view bytes);

}  // namespace canaryd
