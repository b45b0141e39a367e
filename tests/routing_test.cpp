// A user's side is a hash of the salt and the id: the same for every reader, sticky, monotone.
#include "canaryd/routing.hpp"

#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <random>
#include <string>

using namespace canaryd;

namespace {

constexpr int ids = 10'000;

// A version 4 UUID from a fixed sequence.
std::string uuid(int i) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::mt19937_64 random(static_cast<std::uint64_t>(i) + 1);
    std::string text;
    for (int n = 0; n < 36; ++n) {
        if (n == 8 || n == 13 || n == 18 || n == 23)
            text += '-';
        else if (n == 14)
            text += '4';
        else if (n == 19)
            text += digits[8 + random() % 4];
        else
            text += digits[random() % 16];
    }
    return text;
}

std::string sequential(int i) {
    return std::to_string(i);
}
std::string phone_number(int i) {
    return "+49151" + std::to_string(10'000'000 + 37 * i);
}

// Pearson's statistic of the buckets in 100 cells of equal share: 99 degrees of freedom.
double chi_square(const std::function<std::string(int)>& id) {
    std::array<int, 100> cells{};
    for (int i = 0; i < ids; ++i)
        ++cells[static_cast<std::size_t>(bucket_of("unified-webhook", id(i))) / 100];
    double sum = 0;
    for (const int count : cells) sum += (count - 100.0) * (count - 100.0) / 100.0;
    return sum;
}

int count_on_canary(Weight weight) {
    int on = 0;
    for (int i = 0; i < ids; ++i) on += on_canary("unified-webhook", uuid(i), weight) ? 1 : 0;
    return on;
}

}  // namespace

TEST_SUITE("routing") {
    TEST_CASE("a bucket is the one that any other SHA-256 computes") {
        // python3: int.from_bytes(hashlib.sha256(b"SALT:USER").digest()[:8], "big") % 10000
        CHECK(bucket_of("unified-webhook", "1") == 5589);
        CHECK(bucket_of("unified-webhook", "42") == 4523);
        CHECK(bucket_of("unified-webhook", "+4915112345678") == 2989);
        CHECK(bucket_of("unified-webhook", "") == 1265);
        CHECK(bucket_of("unified-webhook", "jos\xC3\xA9") == 3694);
        CHECK(bucket_of("unified-webhook", "3f2504e0-4f89-11d3-9a0c-0305e82c3301") == 1455);
        CHECK(bucket_of("checkout", "3f2504e0-4f89-11d3-9a0c-0305e82c3301") == 7670);
    }

    TEST_CASE("a UUID is the same user in upper case, another name is not") {
        CHECK(bucket_of("unified-webhook", "3F2504E0-4F89-11D3-9A0C-0305E82C3301") == 1455);
        CHECK(bucket_of("unified-webhook", "ABC") == 6320);
        CHECK(bucket_of("unified-webhook", "abc") == 185);
    }

    TEST_CASE("nobody is on the canary at 0 %, everybody at 100 %, and a bucket below the weight") {
        CHECK(count_on_canary(nobody) == 0);
        CHECK(count_on_canary(everybody) == ids);
        CHECK_FALSE(on_canary("unified-webhook", "abc", Weight{185}));
        CHECK(on_canary("unified-webhook", "abc", Weight{186}));
    }

    TEST_CASE("who is on the canary at 10 % stays on it at 50 %") {
        int ten = 0, fifty = 0, left = 0;
        for (int i = 0; i < ids; ++i) {
            const bool at_ten = on_canary("unified-webhook", uuid(i), Weight{1'000});
            const bool at_fifty = on_canary("unified-webhook", uuid(i), Weight{5'000});
            ten += at_ten ? 1 : 0;
            fifty += at_fifty ? 1 : 0;
            left += at_ten && !at_fifty ? 1 : 0;
        }
        CHECK(left == 0);
        // Four standard deviations of 10,000 draws.
        CHECK(std::abs(ten - 1'000) <= 120);
        CHECK(std::abs(fifty - 5'000) <= 200);
    }

    TEST_CASE("buckets are even whatever ids look like") {
        // 99.9 % quantile of chi-square with 99 degrees of freedom.
        constexpr double limit = 148.23;
        CHECK(chi_square(uuid) < limit);
        CHECK(chi_square(sequential) < limit);
        CHECK(chi_square(phone_number) < limit);
    }
}
