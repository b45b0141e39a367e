#include "daemon/ctl/backtest/csv.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "daemon/ctl/backtest/history.hpp"
#include "daemon/log.hpp"
#include "daemon/units.hpp"

namespace canaryd::backtest {
namespace {

constexpr std::size_t most_bytes_of_a_row = std::size_t{1} << 20U;
constexpr std::size_t most_fields = 256;

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

}  // namespace

Lines::Lines(std::string file) : file_(std::move(file)), room_(std::size_t{256} * 1024) {
    errno = 0;
    in_.open(file_, std::ios::binary);
    if (!in_) {
        throw BadFile(file_ + ": cannot be read: " + std::strerror(errno == 0 ? ENOENT : errno));
    }
}

bool Lines::fill() {
    in_.read(room_.data(), static_cast<std::streamsize>(room_.size()));
    size_ = static_cast<std::size_t>(in_.gcount());
    at_ = 0;
    if (in_.bad()) throw BadFile(where() + ": the file cannot be read any further");
    return size_ > 0;
}

int Lines::byte() {
    if (at_ == size_ && !fill()) return -1;
    if (line_over_) {
        ++line_;
        line_over_ = false;
    }
    const char c = room_[at_++];
    if (c == '\n') line_over_ = true;
    return static_cast<unsigned char>(c);
}

bool Lines::next(std::string& line) {
    line.clear();
    if (at_ == size_ && !fill()) return false;
    ++line_;
    for (;;) {
        const char* begin = room_.data() + at_;
        const auto* end = static_cast<const char*>(std::memchr(begin, '\n', size_ - at_));
        const std::size_t bytes =
            end == nullptr ? size_ - at_ : static_cast<std::size_t>(end - begin);
        if (line.size() + bytes > most_bytes_of_a_row) {
            throw BadFile(where() + ": the line is longer than 1 MiB");
        }
        line.append(begin, bytes);
        at_ += bytes;
        if (end != nullptr) {
            ++at_;
            break;
        }
        if (!fill()) break;
    }
    if (!line.empty() && line.back() == '\r') line.pop_back();
    return true;
}

std::string Lines::where() const {
    return escaped(file_) + ":" + std::to_string(line_);
}

Csv::Csv(const std::string& file) : lines_(file) {}

std::string_view Csv::field(std::size_t column) const {
    const std::size_t from = column == 0 ? 0 : ends_[column - 1];
    return std::string_view(bytes_).substr(from, ends_[column] - from);
}

std::string Csv::where() const {
    return escaped(lines_.file()) + ":" + std::to_string(row_line_);
}

void Csv::bad(const std::string& fault) const {
    throw BadFile(where() + ": " + fault);
}

void Csv::end_field(bool quoted) {
    if (ends_.size() == most_fields) bad("more than 256 fields; is it a CSV file?");
    ends_.push_back(bytes_.size());
    quoted_.push_back(quoted);
}

void Csv::keep(int c) {
    if (bytes_.size() >= most_bytes_of_a_row) {
        bad("the row is longer than 1 MiB; is a quote missing?");
    }
    bytes_.push_back(static_cast<char>(c));
}

/// What may follow a field: a comma, a line's end or the file's.
Csv::After Csv::after_field(int c) {
    if (c == '\r') c = lines_.byte();
    if (c == ',') return After::field;
    if (c == '\n' || c < 0) return After::nothing;
    return After::text;
}

Csv::After Csv::read_quoted() {
    for (;;) {
        int c = lines_.byte();
        if (c < 0) bad("a quote is opened in this row and never closed");
        if (c == '"') {
            c = lines_.byte();
            if (c != '"') {
                const After after = after_field(c);
                if (after == After::text) {
                    bad("text after a closing quote; double the quotes inside a field: \"\"");
                }
                end_field(true);
                return after;
            }
        }
        keep(c);
    }
}

Csv::After Csv::read_plain(int c) {
    while (c >= 0 && c != ',' && c != '\n' && c != '\r') {
        keep(c);
        c = lines_.byte();
    }
    const After after = after_field(c);
    if (after == After::text) bad("a carriage return inside a field; put the field in quotes");
    end_field(false);
    return after;
}

bool Csv::next() {
    bytes_.clear();
    ends_.clear();
    quoted_.clear();
    int c = lines_.byte();
    while (c == '\n' || c == '\r') c = lines_.byte();
    if (c < 0) return false;
    row_line_ = lines_.line();
    while ((c == '"' ? read_quoted() : read_plain(c)) == After::field) c = lines_.byte();
    return true;
}

Header::Header(Csv& csv) {
    if (!csv.next())
        throw BadFile(csv.where() + ": the file is empty; its first line names the columns");
    for (std::size_t i = 0; i < csv.size(); ++i) {
        std::string_view name = csv.field(i);
        if (i == 0 && name.starts_with("\xEF\xBB\xBF")) name.remove_prefix(3);
        while (name.starts_with(' ')) name.remove_prefix(1);
        while (name.ends_with(' ')) name.remove_suffix(1);
        if (find(lower(name)) != none) csv.bad("column " + as_written(name) + " is named twice");
        names_.push_back(lower(name));
    }
    if (names_.size() == 1 && names_.front().find_first_of(";\t|") != std::string::npos) {
        csv.bad("the columns are not separated by commas; export it as CSV with commas");
    }
}

std::size_t Header::find(std::string_view name) const {
    const auto found = std::find(names_.begin(), names_.end(), name);
    return found == names_.end() ? none : static_cast<std::size_t>(found - names_.begin());
}

std::size_t Header::need(Csv& csv, std::string_view name, std::string_view mend) const {
    const std::size_t found = find(lower(name));
    if (found != none) return found;
    std::string there;
    for (const std::string& one : names_) there += (there.empty() ? "" : ", ") + shortened(one);
    csv.bad("there is no column " + std::string(name) + "; " + std::string(mend) +
            ". The columns are: " + there);
}

void Header::check(const Csv& csv) const {
    if (csv.size() == names_.size()) return;
    csv.bad(std::to_string(csv.size()) + " fields, the header has " +
            std::to_string(names_.size()) + "; a comma inside a field needs quotes around it");
}

}  // namespace canaryd::backtest
