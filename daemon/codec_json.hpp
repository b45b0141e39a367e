// How values become JSON and come back: overloads for every kind of member, one visitor for
// structs. Only the codec includes this: it owns Boost.JSON's view of the stored types.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <boost/json.hpp>
#include <charconv>
#include <chrono>
#include <cmath>
#include <concepts>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "daemon/codec.hpp"
#include "daemon/codec_fields.hpp"

namespace canaryd::codec {

namespace json = boost::json;

/// Where in the text a value stands; spelled out only when something is wrong with it.
struct Place {
    const Place* up = nullptr;
    std::string_view name;      // a field, or the root
    std::ptrdiff_t index = -1;  // of an array's element
};
/// Throws "state.ledger.streams[3].ln_r: why".
[[noreturn]] void refuse(const Place& place, const std::string& why);

struct Ignore {
    template <class Member>
    constexpr void operator()(std::string_view, Member) {}
};
/// A struct that codec_fields.hpp describes.
template <class T>
concept Described = requires(Ignore ignore) {
    fields(ignore, Of<T>{});
};
/// An enum that codec_words.hpp names.
template <class T>
concept Named = std::is_enum_v<T> && requires(T value) {
    word(value);
};

// Equality that sees every bit: -0.0 is not 0.0.

inline bool same(double a, double b) {
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}
template <class T>
requires(!Described<T> && std::equality_comparable<T>) bool same(const T& a, const T& b) {
    return a == b;
}
inline bool same(const Grid& a, const Grid& b) {
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!same(a[i], b[i])) return false;
    return true;
}
template <Described T>
bool same(const T& a, const T& b);
template <class T>
bool same(const std::optional<T>& a, const std::optional<T>& b) {
    return a.has_value() == b.has_value() && (!a || same(*a, *b));
}
template <Described T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!same(a[i], b[i])) return false;
    return true;
}
template <Described T>
bool same(const std::map<std::string, T>& a, const std::map<std::string, T>& b) {
    return a.size() == b.size() &&
           std::equal(a.begin(), a.end(), b.begin(), [](const auto& left, const auto& right) {
               return left.first == right.first && same(left.second, right.second);
           });
}
template <Described T>
bool same(const T& a, const T& b) {
    bool equal = true;
    auto compare = [&](std::string_view, auto member) {
        equal = equal && same(a.*member, b.*member);
    };
    fields(compare, Of<T>{});
    return equal;
}

// Writing.

/// Shortest text that is read back to the same bits. Throws for NaN: no evidence is NaN.
std::string exact(double value);

inline json::value write(bool value) {
    return value;
}
template <std::integral Integer>
json::value write(Integer value) {
    return value;
}
inline json::value write(double value) {
    return json::value(exact(value));
}
inline json::value write(const std::string& value) {
    return json::value(valid_utf8(value));
}
inline json::value write(Weight value) {
    return value.basis_points;
}
inline json::value write(Duration value) {
    return value.count();
}
inline json::value write(TimePoint value) {
    return value.time_since_epoch().count();
}
template <Named T>
json::value write(T value) {
    const std::string_view name = word(value);
    if (name.empty()) throw std::logic_error("codec: an enumerator without a word");
    return json::value(name);
}
json::value write(const Grid& value);
/// Hashes of users: 64 bits do not fit a JSON number that others read.
json::value write(const std::vector<std::uint64_t>& hashes);
template <Described T>
json::value write(const T& value);
template <class T>
json::value write(const std::optional<T>& value) {
    return value ? write(*value) : json::value(nullptr);
}
template <class Sequence>
json::value write_array(const Sequence& values) {
    json::array out;
    out.reserve(values.size());
    for (const auto& value : values) out.push_back(write(value));
    return out;
}
template <class T>
json::value write(const std::vector<T>& values) {
    return write_array(values);
}
template <class T, std::size_t size>
json::value write(const std::array<T, size>& values) {
    return write_array(values);
}
template <class T>
json::value write(const std::map<std::string, T>& values) {
    json::object out;
    for (const auto& [key, value] : values) out[valid_utf8(key)] = write(value);
    return out;
}
template <Described T>
void write_fields(const T& value, json::object& out) {
    static const T made{};
    const T& fallback = made;
    auto visit = [&](std::string_view name, auto member) {
        if (!same(value.*member, fallback.*member)) out.emplace(name, write(value.*member));
    };
    fields(visit, Of<T>{});
}
template <Described T>
json::value write(const T& value) {
    json::object out;
    write_fields(value, out);
    return out;
}

// Reading.

const json::object& object_of(const json::value& in, const Place& place);
const json::array& array_of(const json::value& in, const Place& place);
const json::string& string_of(const json::value& in, const Place& place);
std::int64_t integer_of(const json::value& in, const Place& place);
/// A field that nobody reads is an error, unless it begins with "x-".
void refuse_unknown(const json::object& in, const std::vector<std::string_view>& known,
                    const Place& place);

void read(const json::value& in, bool& out, const Place& place);
void read(const json::value& in, std::uint64_t& out, const Place& place);
template <std::integral Integer>
void read(const json::value& in, Integer& out, const Place& place) {
    const std::int64_t value = integer_of(in, place);
    if (!std::in_range<Integer>(value)) refuse(place, std::to_string(value) + " is out of range");
    out = static_cast<Integer>(value);
}
void read(const json::value& in, double& out, const Place& place);
void read(const json::value& in, std::string& out, const Place& place);
void read(const json::value& in, Weight& out, const Place& place);
void read(const json::value& in, Duration& out, const Place& place);
void read(const json::value& in, TimePoint& out, const Place& place);
void read(const json::value& in, Grid& out, const Place& place);
void read(const json::value& in, std::vector<std::uint64_t>& out, const Place& place);
template <Named T>
void read(const json::value& in, T& out, const Place& place) {
    const json::string& text = string_of(in, place);
    for (int i = 0; !word(static_cast<T>(i)).empty(); ++i) {
        if (word(static_cast<T>(i)) != std::string_view(text)) continue;
        out = static_cast<T>(i);
        return;
    }
    refuse(place, "\"" + std::string(text) + "\" is not one of its words");
}
template <Described T>
void read(const json::value& in, T& out, const Place& place);
template <class T>
void read(const json::value& in, std::optional<T>& out, const Place& place) {
    if (in.is_null()) {
        out.reset();
        return;
    }
    read(in, out.emplace(), place);
}
template <class T>
void read(const json::value& in, std::vector<T>& out, const Place& place) {
    const json::array& array = array_of(in, place);
    out.clear();
    out.resize(array.size());
    for (std::size_t i = 0; i < array.size(); ++i)
        read(array[i], out[i], Place{&place, {}, static_cast<std::ptrdiff_t>(i)});
}
template <class T, std::size_t size>
void read(const json::value& in, std::array<T, size>& out, const Place& place) {
    const json::array& array = array_of(in, place);
    if (array.size() != size)
        refuse(place,
               "has " + std::to_string(array.size()) + " elements, not " + std::to_string(size));
    for (std::size_t i = 0; i < size; ++i)
        read(array[i], out[i], Place{&place, {}, static_cast<std::ptrdiff_t>(i)});
}
template <class T>
void read(const json::value& in, std::map<std::string, T>& out, const Place& place) {
    out.clear();
    for (const auto& member : object_of(in, place))
        read(member.value(), out[std::string(member.key())], Place{&place, member.key()});
}
/// Adds the names it looked for to `known`.
template <Described T>
void read_fields(const json::object& in, T& out, const Place& place,
                 std::vector<std::string_view>& known) {
    auto visit = [&](std::string_view name, auto member) {
        known.push_back(name);
        if (const json::value* found = in.if_contains(name))
            read(*found, out.*member, Place{&place, name});
    };
    fields(visit, Of<T>{});
}
template <Described T>
void read(const json::value& in, T& out, const Place& place) {
    const json::object& object = object_of(in, place);
    std::vector<std::string_view> known;
    read_fields(object, out, place, known);
    refuse_unknown(object, known, place);
}

}  // namespace canaryd::codec
