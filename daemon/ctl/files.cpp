// Settings and policies from files; the terminal.
#include <pwd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "daemon/ctl/ctl.hpp"
#include "daemon/log.hpp"
#include "daemon/postgres_user_tables.hpp"

namespace canaryd::ctl {
namespace {

constexpr const char* default_config = "/etc/canaryd/canaryd.yaml";
constexpr std::size_t most_bytes = std::size_t{1} << 20U;

bool ends_with_yaml(const std::string& name) {
    return name.ends_with(".yaml") || name.ends_with(".yml");
}

int terminal_width() {
    winsize size{};
    if (::isatty(STDOUT_FILENO) == 0 || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 80;
    return size.ws_col == 0 ? 80 : std::min<int>(size.ws_col, 100);
}

}  // namespace

Settings load_settings(const Options& options) {
    const bool asked = !options.config.empty();
    const std::string path = asked ? options.config : default_config;
    std::error_code none;
    if (!asked && !std::filesystem::exists(path, none)) return *parse_settings("", path).settings;
    const ParsedSettings parsed = parse_settings(read_file(path), path);
    print_problems(parsed.problems);
    if (!parsed.settings) throw Refused(path + " has mistakes, see above");
    return *parsed.settings;
}

std::string policy_path(const Options& options, const std::string& file_or_name) {
    const bool is_path = file_or_name.find('/') != std::string::npos ||
                         ends_with_yaml(file_or_name) || std::filesystem::exists(file_or_name);
    if (is_path) return file_or_name;
    return (std::filesystem::path(load_settings(options).policies) / (file_or_name + ".yaml"))
        .string();
}

std::string read_file(const std::string& path) {
    std::error_code failed;
    if (std::filesystem::is_directory(path, failed)) throw Refused(path + ": is a folder");
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        throw Refused(path + ": cannot be read: " + std::strerror(errno == 0 ? ENOENT : errno));
    }
    std::string bytes;
    std::array<char, 16 * 1024> room{};
    while (file.read(room.data(), room.size()) || file.gcount() > 0) {
        bytes.append(room.data(), static_cast<std::size_t>(file.gcount()));
        if (bytes.size() > most_bytes) throw Refused(path + ": is larger than 1 MiB");
    }
    return bytes;
}

std::string route_note(const Options& options, const Policy& policy) {
    bool in_postgres =
        policy.source.kind == "postgres" && policy.router.connection == policy.source.connection;
    if (!options.config.empty()) {
        const Settings settings = load_settings(options);
        const auto found = settings.connections.find(policy.router.connection);
        if (found != settings.connections.end()) in_postgres = found->second.kind == "postgres";
    }
    if (!in_postgres || policy.name == user_tables::flagged_route) return "";
    return "get_webhook_route() serves the policy " + std::string(user_tables::flagged_route) +
           " only; for this one programs ask canaryd.on_canary('" + policy.name + "', user)";
}

Policy policy_of_requests(const Options& options, const Policy& policy) {
    for (const Criterion& criterion : policy.criteria) {
        if (criterion.signal.kind != Signal::Kind::counted) continue;
        std::cerr << text::wrap("note: criterion " + escaped(criterion.name) +
                                    " is left out: no history has what its query counted",
                                paper_of(options).width, 2)
                  << '\n';
    }
    return without_counts(policy);
}

void print_problems(const std::vector<Problem>& problems) {
    for (const Problem& problem : problems) std::cerr << escaped(to_string(problem)) << '\n';
}

text::Paper paper_of(const Options& options) {
    const char* none = std::getenv("NO_COLOR");
    const char* term = std::getenv("TERM");
    text::Paper paper;
    paper.width = std::clamp(options.width > 0 ? options.width : terminal_width(), 40, 200);
    paper.colour = !options.no_color && (none == nullptr || *none == '\0') &&
                   (term == nullptr || std::strcmp(term, "dumb") != 0) &&
                   ::isatty(STDOUT_FILENO) != 0;
    return paper;
}

void print_lines(const std::string& lines, const Options& options) {
    const int width = paper_of(options).width;
    std::istringstream in(lines);
    std::string line;
    while (std::getline(in, line)) std::cout << text::wrap(escaped(line), width, 2) << '\n';
}

std::string user_name() {
    std::array<char, 16 * 1024> room{};
    passwd entry{};
    passwd* found = nullptr;
    const int error = ::getpwuid_r(::getuid(), &entry, room.data(), room.size(), &found);
    if (error != 0 || found == nullptr) return "uid-" + std::to_string(::getuid());
    return escaped(found->pw_name);
}

void print_json(const json::value& document) {
    std::cout << json::serialize(document) << '\n';
}

}  // namespace canaryd::ctl
