// The assumptions on legacy's history, in words: `canaryctl aa`, and a warning of `start`.
#include <algorithm>
#include <cmath>

#include "canaryd/self_test.hpp"
#include "daemon/core/text_parts.hpp"

namespace canaryd::text {
namespace {

/// A dispersion is an estimate, and frozen with a fifth for its error (7.4).
constexpr double estimate_error = 1.2;
constexpr double too_wide = 1.5;

double with_error(const StreamTest& stream) {
    return std::ceil(10 * estimate_error * stream.dispersion) / 10;
}

double rate_of(const StreamTest& stream) {
    return stream.requests > 0
               ? static_cast<double>(stream.counted) / static_cast<double>(stream.requests)
               : 0.0;
}

std::string decimal(double value) {
    const std::int64_t tenths = std::llround(value * 10);
    return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

bool has_segment(const Policy& policy, const StreamTest& stream) {
    return std::any_of(policy.segments.begin(), policy.segments.end(), [&](const auto& segment) {
        return stream.name.ends_with(", " + policy.segment + " " + segment);
    });
}

/// Of a stream that is compared or not, what the policy divides its evidence by (7.4).
double& tempering_of(Dispersion& dispersion, const StreamTest& stream) {
    return stream.relative ? dispersion.comparisons : dispersion.limits;
}

/// Its waves are wider than chance by more than `wide`, and than the policy says already.
bool in_waves(const Policy& policy, const StreamTest& stream, double wide) {
    Dispersion said = policy.dispersion;
    return stream.dispersion > wide && with_error(stream) > tempering_of(said, stream);
}

/// Legacy's own rate is no lower than the limit: no wave.
bool legacy_above(const StreamTest& stream) {
    return !stream.relative && rate_of(stream) >= stream.limit;
}

/// Nothing acted on it, and it is wide enough to say so.
bool quiet_wave(const Policy& policy, const StreamTest& stream) {
    return stream.highest < std::log(doubtful_m) && stream.counted >= 50 &&
           !has_segment(policy, stream) && in_waves(policy, stream, 2 * too_wide);
}

/// The policy's line that tempers this stream and every other one in waves.
std::string mend_of_waves(const Policy& policy, const SelfTest& test, const StreamTest& named) {
    Dispersion line = policy.dispersion;
    tempering_of(line, named) = with_error(named);
    for (const StreamTest& stream : test.streams) {
        const bool rose = stream.highest >= std::log(doubtful_m) && !legacy_above(stream) &&
                          in_waves(policy, stream, too_wide);
        if (!rose && !quiet_wave(policy, stream)) continue;
        double& phi = tempering_of(line, stream);
        phi = std::max(phi, with_error(stream));
    }
    return "`dispersion: " + dispersion(line) + "` in the policy";
}

/// Why the stream rose, by the first assumption that its counts contradict.
std::string stream_warning(const Policy& policy, const SelfTest& test, const StreamTest& stream) {
    const std::string rose = stream.name + ": its evidence reached " +
                             harm(std::min(999'999.0, std::exp(std::min(13.0, stream.highest)))) +
                             " to 1 against a service that is legacy itself. ";
    if (legacy_above(stream)) {
        return rose + "Legacy's own rate is " + share(rate_of(stream)) + ", the limit is " +
               share(stream.limit) +
               ": a canary as good as legacy would be rolled back. Set a limit above what legacy "
               "does, or compare with legacy (no_worse_than: baseline)";
    }
    if (in_waves(policy, stream, too_wide)) {
        return rose + "Its events come in waves: blocks of 4 h differ " +
               decimal(stream.dispersion) + " times as much as independent requests would. " +
               (stream.relative ? "Compare sides that share what makes the waves, widen the margin"
                                : "Raise the limit above the waves, find what fails together "
                                  "(one job, one dependency) and count it as one") +
               ", or write " + mend_of_waves(policy, test, stream) +
               ": evidence counts so many times less, and faults are found so many times later";
    }
    if (stream.raw > 2 * stream.counted && stream.relative) {
        return rose + "Failing users retry (" + number(stream.raw) + " events of " +
               number(stream.counted) +
               " users and hours): widen the margin, or count a retry as the same request";
    }
    return rose +
           "No assumption is broken visibly: it happens to one good installation in 20. Run "
           "it again on another week; the same stream twice is no chance";
}

std::string wave_warning(const Policy& policy, const SelfTest& test, const StreamTest& stream) {
    return stream.name + ": events come in waves, " + decimal(stream.dispersion) +
           " times as wide as chance (with its error: " + decimal(with_error(stream)) +
           "). Nothing acted on it; a limit this near to the waves' tops would be broken falsely. "
           "Write " +
           mend_of_waves(policy, test, stream);
}

}  // namespace

std::vector<std::string> self_test_warnings(const Policy& policy, const SelfTest& test) {
    std::vector<std::string> warnings;
    const double doubt = std::log(doubtful_m);
    bool named = false;
    for (const StreamTest& stream : test.streams) {
        if (stream.highest < doubt) continue;
        warnings.push_back(stream_warning(policy, test, stream));
        named = true;
    }
    if (!named && std::max(test.ln_m, test.hold_ln_m) >= doubt) {
        for (const StreamTest& stream : test.streams) {
            if (stream.name != test.top) continue;
            warnings.push_back(stream_warning(policy, test, stream));
            break;
        }
    }
    for (const StreamTest& stream : test.streams) {
        if (quiet_wave(policy, stream)) warnings.push_back(wave_warning(policy, test, stream));
    }
    if (ln_sample_ratio(test.users, test.all_users, test.weight.share()) >= doubt) {
        warnings.push_back(
            number(test.users) + " of " + number(test.all_users) +
            " users fell into a bucket that should have " + weight(test.weight) +
            ": user ids are not spread evenly. Use the id of a person, not of a device pool, a "
            "phone number's prefix or a shared account");
    }
    if (test.all_requests > 0 && 20 * test.without_user > test.all_requests) {
        warnings.push_back(number(test.without_user) + " of " + number(test.all_requests) +
                           " requests have no user: each counts as a user of its own, so retries "
                           "are not seen as such. Write user_id");
    }
    double limit = 0;
    for (const StreamTest& stream : test.streams) limit = std::max(limit, stream.limit);
    if (test.all_users > 0 && test.users_per_request < 5 * limit) {
        warnings.push_back(
            "few users make most requests: " + decimal(100 * test.users_per_request) +
            " users for 100 requests within " + duration(policy.floor_within) +
            ". A user's failures count once in that time, so a limit of " + share(limit) +
            " is hardly ever seen as broken. Shorten harm_floor.within");
    }
    if (test.looks > 0 && test.to - test.from < least_history) {
        warnings.push_back("only " + duration(test.to - test.from) +
                           " of history: what a week's days and nights do is not seen. Test on " +
                           duration(least_history) + " or more");
    }
    return warnings;
}

std::string self_test_page(const Policy& policy, const SelfTest& test, int width) {
    const Paper paper{std::min(width, 100), false};
    const auto point = [&](const std::string& words) {
        return "  " + wrap(clean(words), paper.width - 2, 4) + "\n";
    };
    std::string page =
        wrap(clean(policy.name + ": legacy against itself, " + weight(test.weight) +
                   " of its users as if they were on the canary, " + time(test.from) + " to " +
                   time(test.to) + " (" + duration(test.to - test.from) + ", " +
                   number(test.requests) + " requests)"),
             paper.width, 0) +
        "\n";
    const std::vector<std::string> warnings = self_test_warnings(policy, test);
    if (!warnings.empty()) {
        page += "\nWhat breaks its assumption, or cannot be told\n";
    } else {
        page += test.by_chance ? "What counts can show holds.\n" : "The assumptions hold.\n";
    }
    for (const std::string& warning : warnings) page += point(warning);
    if (test.by_chance) {
        page += point(
            "These are counts without users: each request's side was drawn by chance, which breaks "
            "up what one user does. Users who retry, failures that hit the same users together and "
            "a split of users that is not even cannot be seen here; they can in rows with user_id");
    }
    Table table("lrrrrrr");
    table.row({"", "requests", "events", "once a user", "limit", "waves", "highest"});
    for (const StreamTest& stream : test.streams) {
        // Segments are many: those that rose at all.
        if (has_segment(policy, stream) && stream.highest < 0) continue;
        table.row(
            {"  " + stream.name, number(stream.requests), number(stream.raw),
             number(stream.counted), stream.relative ? "legacy" : share(stream.limit),
             "x" + decimal(stream.dispersion),
             stream.highest < 0 ? "-" : harm(std::exp(std::min(13.0, stream.highest))) + " to 1"});
    }
    page += "\n" + table.draw(paper);
    page += point(
        "\"waves\": how much more blocks of 4 h differ than chance, x1 is none. "
        "\"highest\": odds against chance; " +
        harm(doubtful_m) + " to 1 is doubtful, " + harm(1 / policy.false_rollback) + " to 1 acts.");
    for (std::size_t i = 0; i < test.triggers.size(); ++i) {
        const TriggerTest& trigger = test.triggers[i];
        if (trigger.fired + trigger.shared == 0) continue;
        page += point("trigger " + policy.triggers[i].name + " fired " +
                      counted(trigger.fired, "time", "times") +
                      (trigger.first ? ", first " + time(*trigger.first) : "") +
                      (trigger.shared > 0 ? "; " + number(trigger.shared) +
                                                " more while all of legacy broke the same rule"
                                          : ""));
    }
    return page;
}

}  // namespace canaryd::text
