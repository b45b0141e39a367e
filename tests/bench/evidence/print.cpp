#include "tests/bench/evidence/print.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>

#include "tests/bench/bench.hpp"

namespace canaryd::comparison {

using bench::fixed;

std::string duration_text(double minutes) {
    if (minutes < 100) return fixed(minutes, 0) + " min";
    if (minutes < 48 * 60) return fixed(minutes / 60, 1) + " h";
    return fixed(minutes / (24 * 60), 1) + " d";
}

std::string count_text(double count) {
    if (count >= 1e6) return fixed(count / 1e6, 1) + " M";
    std::string digits = std::to_string(std::llround(count));
    if (digits.size() > 3) digits.insert(digits.size() - 3, ",");
    return digits;
}

std::string percent_text(std::size_t part, std::size_t whole) {
    if (whole == 0) return "-";
    const double percent = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
    const bool round = percent == std::floor(percent) || percent >= 10;
    return fixed(percent, round ? 0 : 1) + " %";
}

std::optional<double> quantile(std::vector<double> values, double share, std::size_t never) {
    values.insert(values.end(), never, std::numeric_limits<double>::infinity());
    if (values.empty()) return std::nullopt;
    std::sort(values.begin(), values.end());
    const double value = values[static_cast<std::size_t>(
        std::floor(share * static_cast<double>(values.size() - 1)))];
    return std::isinf(value) ? std::nullopt : std::optional<double>{value};
}

std::optional<double> median(std::vector<double> values, std::size_t never) {
    return quantile(std::move(values), 0.5, never);
}

void Table::print() const {
    std::vector<std::size_t> widths;
    for (const auto& row : rows_) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    for (const auto& row : rows_) {
        std::string line = "  ";
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string space(widths[i] - row[i].size(), ' ');
            line += i == 0 ? row[i] + space : "  " + space + row[i];
        }
        line.erase(line.find_last_not_of(' ') + 1);
        std::printf("%s\n", line.c_str());
    }
    std::fflush(stdout);
}

void heading(const std::string& text) {
    std::printf("\n%s\n\n", text.c_str());
}

void paragraph(const std::string& text, std::size_t indent) {
    std::istringstream words(text);
    const std::string margin(indent, ' ');
    std::string line = margin;
    for (std::string word; words >> word;) {
        if (line.size() > indent && line.size() + 1 + word.size() > 100) {
            std::printf("%s\n", line.c_str());
            line = margin;
        }
        line += (line.size() > indent ? " " : "") + word;
    }
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
}

}  // namespace canaryd::comparison
