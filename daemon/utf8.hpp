// Text from outside, one character at a time: what may be shown and what would forge.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace canaryd {

/// The first character of a text. Not valid: one byte that is no UTF-8, in `code`.
struct Character {
    char32_t code = 0;
    std::size_t bytes = 1;
    bool valid = false;
};

/// Reads the first character of a text that is not empty. Overlong forms, surrogates and codes
/// past U+10FFFF are not valid.
inline Character first_character(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const Character bad{byte(0), 1, false};
    if (byte(0) < 0x80) return {byte(0), 1, true};
    const std::size_t bytes = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
    if (byte(0) < 0xC2 || byte(0) > 0xF4 || text.size() < bytes) return bad;
    char32_t code = byte(0) & (0xFFU >> (bytes + 1));
    for (std::size_t i = 1; i < bytes; ++i) {
        if ((byte(i) & 0xC0U) != 0x80) return bad;
        code = (code << 6U) | (byte(i) & 0x3FU);
    }
    constexpr char32_t smallest[] = {0, 0, 0x80, 0x800, 0x1'0000};
    if (code < smallest[bytes] || code > 0x10'FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
        return bad;
    }
    return {code, bytes, true};
}

/// Characters that move the cursor, end a line or turn the reading direction: C0, DEL, C1, the
/// line and paragraph separators and the bidi controls.
inline bool is_control(char32_t code) {
    return code < 0x20 || (code >= 0x7F && code <= 0x9F) || code == 0x061C ||
           (code >= 0x200E && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069);
}

/// `text` with `words` wherever this letter was.
inline std::string with_words_for(char letter, std::string_view words, std::string_view text) {
    std::string out;
    for (const char one : text) {
        if (one == letter) {
            out += words;
        } else {
            out += one;
        }
    }
    return out;
}

}  // namespace canaryd
