// Fences: what may be included, called and written where. They keep the decisions pure, the
// arrows one way and the adapters apart. Each fence is also shown a crossing that it must see.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

using Strings = std::vector<std::string>;

/// A file of C++: its lines, and the same without comments and texts in quotes.
struct Source {
    std::string path;  // from the root of the tree
    Strings lines;
    Strings code;
    Strings includes;  // as written: <vector>, "canaryd/text.hpp"
};

std::string without_comments_and_texts(const std::string& line) {
    static const std::regex text(R"re("(\\.|[^"\\])*")re");
    static const std::regex comment(R"re(//.*)re");
    return std::regex_replace(std::regex_replace(line, text, "\"\""), comment, "");
}

Source source_of(std::string path, Strings lines) {
    static const std::regex include(R"re(^\s*#\s*include\s*(<[^>]+>|"[^"]+").*)re");
    Source source{std::move(path), std::move(lines), {}, {}};
    for (const std::string& line : source.lines) {
        std::smatch found;
        if (std::regex_match(line, found, include)) source.includes.push_back(found[1]);
        source.code.push_back(without_comments_and_texts(line));
    }
    return source;
}

fs::path root() {
    return CANARYD_SOURCE_DIR;
}

Strings lines_of(const fs::path& path) {
    std::ifstream file(path);
    Strings lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

/// Every file of C++ in include/ and daemon/.
const std::vector<Source>& sources() {
    static const std::vector<Source> all = [] {
        std::vector<Source> found;
        for (const char* folder : {"include", "daemon"}) {
            for (const auto& entry : fs::recursive_directory_iterator(root() / folder)) {
                const fs::path& path = entry.path();
                if (path.extension() != ".hpp" && path.extension() != ".cpp") continue;
                found.push_back(
                    source_of(fs::relative(path, root()).generic_string(), lines_of(path)));
            }
        }
        std::sort(found.begin(), found.end(),
                  [](const Source& a, const Source& b) { return a.path < b.path; });
        return found;
    }();
    return all;
}

bool begins(const std::string& text, const std::string& with) {
    return text.rfind(with, 0) == 0;
}

/// `place` is a file, or the beginning of a path: "daemon/http/".
bool is_in(const std::string& path, const Strings& places) {
    return std::any_of(places.begin(), places.end(),
                       [&](const std::string& place) { return begins(path, place); });
}

/// <vector>, <cstdint>: no folder, no ending.
bool is_standard(const std::string& include) {
    return include.front() == '<' && include.find_first_of("./") == std::string::npos;
}

using Fence = Strings (*)(const std::vector<Source>&);

Strings includes_that(const std::vector<Source>& all,
                      bool (*crosses)(const Source&, const std::string&)) {
    Strings crossings;
    for (const Source& source : all) {
        for (const std::string& include : source.includes) {
            if (crosses(source, include)) crossings.push_back(source.path + " includes " + include);
        }
    }
    return crossings;
}

// --- The fences ---------------------------------------------------------------------------------

bool core_crosses(const Source& source, const std::string& include) {
    if (!is_in(source.path, {"daemon/core/"}) || is_standard(include)) return false;
    // Asio comes with these two.
    if (include == "\"canaryd/ports.hpp\"" || include == "\"canaryd/controller.hpp\"") return true;
    return !begins(include, "\"canaryd/") && !begins(include, "\"daemon/core/") &&
           include != "\"daemon/utf8.hpp\"";
}
Strings core_is_pure(const std::vector<Source>& all) {
    return includes_that(all, core_crosses);
}

bool public_crosses(const Source& source, const std::string& include) {
    if (!is_in(source.path, {"include/"}) || is_standard(include)) return false;
    if (begins(include, "<boost/asio/")) {
        return !is_in(source.path, {"include/canaryd/ports.hpp", "include/canaryd/controller.hpp"});
    }
    // Each may use those before it: arrows never point back.
    static const Strings order{"policy", "routing",  "settings", "evidence",  "other_counts",
                               "dedup",  "analysis", "rollout",  "self_test", "planner",
                               "view",   "text",     "ports",    "lease",     "controller"};
    const auto place = [](const std::string& header) {
        for (std::size_t i = 0; i < order.size(); ++i) {
            if (header.find("canaryd/" + order[i] + ".hpp") != std::string::npos) return i;
        }
        return order.size();
    };
    return place(include) >= place(source.path) || place(source.path) == order.size();
}
Strings public_headers_point_one_way(const std::vector<Source>& all) {
    return includes_that(all, public_crosses);
}

struct Library {
    std::string header;  // how its includes begin
    Strings places;      // the only ones
};
const std::vector<Library>& libraries() {
    static const std::vector<Library> all{
        {"<yaml-cpp", {"daemon/fields.cpp"}},
        {"<sqlite3.h>", {"daemon/sqlite.cpp", "daemon/routers/sqlite.cpp"}},
        {"<boost/beast", {"daemon/http/", "daemon/notifiers/slack", "daemon/boost_impl.cpp"}},
        {"<prometheus/", {"daemon/http/metrics.cpp"}},
        {"<openssl/", {"daemon/sha256.cpp"}},
        {"<boost/asio/ssl", {"daemon/notifiers/slack.cpp", "daemon/boost_impl.cpp"}},
        {"<systemd/", {"daemon/systemd.cpp", "daemon/log.cpp", "daemon/http/server.cpp"}},
        {"<CLI/", {"daemon/ctl/", "daemon/main.cpp"}},
        {"<pqxx/", {"daemon/postgres.cpp"}},
        {"<libpq-fe.h>", {"daemon/postgres_words.cpp"}},
    };
    return all;
}
bool library_crosses(const Source& source, const std::string& include) {
    return std::any_of(libraries().begin(), libraries().end(), [&](const Library& library) {
        return begins(include, library.header) && !is_in(source.path, library.places);
    });
}
Strings libraries_stay_where_they_are(const std::vector<Source>& all) {
    return includes_that(all, library_crosses);
}

bool adapter_crosses(const Source& source, const std::string& include) {
    static const Strings folders{"daemon/sources/", "daemon/routers/", "daemon/notifiers/",
                                 "daemon/stores/"};
    static const Strings behind{"\"canaryd/controller.hpp\"", "\"daemon/controller",
                                "\"daemon/http/", "\"daemon/ctl/"};
    for (const std::string& own : folders) {
        if (!begins(source.path, own)) continue;
        if (is_in(include, behind)) return true;
        return std::any_of(folders.begin(), folders.end(), [&](const std::string& other) {
            return other != own && begins(include, "\"" + other);
        });
    }
    return false;
}
Strings adapters_know_only_their_port(const std::vector<Source>& all) {
    return includes_that(all, adapter_crosses);
}

bool not_from_the_root(const Source&, const std::string& include) {
    return include.front() == '"' && !begins(include, "\"canaryd/") &&
           !begins(include, "\"daemon/");
}
Strings includes_begin_at_the_root(const std::vector<Source>& all) {
    return includes_that(all, not_from_the_root);
}

Strings code_with(const std::vector<Source>& all, const std::regex& what, const Strings& allowed) {
    Strings crossings;
    for (const Source& source : all) {
        if (is_in(source.path, allowed)) continue;
        for (std::size_t i = 0; i < source.code.size(); ++i) {
            if (std::regex_search(source.code[i], what)) {
                crossings.push_back(source.path + ":" + std::to_string(i + 1) + ": " +
                                    source.lines[i]);
            }
        }
    }
    return crossings;
}

Strings only_the_clock_reads_a_clock(const std::vector<Source>& all) {
    static const std::regex reads(
        R"re(::now\s*\(|\b(gettimeofday|clock_gettime|timespec_get|ftime)\s*\()re"
        R"re(|\btime\s*\(\s*(nullptr|NULL|0|&\w+)\s*\))re");
    // log.cpp stamps its lines, which decide nothing; canaryctl is a person's program that lives
    // for a moment and has no Clock.
    return code_with(all, reads, {"daemon/clock.cpp", "daemon/log.cpp", "daemon/ctl/"});
}

Strings no_timer_where_time_is_simulated(const std::vector<Source>& all) {
    static const std::regex timers(R"re(\b(steady_timer|system_timer|high_resolution_timer)\b)re");
    // These two talk to a real network.
    return code_with(all, timers, {"daemon/http/client.cpp", "daemon/notifiers/slack.cpp"});
}

Strings every_coroutine_has_an_owner(const std::vector<Source>& all) {
    static const std::regex ownerless(R"re(\bdetached\b)re");
    return code_with(all, ownerless, {});
}

Strings no_file_is_long(const std::vector<Source>& all) {
    constexpr std::size_t most = 400;
    Strings crossings;
    for (const Source& source : all) {
        if (source.lines.size() <= most) continue;
        crossings.push_back(source.path + " has " + std::to_string(source.lines.size()) + " lines");
    }
    return crossings;
}

/// Two types of one name in one namespace are one type to the linker, whatever they hold.
Strings a_type_is_defined_once(const std::vector<Source>& all) {
    static const std::regex opens(R"re(^(inline )?namespace ([\w:]+) \{.*)re");
    static const std::regex defines(
        R"re(^(?:struct|class|enum class|enum|union) (\w+)(?: final)?(?: :[^:].*| \{.*)$)re");
    std::map<std::string, std::string> first;
    Strings crossings;
    for (const Source& source : all) {
        if (source.path.size() < 4 || source.path.substr(source.path.size() - 4) != ".hpp") {
            continue;
        }
        std::string space;
        for (const std::string& line : source.code) {
            std::smatch found;
            if (std::regex_match(line, found, opens)) space = found[2];
            if (!std::regex_match(line, found, defines)) continue;
            const std::string name = space + "::" + std::string(found[1]);
            const auto known = first.emplace(name, source.path);
            if (!known.second) {
                crossings.push_back(name + " is defined in " + known.first->second + " and in " +
                                    source.path);
            }
        }
    }
    return crossings;
}

// --- How they are shown -------------------------------------------------------------------------

void holds(Fence fence) {
    REQUIRE(sources().size() > 50);
    const Strings crossings = fence(sources());
    for (const std::string& crossing : crossings) FAIL_CHECK(crossing);
}

/// As many crossings as expected in a file of these lines.
std::size_t seen(Fence fence, const std::string& path, const Strings& lines) {
    return fence({source_of(path, lines)}).size();
}

}  // namespace

TEST_SUITE("fences") {
    TEST_CASE("the core includes the standard library, the public headers and itself") {
        holds(core_is_pure);
        CHECK(seen(core_is_pure, "daemon/core/x.cpp", {"#include <boost/asio/post.hpp>"}) == 1);
        CHECK(seen(core_is_pure, "daemon/core/x.cpp", {"#include \"canaryd/ports.hpp\""}) == 1);
        CHECK(seen(core_is_pure, "daemon/core/x.cpp", {"#include \"daemon/async.hpp\""}) == 1);
        CHECK(seen(core_is_pure, "daemon/core/x.cpp", {"#include <unistd.h>"}) == 1);
        CHECK(seen(core_is_pure, "daemon/core/x.cpp", {"#include <vector>"}) == 0);
        CHECK(seen(core_is_pure, "daemon/core/x.cpp", {"#include \"canaryd/text.hpp\""}) == 0);
    }

    TEST_CASE("the one header of the daemon that the core borrows is standard library only") {
        for (const Source& source : sources()) {
            if (source.path != "daemon/utf8.hpp") continue;
            for (const std::string& include : source.includes) CHECK(is_standard(include));
        }
    }

    TEST_CASE("public headers need no library but Asio in two of them, and arrows point one way") {
        holds(public_headers_point_one_way);
        const Fence fence = public_headers_point_one_way;
        CHECK(seen(fence, "include/canaryd/policy.hpp", {"#include <boost/json.hpp>"}) == 1);
        CHECK(seen(fence, "include/canaryd/policy.hpp", {"#include \"canaryd/rollout.hpp\""}) == 1);
        CHECK(seen(fence, "include/canaryd/text.hpp", {"#include \"canaryd/ports.hpp\""}) == 1);
        CHECK(seen(fence, "include/canaryd/rollout.hpp", {"#include \"daemon/x.hpp\""}) == 1);
        CHECK(seen(fence, "include/canaryd/new.hpp", {"#include \"canaryd/policy.hpp\""}) == 1);
        CHECK(seen(fence, "include/canaryd/view.hpp", {"#include \"canaryd/rollout.hpp\""}) == 0);
    }

    TEST_CASE("each library stays in the files that own it") {
        holds(libraries_stay_where_they_are);
        const Fence fence = libraries_stay_where_they_are;
        CHECK(seen(fence, "daemon/settings.cpp", {"#include <yaml-cpp/yaml.h>"}) == 1);
        CHECK(seen(fence, "daemon/stores/sqlite.cpp", {"#include <sqlite3.h>"}) == 1);
        CHECK(seen(fence, "daemon/controller.cpp", {"#include <boost/beast.hpp>"}) == 1);
        CHECK(seen(fence, "daemon/http/api.cpp", {"#include <prometheus/gauge.h>"}) == 1);
        CHECK(seen(fence, "daemon/stores/postgres.cpp", {"  #  include <pqxx/pqxx>"}) == 1);
        CHECK(seen(fence, "daemon/http/new.cpp", {"#include <boost/beast/core.hpp>"}) == 0);
    }

    TEST_CASE("every place that is named in a fence is there") {
        for (const Library& library : libraries()) {
            for (const std::string& place : library.places) {
                const bool there =
                    std::any_of(sources().begin(), sources().end(), [&](const Source& source) {
                        return begins(source.path, place) &&
                               std::any_of(source.includes.begin(), source.includes.end(),
                                           [&](const std::string& include) {
                                               return begins(include, library.header);
                                           });
                    });
                CHECK_MESSAGE(there, library.header << " is no longer in " << place);
            }
        }
    }

    TEST_CASE("adapters know their port, not each other and not the controller") {
        holds(adapters_know_only_their_port);
        const Fence fence = adapters_know_only_their_port;
        CHECK(seen(fence, "daemon/routers/x.cpp", {"#include \"daemon/stores/stores.hpp\""}) == 1);
        CHECK(seen(fence, "daemon/stores/x.cpp", {"#include \"canaryd/controller.hpp\""}) == 1);
        CHECK(seen(fence, "daemon/sources/x.cpp", {"#include \"daemon/http/api.hpp\""}) == 1);
        CHECK(seen(fence, "daemon/sources/x.cpp", {"#include \"daemon/sources/rows.hpp\""}) == 0);
    }

    TEST_CASE("includes are written from the root, and what they name is there") {
        holds(includes_begin_at_the_root);
        CHECK(seen(includes_begin_at_the_root, "daemon/x.cpp", {"#include \"x.hpp\""}) == 1);
        for (const Source& source : sources()) {
            for (const std::string& include : source.includes) {
                if (include.front() != '"') continue;
                const std::string name = include.substr(1, include.size() - 2);
                const bool there =
                    fs::exists(root() / name) || fs::exists(root() / "include" / name);
                CHECK_MESSAGE(there, source.path << " includes " << include);
            }
        }
    }

    TEST_CASE("only the clock reads a clock") {
        holds(only_the_clock_reads_a_clock);
        const auto seen_in = [](const std::string& line) {
            return seen(only_the_clock_reads_a_clock, "daemon/controller.cpp", {line});
        };
        CHECK(seen_in("auto t = std::chrono::system_clock::now();") == 1);
        CHECK(seen_in("auto t = time(nullptr);") == 1);
        CHECK(seen_in("std::time(&t);") == 1);
        CHECK(seen_in("::clock_gettime(CLOCK_REALTIME, &t);") == 1);
        CHECK(seen_in("const TimePoint t = clock.now();") == 0);
        CHECK(seen_in("line += text::time(view.now);") == 0);
        CHECK(seen_in("say(\"now: system_clock::now()\");  // steady_clock::now()") == 0);
    }

    TEST_CASE("where time is simulated nobody waits on a timer of Asio") {
        holds(no_timer_where_time_is_simulated);
        CHECK(seen(no_timer_where_time_is_simulated, "daemon/controller.cpp",
                   {"asio::steady_timer timer(io);"}) == 1);
    }

    TEST_CASE("every coroutine has an owner: none is spawned detached") {
        holds(every_coroutine_has_an_owner);
        CHECK(seen(every_coroutine_has_an_owner, "daemon/controller.cpp",
                   {"asio::co_spawn(executor, watch(entry), asio::detached);"}) == 1);
    }

    TEST_CASE("no file is longer than 400 lines") {
        holds(no_file_is_long);
        CHECK(seen(no_file_is_long, "daemon/x.cpp", Strings(401)) == 1);
        CHECK(seen(no_file_is_long, "daemon/x.cpp", Strings(400)) == 0);
    }

    TEST_CASE("a type is defined in one header only") {
        holds(a_type_is_defined_once);
        const Strings lines{"namespace canaryd {", "struct Seen {", "};",
                            "}  // namespace canaryd"};
        const Strings other{"namespace canaryd::http {", "struct Seen {", "};",
                            "}  // namespace canaryd::http"};
        CHECK(
            a_type_is_defined_once({source_of("a.hpp", lines), source_of("b.hpp", lines)}).size() ==
            1);
        CHECK(
            a_type_is_defined_once({source_of("a.hpp", lines), source_of("b.hpp", other)}).empty());
    }

    TEST_CASE(
        "every folder of the daemon, and every other one with files to run, says what it is") {
        std::set<std::string> folders{"daemon",           "daemon/sources", "daemon/routers",
                                      "daemon/notifiers", "daemon/stores",  "daemon/http",
                                      "daemon/ctl",       "policies",       "tests",
                                      "deploy",           "systemd"};
        for (const Source& source : sources()) {
            const std::string folder = fs::path(source.path).parent_path().generic_string();
            // The core stands in daemon/README.md; the public headers are their own description.
            if (begins(folder, "daemon") && folder != "daemon/core") folders.insert(folder);
        }
        for (const std::string& folder : folders) {
            const bool described = fs::exists(root() / folder / "README.md");
            CHECK_MESSAGE(described, folder << " has no README.md");
        }
    }
}
