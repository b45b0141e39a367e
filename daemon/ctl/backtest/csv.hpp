// Lines and comma-separated rows of hostile files, one at a time.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace canaryd::backtest {

/// Bytes of a file in order, with the line they stand in.
class Lines {
public:
    /// Throws BadFile when the file cannot be read.
    explicit Lines(std::string file);
    /// The next line without its end; false after the last. Throws BadFile for one that is too
    /// long.
    bool next(std::string& line);
    /// The next byte; -1 after the last.
    int byte();
    [[nodiscard]] std::int64_t line() const { return line_; }
    [[nodiscard]] const std::string& file() const { return file_; }
    /// "file:line"
    [[nodiscard]] std::string where() const;

private:
    bool fill();

    std::string file_;
    std::ifstream in_;
    std::vector<char> room_;
    std::size_t at_ = 0, size_ = 0;
    std::int64_t line_ = 0;  // of the byte or line read last
    bool line_over_ = true;
};

/// A row's fields by RFC 4180: quotes, doubled quotes, line ends inside quotes.
class Csv {
public:
    explicit Csv(const std::string& file);
    /// False after the last row; empty lines are skipped. Throws BadFile.
    bool next();
    [[nodiscard]] std::size_t size() const { return ends_.size(); }
    [[nodiscard]] std::string_view field(std::size_t column) const;
    /// Whether the field was in quotes: "" is an empty text, nothing at all is no value.
    [[nodiscard]] bool quoted(std::size_t column) const { return quoted_[column]; }
    /// Where the row begins: "file:line".
    [[nodiscard]] std::string where() const;
    [[noreturn]] void bad(const std::string& fault) const;

private:
    enum class After { field, nothing, text };  // what comes behind a field
    void keep(int c);
    void end_field(bool quoted);
    After after_field(int c);
    After read_quoted();
    After read_plain(int first);

    Lines lines_;
    std::string bytes_;
    std::vector<std::size_t> ends_;
    std::vector<bool> quoted_;
    std::int64_t row_line_ = 0;
};

/// A header's columns by name.
class Header {
public:
    /// Reads the first row. Names are compared in lower case. Throws BadFile: empty, a name twice.
    explicit Header(Csv& csv);
    /// Index, or none.
    static constexpr std::size_t none = static_cast<std::size_t>(-1);
    [[nodiscard]] std::size_t find(std::string_view name) const;
    /// Throws BadFile that names the column, what it is for and the columns that are there.
    std::size_t need(Csv& csv, std::string_view name, std::string_view mend) const;
    /// Throws BadFile when the row has another number of fields than the header.
    void check(const Csv& csv) const;
    [[nodiscard]] const std::vector<std::string>& names() const { return names_; }

private:
    std::vector<std::string> names_;
};

}  // namespace canaryd::backtest
