#include "canaryd/routing.hpp"

#include <cstdint>
#include <string>

#include "daemon/sha256.hpp"

namespace canaryd {

namespace {

bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// 8-4-4-4-12 hexadecimal digits, whatever their case.
bool is_uuid(std::string_view user) {
    if (user.size() != 36) return false;
    for (std::size_t i = 0; i < user.size(); ++i) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? user[i] != '-' : !is_hex(user[i])) return false;
    }
    return true;
}

}  // namespace

int bucket_of(std::string_view salt, std::string_view user) {
    std::string text;
    text.reserve(salt.size() + 1 + user.size());
    text.append(salt).append(1, ':').append(user);
    // One user, one bucket: databases and applications disagree about the case of a UUID.
    if (is_uuid(user)) {
        for (std::size_t i = salt.size() + 1; i < text.size(); ++i)
            if (text[i] >= 'A' && text[i] <= 'F') text[i] = static_cast<char>(text[i] - 'A' + 'a');
    }
    const auto digest = sha256(text);
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < 8; ++i) number = number << 8 | digest[i];
    return static_cast<int>(number % 10'000);
}

bool on_canary(std::string_view salt, std::string_view user, Weight weight) {
    return bucket_of(salt, user) < weight.basis_points;
}

}  // namespace canaryd
