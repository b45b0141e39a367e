// Words and columns of the tables.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace canaryd::comparison {

/// 5 min, 1.4 h, 2.3 d.
std::string duration_text(double minutes);
/// 88, 4,423, 1.2 million.
std::string count_text(double count);
/// Of 100: 0, 0.5, 97.
std::string percent_text(std::size_t part, std::size_t whole);
/// The middle of the values; nullopt where it is one that never came (those come last).
std::optional<double> median(std::vector<double> values, std::size_t never = 0);
std::optional<double> quantile(std::vector<double> values, double share, std::size_t never = 0);

/// Prints a table: the first column to the left, the others to the right, two spaces between.
class Table {
public:
    explicit Table(std::vector<std::string> heading) { rows_.push_back(std::move(heading)); }
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    void print() const;

private:
    std::vector<std::vector<std::string>> rows_;
};

void heading(const std::string& text);
/// A paragraph, broken at 100 columns.
void paragraph(const std::string& text, std::size_t indent = 0);

}  // namespace canaryd::comparison
