// Reading the vector files: CSV with a header, one row a case or a look.
//
// CANARYD_VECTORS names another folder of the same files; else tests/vectors/ is read.
#pragma once

#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#ifndef CANARYD_SOURCE_DIR
#define CANARYD_SOURCE_DIR "."
#endif

namespace canaryd::vectors {

using Row = std::map<std::string, std::string>;

inline std::filesystem::path folder() {
    const char* given = std::getenv("CANARYD_VECTORS");
    if (given != nullptr && *given != '\0') {
        return given;
    }
    return std::filesystem::path{CANARYD_SOURCE_DIR} / "tests" / "vectors";
}

/// Keeps empty parts; an empty text has none.
inline std::vector<std::string> split(const std::string& text, char by) {
    std::vector<std::string> parts;
    std::size_t from = 0;
    while (!text.empty()) {
        const std::size_t to = text.find(by, from);
        parts.push_back(text.substr(from, to - from));
        if (to == std::string::npos) {
            break;
        }
        from = to + 1;
    }
    return parts;
}

/// One line of CSV; a field in quotes may have commas.
inline std::vector<std::string> fields_of(const std::string& line) {
    std::vector<std::string> fields(1);
    bool quoted = false;
    for (const char c : line) {
        if (c == '"') {
            quoted = !quoted;
        } else if (c == ',' && !quoted) {
            fields.emplace_back();
        } else if (c != '\r') {
            fields.back() += c;
        }
    }
    return fields;
}

inline std::vector<Row> rows_of(const std::string& file) {
    const std::filesystem::path path = folder() / file;
    std::ifstream in(path);
    REQUIRE_MESSAGE(in.good(), "cannot read ", path.string());
    std::string line;
    std::getline(in, line);
    const std::vector<std::string> names = fields_of(line);
    std::vector<Row> rows;
    while (std::getline(in, line)) {
        const std::vector<std::string> fields = fields_of(line);
        REQUIRE_MESSAGE(fields.size() == names.size(), path.string(), " row ", rows.size() + 1);
        Row row;
        for (std::size_t i = 0; i < names.size(); ++i) {
            row[names[i]] = fields[i];
        }
        rows.push_back(row);
    }
    REQUIRE_MESSAGE(!rows.empty(), path.string(), " has no rows");
    return rows;
}

inline double number(const std::string& text) {
    return std::strtod(text.c_str(), nullptr);
}
inline std::int64_t whole(const std::string& text) {
    return std::strtoll(text.c_str(), nullptr, 10);
}

inline std::vector<std::int64_t> wholes(const std::string& text) {
    std::vector<std::int64_t> numbers;
    for (const std::string& part : split(text, ';')) {
        numbers.push_back(whole(part));
    }
    return numbers;
}
inline std::vector<double> numbers(const std::string& text) {
    std::vector<double> result;
    for (const std::string& part : split(text, ';')) {
        result.push_back(number(part));
    }
    return result;
}

inline void check_close(double got, double want, const Row& row, const std::string& what) {
    const bool same = got == want || (std::isnan(got) && std::isnan(want));
    const bool close = std::abs(got - want) <= 1e-9 * std::max(1.0, std::abs(want));
    CHECK_MESSAGE((same || close), "row ", row.at("id"), ": ", what, " is ", got, ", not ", want);
}
template <class Value>
void check_same(const Value& got, const Value& want, const Row& row, const std::string& what) {
    CHECK_MESSAGE(got == want, "row ", row.at("id"), ": ", what, " is ", got, ", not ", want);
}

inline bool starts_sequence(const std::vector<Row>& rows, std::size_t i) {
    return i == 0 || rows[i].at("seq") != rows[i - 1].at("seq");
}

}  // namespace canaryd::vectors
