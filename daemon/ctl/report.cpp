// report: the plan's twelve monitoring queries (deploy/sql/0004_monitoring.sql) on one page.
#include <algorithm>
#include <iostream>
#include <optional>

#include "daemon/ctl/database.hpp"
#include "daemon/log.hpp"
#include "daemon/utf8.hpp"

namespace canaryd::ctl {
namespace {

using postgres::Result;
using postgres::Type;

struct View {
    const char* name;  // in the schema canaryd
    const char* title;
    int rows;  // on the page; --json has all
};

/// In the plan's order.
constexpr View views[] = {
    {"traffic_distribution", "Traffic, last day", 10},
    {"error_rates", "Error rates, last day", 10},
    {"response_times", "Response times, last day", 10},
    {"agent_usage", "Agents, last day", 20},
    {"success_rates", "Success rates by hour, newest first", 12},
    {"user_distribution", "Users, by the flag that column readers see", 5},
    {"unified_vs_legacy", "Unified against legacy, last day", 5},
    {"top_errors", "Top errors, last day", 8},
    {"slow_requests", "Slowest requests, last day", 8},
    {"migration_progress", "Progress", 8},
    {"rollback_history", "Rollbacks, newest first", 8},
    {"health_check", "Health, now", 10},
};

constexpr postgres::Limits view_limits{std::chrono::seconds{60}, std::chrono::seconds{3},
                                       std::chrono::seconds{30}};

struct Table {
    const View* view = nullptr;
    std::optional<Result> rows;  // else trouble
    std::string trouble;
};

// --- Asking -------------------------------------------------------------------------------------

/// All of one moment, unless one fails: the others are asked again, without it.
std::vector<Table> ask(postgres::Database& database) {
    std::vector<Table> all;
    std::optional<postgres::Transaction> snapshot;
    for (const View& view : views) {
        Table table;
        table.view = &view;
        try {
            if (!snapshot) {
                snapshot.emplace(database, postgres::Transaction::Kind::snapshot, view_limits);
                snapshot->run("set local time zone 'UTC'");
            }
            table.rows = snapshot->run("select * from canaryd." + std::string(view.name));
        } catch (const postgres::Broken&) {
            throw;
        } catch (const postgres::Error& error) {
            table.trouble = explained(error);
            snapshot.reset();
        }
        all.push_back(std::move(table));
    }
    return all;
}

// --- For people ---------------------------------------------------------------------------------

bool is_number(Type type) {
    return type == Type::integer || type == Type::real || type == Type::numeric;
}

/// "error_rate_percent" becomes "error rate %", "p95_ms" becomes "p95 ms".
std::string heading(std::string name) {
    if (name.ends_with("_percent")) name.replace(name.size() - 8, 8, "_%");
    if (name == "percent") name = "%";
    std::replace(name.begin(), name.end(), '_', ' ');
    return name;
}

/// Thousands for whole numbers, seconds for times, and no long tail of a fraction.
std::string cell(const Result& rows, int row, int column) {
    if (rows.is_null(row, column)) return "-";
    const std::string text = rows.text(row, column);
    switch (rows.type(column)) {
        case Type::integer:
            return text::number(rows.integer(row, column));
        case Type::boolean:
            return rows.boolean(row, column) ? "yes" : "no";
        case Type::time:
        case Type::time_without_zone:
            return text.substr(0, std::min(text.find_first_of(".+"), text.size()));
        case Type::numeric:  // also of counts that were added up
            return text.size() < 18 && text.find_first_not_of("0123456789") == std::string::npos
                       ? text::number(std::stoll(text))
                       : escaped(text);
        case Type::real:
        case Type::text:
        case Type::uuid:
            return escaped(text);
        case Type::other:  // an interval ends in a fraction of a second, a list is in braces
            return escaped(text.starts_with('{') ? text.substr(1, text.size() - 2)
                                                 : text.substr(0, text.find('.')));
    }
    return escaped(text);
}

std::size_t columns_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    }));
}

/// At most `width` characters, the last one a sign that more was there.
std::string cut(const std::string& text, std::size_t width) {
    if (columns_of(text) <= width) return text;
    std::string kept;
    std::size_t used = 0;
    for (const char c : text) {
        const bool begins = (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
        if (begins && ++used >= width) break;
        kept += c;
    }
    return kept + "…";
}

using Line = std::vector<std::string>;

/// Those of the columns that say something.
std::vector<int> columns_with_values(const Result& rows) {
    std::vector<int> all;
    for (int column = 0; column < rows.columns(); ++column) {
        for (int row = 0; row < rows.size(); ++row) {
            if (rows.is_null(row, column)) continue;
            all.push_back(column);
            break;
        }
    }
    return all;
}

/// How wide each column is so that all of them fit; empty when they do not. Texts and ids give way
/// first, but not so far that they say nothing.
std::vector<std::size_t> widths_of(const std::vector<Line>& lines, int paper) {
    constexpr std::size_t least = 20;
    std::vector<std::size_t> widths(lines.front().size(), 0);
    for (const Line& line : lines) {
        for (std::size_t i = 0; i < line.size(); ++i)
            widths[i] = std::max(widths[i], columns_of(line[i]));
    }
    std::size_t total = 0;
    for (const std::size_t width : widths) total += width + 2;
    while (total > static_cast<std::size_t>(paper)) {
        const auto widest = std::max_element(widths.begin(), widths.end());
        if (*widest <= least) return {};
        --*widest;
        --total;
    }
    return widths;
}

void print_grid(const std::vector<Line>& lines, const std::vector<std::size_t>& widths,
                const std::vector<bool>& right) {
    for (const Line& line : lines) {
        std::string text;
        for (std::size_t i = 0; i < line.size(); ++i) {
            const std::string value = cut(line[i], widths[i]);
            const std::string room(widths[i] - columns_of(value), ' ');
            text += "  " + (right[i] ? room + value : value + room);
        }
        text.erase(text.find_last_not_of(' ') + 1);
        std::cout << text << '\n';
    }
}

/// "week4: percentage 10, total users 5,000, …": for what is too wide for a table.
void print_list(const std::vector<Line>& lines, int paper) {
    for (std::size_t row = 1; row < lines.size(); ++row) {
        std::string text = "  " + lines[row][0] + ":";
        for (std::size_t i = 1; i < lines[row].size(); ++i) {
            if (lines[row][i] == "-") continue;
            text += (i == 1 ? " " : ", ") + lines[0][i] + " " + lines[row][i];
        }
        std::cout << text::wrap(text, paper, 6) << '\n';
    }
}

void print_table(const Result& rows, const View& view, int paper) {
    const std::vector<int> columns = columns_with_values(rows);
    if (columns.empty()) return;
    const int shown = std::min(rows.size(), view.rows);
    std::vector<Line> lines(static_cast<std::size_t>(shown) + 1);
    std::vector<bool> right;
    for (const int column : columns) {
        right.push_back(is_number(rows.type(column)));
        lines[0].push_back(heading(rows.column_name(column)));
        for (int row = 0; row < shown; ++row)
            lines[static_cast<std::size_t>(row) + 1].push_back(cell(rows, row, column));
    }
    const std::vector<std::size_t> widths = widths_of(lines, paper);
    if (widths.empty()) {
        print_list(lines, paper);
    } else {
        print_grid(lines, widths, right);
    }
    if (rows.size() > shown) {
        std::cout << "  and " << rows.size() - shown << " more: select * from canaryd." << view.name
                  << '\n';
    }
}

void print(const postgres::Database& database, const std::vector<Table>& all, int paper) {
    std::cout << escaped(database.name()) << ", times in UTC\n";
    int number = 0;
    for (const Table& table : all) {
        std::cout << '\n' << ++number << "  " << table.view->title << '\n';
        if (!table.rows) {
            std::string words = table.trouble;
            std::replace(words.begin(), words.end(), '\n', ' ');
            std::cout << "  could not be asked: " << text::wrap(escaped(words), paper, 4) << '\n';
        } else if (table.rows->empty()) {
            std::cout << "  nothing\n";
        } else {
            print_table(*table.rows, *table.view, paper);
        }
    }
}

// --- For programs -------------------------------------------------------------------------------

json::value value_of(const Result& rows, int row, int column) {
    if (rows.is_null(row, column)) return nullptr;
    switch (rows.type(column)) {
        case Type::integer:
            return rows.integer(row, column);
        case Type::real:
        case Type::numeric:
            return rows.real(row, column);
        case Type::boolean:
            return rows.boolean(row, column);
        case Type::text:
        case Type::uuid:
        case Type::time:
        case Type::time_without_zone:
        case Type::other:
            break;
    }
    return json::string(rows.view(row, column));
}

json::object json_of(const std::vector<Table>& all) {
    json::object document;
    for (const Table& table : all) {
        if (!table.rows) {
            document[table.view->name] = json::object{{"error", table.trouble}};
            continue;
        }
        json::array list;
        for (int row = 0; row < table.rows->size(); ++row) {
            json::object one;
            for (int column = 0; column < table.rows->columns(); ++column)
                one[table.rows->column_name(column)] = value_of(*table.rows, row, column);
            list.emplace_back(std::move(one));
        }
        document[table.view->name] = std::move(list);
    }
    return document;
}

int report(const Options& options, const std::string& url) {
    const postgres::Target target = database_of(url);
    postgres::Database database([target] { return target; });
    try {
        const std::vector<Table> all = ask(database);
        if (options.json) {
            print_json(json_of(all));
        } else {
            print(database, all, paper_of(options).width);
        }
        const bool whole = std::all_of(all.begin(), all.end(),
                                       [](const Table& table) { return table.rows.has_value(); });
        return whole ? done : refused;
    } catch (const postgres::Error& error) {
        give_up("", error);
    }
}

}  // namespace

void add_report(CLI::App& app, const Options& options, int& code) {
    const auto url = std::make_shared<std::string>();
    CLI::App* command = app.add_subcommand(
        "report", "the twelve monitoring queries on one page: traffic, errors, agents, users …");
    add_database(*command, *url);
    command->footer(
        "Examples:\n  canaryctl report --database postgresql://canaryd@db.example/postgres\n"
        "  canaryctl report --json | jq .error_rates\n"
        "  canaryctl report --width 160\n\n"
        "The views canaryd.traffic_distribution and so on, of one moment, of the last day.\n"
        "Long lists are cut on the page and whole with --json. Exit codes: 0 all of them\n"
        "answered, 1 one did not, 2 no database.");
    command->callback([&options, &code, url] { code = report(options, *url); });
}

}  // namespace canaryd::ctl
