// What the benches share: options, spreads, and one line a figure with its goal and its command.
#pragma once

#include <unistd.h>

#include <ctime>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace canaryd::bench {

/// Seconds since it was made; not the Clock port, since it times the program and not the rollout.
class Stopwatch {
public:
    [[nodiscard]] double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - since_).count();
    }

private:
    std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

/// Processor time of the calling thread since it was made: what others run in between is not in it.
class CpuWatch {
public:
    [[nodiscard]] double seconds() const { return now() - since_; }

private:
    static double now() {
        timespec time{};
        ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    }
    double since_ = now();
};

struct Spread {
    double mean = 0, p50 = 0, p99 = 0, most = 0;
    std::size_t count = 0;
};

inline Spread spread_of(std::vector<double> seconds) {
    if (seconds.empty()) throw std::runtime_error("nothing was measured");
    std::sort(seconds.begin(), seconds.end());
    const auto at = [&](double share) {
        return seconds[static_cast<std::size_t>(share * static_cast<double>(seconds.size() - 1))];
    };
    double sum = 0;
    for (const double one : seconds) sum += one;
    return {sum / static_cast<double>(seconds.size()), at(0.5), at(0.99), seconds.back(),
            seconds.size()};
}

inline std::string fixed(double value, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}
/// Three digits that count, in the unit a person would choose.
inline std::string time_text(double seconds) {
    const bool micro = seconds < 1e-3;
    const bool milli = seconds < 1;
    const double value = micro ? seconds * 1e6 : milli ? seconds * 1e3 : seconds;
    const int digits = value < 10 ? 2 : value < 100 ? 1 : 0;
    return fixed(value, digits) + (micro ? " us" : milli ? " ms" : " s");
}
inline std::string ratio_text(double ratio) {
    return fixed(ratio, ratio < 10 ? 2 : 1) + "x";
}

/// Prints figures under one heading: what was measured, the value, the goal beside it.
class Report {
public:
    Report(const std::string& heading, int argc, char** argv) {
        std::string command;
        for (int i = 0; i < argc; ++i) command += (i == 0 ? "" : " ") + std::string(argv[i]);
        std::printf("\n%s\n  $ %s\n", heading.c_str(), command.c_str());
    }
    void figure(const std::string& what, const std::string& value, const std::string& goal = {}) {
        std::printf("  %-52s %12s   %s\n", what.c_str(), value.c_str(),
                    goal.empty() ? "" : ("goal " + goal).c_str());
        std::fflush(stdout);
    }
    void note(const std::string& sentence) {
        std::printf("  %s\n", sentence.c_str());
        std::fflush(stdout);
    }
};

/// main() of a bench: what it throws ends it with a sentence.
inline int run(CLI::App& app, int argc, char** argv, const std::function<void()>& measure) {
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 64;
    }
    try {
        measure();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
    return 0;
}

inline std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": cannot be read");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

}  // namespace canaryd::bench
