#include "daemon/codec_json.hpp"

#include <algorithm>

#include "daemon/utf8.hpp"

namespace canaryd::codec {

namespace {

std::string spelled(const Place& place) {
    if (place.index >= 0) return spelled(*place.up) + "[" + std::to_string(place.index) + "]";
    if (place.up == nullptr) return std::string(place.name);
    return spelled(*place.up) + "." + valid_utf8(place.name);
}

double number_in(std::string_view text, const Place& place) {
    double value = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || rest != end || std::isnan(value))
        refuse(place, "\"" + std::string(text) + "\" is not a number");
    return value;
}

}  // namespace

std::string valid_utf8(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const Character first = first_character(text);
        out.append(first.valid ? text.substr(0, first.bytes) : "\xEF\xBF\xBD");
        text.remove_prefix(first.bytes);
    }
    return out;
}

void refuse(const Place& place, const std::string& why) {
    throw std::runtime_error(spelled(place) + ": " + valid_utf8(why));
}

std::string exact(double value) {
    if (std::isnan(value)) throw std::logic_error("codec: NaN is no evidence and is not stored");
    std::array<char, 32> text{};
    const auto result = std::to_chars(text.data(), text.data() + text.size(), value);
    return {text.data(), result.ptr};
}

json::value write(const Grid& value) {
    std::string joined;
    for (const double number : value) {
        if (!joined.empty()) joined += ';';
        joined += exact(number);
    }
    return json::value(joined);
}

json::value write(const std::vector<std::uint64_t>& hashes) {
    json::array out;
    out.reserve(hashes.size());
    for (const std::uint64_t hash : hashes) {
        std::array<char, 16> text{};
        const auto result = std::to_chars(text.data(), text.data() + text.size(), hash, 16);
        out.emplace_back(std::string_view(text.data(), result.ptr));
    }
    return out;
}

const json::object& object_of(const json::value& in, const Place& place) {
    if (!in.is_object()) refuse(place, "is not an object");
    return in.get_object();
}

const json::array& array_of(const json::value& in, const Place& place) {
    if (!in.is_array()) refuse(place, "is not an array");
    return in.get_array();
}

const json::string& string_of(const json::value& in, const Place& place) {
    if (!in.is_string()) refuse(place, "is not a text");
    return in.get_string();
}

std::int64_t integer_of(const json::value& in, const Place& place) {
    if (!in.is_int64()) refuse(place, "is not a 64-bit whole number");
    return in.get_int64();
}

void refuse_unknown(const json::object& in, const std::vector<std::string_view>& known,
                    const Place& place) {
    for (const auto& member : in) {
        const std::string_view key = member.key();
        if (key.starts_with("x-")) continue;
        if (std::find(known.begin(), known.end(), key) == known.end())
            refuse(Place{&place, key}, "is a field that this version does not know");
    }
}

void read(const json::value& in, bool& out, const Place& place) {
    if (!in.is_bool()) refuse(place, "is not true or false");
    out = in.get_bool();
}

void read(const json::value& in, std::uint64_t& out, const Place& place) {
    // What fits is parsed as signed.
    if (in.is_uint64()) {
        out = in.get_uint64();
        return;
    }
    const std::int64_t value = integer_of(in, place);
    if (value < 0) refuse(place, std::to_string(value) + " is negative");
    out = static_cast<std::uint64_t>(value);
}

void read(const json::value& in, double& out, const Place& place) {
    out = number_in(string_of(in, place), place);
}

void read(const json::value& in, std::string& out, const Place& place) {
    const json::string& text = string_of(in, place);
    out.assign(text.data(), text.size());
}

void read(const json::value& in, Weight& out, const Place& place) {
    read(in, out.basis_points, place);
}

void read(const json::value& in, Duration& out, const Place& place) {
    out = Duration(integer_of(in, place));
}

void read(const json::value& in, TimePoint& out, const Place& place) {
    out = TimePoint(Duration(integer_of(in, place)));
}

void read(const json::value& in, Grid& out, const Place& place) {
    std::string_view rest = string_of(in, place);
    for (std::size_t i = 0; i < out.size(); ++i) {
        const std::size_t end = rest.find(';');
        if ((end == std::string_view::npos) != (i + 1 == out.size()))
            refuse(place, "does not hold " + std::to_string(out.size()) + " numbers");
        out[i] = number_in(rest.substr(0, end), place);
        if (end != std::string_view::npos) rest.remove_prefix(end + 1);
    }
}

void read(const json::value& in, std::vector<std::uint64_t>& out, const Place& place) {
    out.clear();
    for (const json::value& element : array_of(in, place)) {
        const std::string_view text = string_of(element, place);
        std::uint64_t hash = 0;
        const char* const end = text.data() + text.size();
        const auto [last, error] = std::from_chars(text.data(), end, hash, 16);
        if (error != std::errc{} || last != end)
            refuse(place, "\"" + std::string(text) + "\" is not a hash");
        out.push_back(hash);
    }
}

}  // namespace canaryd::codec
