// Log lines: to the journal natively under systemd, as escaped single lines on stderr elsewhere.
// Never blocks: a line that cannot be written is dropped and counted. Any thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace canaryd {

/// syslog's numbers: what the journal stores as PRIORITY.
enum class Level { critical = 2, error = 3, warning = 4, notice = 5, info = 6, debug = 7 };

/// Extra journal fields, e.g. {"CANARYD_ROLLOUT", id}; names in upper case.
using LogFields = std::initializer_list<std::pair<std::string_view, std::string>>;

void log(Level level, std::string_view message, LogFields fields = {});
/// Lines below this level are not written. Also reads debug|info|notice|warning|error.
void set_log_level(Level level);
bool set_log_level(std::string_view word);
/// Lines that could not be written so far.
std::uint64_t dropped_log_lines();
/// Control characters, DEL and bidi controls as \xNN or \u{...}: one line stays one line, and no
/// text forges another. Invalid UTF-8 bytes are escaped too.
std::string escaped(std::string_view text);

}  // namespace canaryd
