// Rows become looks exactly once, whatever the order they appear in and however often the daemon
// starts.
#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>
#include <sstream>

#include "canaryd/dedup.hpp"
#include "tests/metrics_file.hpp"

namespace canaryd::testing {
namespace {

constexpr std::int64_t second = 1000;
constexpr std::int64_t begin = 1'764'331'200'000;  // a full hour

TimePoint at(std::int64_t ms) {
    return TimePoint(Duration(ms));
}

Ask ask(std::int64_t from, std::int64_t to, std::string cursor = {}) {
    Ask ask;
    ask.from = at(from);
    ask.to = at(to);
    ask.gate_from = at(begin);
    ask.windows_from = at(begin);
    ask.cursor = std::move(cursor);
    ask.users_wanted = {"jobs", "rides"};
    return ask;
}

void dump(std::ostream& out, const char* name, const std::vector<Tally>& tallies) {
    for (const Tally& tally : tallies) {
        out << name << ' ' << static_cast<int>(tally.who) << " '" << tally.segment << "' "
            << tally.requests;
        for (const Count& count : tally.events) {
            out << " raw " << count.raw;
            for (const InBlock& block : count.first)
                out << ' ' << block.block << ':' << block.failures;
        }
        for (const Burst& burst : tally.bursts) out << " e " << burst.sum_e << '/' << burst.sum_e2;
        for (const std::uint64_t user : tally.new_users) out << " u" << user;
        for (const std::int64_t count : tally.latency.counts) out << ',' << count;
        out << '\n';
    }
}

/// Everything a look says, so that two can be compared whole.
std::string dump(const Look& look) {
    std::ostringstream out;
    dump(out, "on time", look.on_time);
    dump(out, "late", look.late);
    for (const Window& window : look.windows) {
        out << window.trigger << '/' << window.segment << ' ' << window.requests << ' '
            << window.failures << ' ' << window.users << '\n';
    }
    for (const std::string& remark : look.remarks) out << remark << '\n';
    out << look.cursor << look.canary_complete << look.baseline_complete;
    return out.str();
}

const Tally* total(const std::vector<Tally>& tallies, Population who,
                   const std::string& segment = {}) {
    for (const Tally& tally : tallies) {
        if (tally.who == who && tally.segment == segment) return &tally;
    }
    return nullptr;
}

std::int64_t requests(const std::vector<Tally>& tallies, const std::string& segment = {}) {
    const Tally* tally = total(tallies, Population::canary, segment);
    return tally == nullptr ? 0 : tally->requests;
}

/// The sums over many looks that do not depend on how time was cut.
struct Sums {
    std::map<std::string, std::int64_t> values;
    [[nodiscard]] std::string text() const {
        std::string text;
        for (const auto& [name, value] : values) text += name + " " + std::to_string(value) + "\n";
        return text;
    }
    void add(const Look& look) {
        for (const auto* tallies : {&look.on_time, &look.late}) {
            for (const Tally& tally : *tallies) {
                const std::string who =
                    (tally.who == Population::canary ? "canary/" : "baseline/") + tally.segment;
                values[who + " requests"] += tally.requests;
                for (std::size_t s = 0; s < tally.events.size(); ++s) {
                    const std::string signal = who + " " + std::to_string(s);
                    values[signal + " raw"] += tally.events[s].raw;
                    values[signal + " first"] += tally.events[s].counted();
                }
                for (std::size_t s = 0; s < tally.bursts.size(); ++s) {
                    values[who + " e" + std::to_string(s)] += tally.bursts[s].sum_e;
                    values[who + " ee" + std::to_string(s)] += tally.bursts[s].sum_e2;
                }
            }
        }
    }
};

/// A request of the random traffic: when it is inserted, and when it ends if it is running then.
struct Planned {
    Logged row;
    std::int64_t inserted = 0;
    std::optional<std::int64_t> ends;
    std::string ends_as;
    std::int64_t id = 0;
};

std::vector<Planned> traffic(std::mt19937& random, int rows, std::int64_t span, bool may_hang) {
    const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    std::vector<Planned> plan;
    for (int i = 0; i < rows; ++i) {
        Planned planned;
        planned.inserted = begin + span * i / rows + 1;
        Logged& row = planned.row;
        row.webhook =
            std::array{"new", "old-a", "old-b", "stranger"}[static_cast<size_t>(below(4))];
        if (below(5) > 0) row.user = "user " + std::to_string(below(12));
        if (below(6) > 0)
            row.agent = std::array{"jobs", "rides", "new-one"}[static_cast<size_t>(below(3))];
        row.at = planned.inserted;
        if (below(10) == 0) row.at -= below(400) * second;  // a slow transaction
        if (below(50) == 0) row.at += below(20) * second;   // a clock that is ahead
        if (below(4) == 0) row.status = below(3) == 0 ? "timeout" : "error";
        if (below(4) == 0) row.took = 1500 + below(2000);
        // With `may_hang` also those that are late at once, or that end before they began.
        if (row.status == "success" && (may_hang || row.at == planned.inserted) && below(6) == 0) {
            row.took.reset();
            planned.ends = planned.inserted + below(may_hang ? 300 : 40) * second;
            planned.ends_as = below(3) == 0 ? "error" : "success";
        }
        plan.push_back(planned);
    }
    return plan;
}

/// The world up to `now`: rows that were inserted, running ones that ended.
void advance(MetricsFile& file, std::vector<Planned>& plan, std::int64_t now) {
    sqlite::Transaction transaction(file.database(), sqlite::Transaction::Kind::immediate);
    for (Planned& planned : plan) {
        if (planned.id == 0 && planned.inserted <= now) {
            file.log(planned.row);
            planned.id = file.newest();
        }
        if (planned.id != 0 && planned.ends && *planned.ends <= now) {
            file.complete(planned.id, *planned.ends, planned.ends_as);
            planned.row.took = *planned.ends - planned.row.at;
            planned.row.status = planned.ends_as;
            planned.ends.reset();
        }
    }
    transaction.commit();
}

/// What the sums must be, counted without any care for looks.
Sums naive(const std::vector<Planned>& plan) {
    Sums sums;
    std::map<std::string, std::map<std::pair<std::string, std::int64_t>, std::int64_t>> users;
    for (const Planned& planned : plan) {
        const Logged& row = planned.row;
        if (row.webhook == "stranger" || row.at < begin) continue;
        const bool canary = row.webhook == "new";
        std::vector<std::string> scopes{canary ? "canary/" : "baseline/"};
        if (row.agent == "jobs" || row.agent == "rides") scopes.push_back(scopes[0] + *row.agent);
        for (const std::string& scope : scopes) {
            ++sums.values[scope + " requests"];
            const bool events[2] = {row.status != "success",
                                    row.status == "timeout" || *row.took > 2000};
            for (std::size_t s = 0; s < 2; ++s) {
                const std::string signal = scope + " " + std::to_string(s);
                sums.values[signal + " raw"] += events[s];
                sums.values[signal + " first"] += 0;
                if (!events[s]) continue;
                const std::string user = row.user ? *row.user : "#" + std::to_string(planned.id);
                ++users[signal][{user, row.at / (3600 * second)}];
            }
        }
    }
    for (const auto& [signal, blocks] : users) {
        sums.values[signal + " first"] = static_cast<std::int64_t>(blocks.size());
        if (signal.rfind("canary/ ", 0) != 0) continue;
        for (const auto& [block, e] : blocks) {
            sums.values["canary/ e" + signal.substr(8)] += e;
            sums.values["canary/ ee" + signal.substr(8)] += e * e;
        }
    }
    return sums;
}

}  // namespace

TEST_SUITE("source") {
    TEST_CASE("random looks partition time: every request is counted exactly once") {
        for (unsigned seed = 1; seed <= 12; ++seed) {
            CAPTURE(seed);
            std::mt19937 random(seed);
            const Folder folder;
            MetricsFile file(folder.file("m.db"));
            Observer observer(metrics_policy(), folder.file("m.db"));
            std::vector<Planned> plan = traffic(random, 1500, 7200 * second, false);
            Sums sums;
            std::string cursor;
            std::int64_t from = begin;
            while (from < begin + 9000 * second) {
                const std::int64_t to = from + 1 + static_cast<std::int64_t>(random() % 600'000);
                advance(file, plan, to + static_cast<std::int64_t>(random() % 60'000));
                const Look look = observer.observe(ask(from, to, cursor));
                sums.add(look);
                cursor = look.cursor;
                from = to;
            }
            CHECK(sums.text() == naive(plan).text());
        }
    }

    TEST_CASE("a restart, a failed commit or an empty memory changes nothing in any later look") {
        for (unsigned seed = 1; seed <= 8; ++seed) {
            CAPTURE(seed);
            std::mt19937 random(seed * 77);
            const Folder folder;
            MetricsFile file(folder.file("m.db"));
            Observer steady(metrics_policy(), folder.file("m.db"));
            Observer restarted(metrics_policy(), folder.file("m.db"));
            Observer repeated(metrics_policy(), folder.file("m.db"));
            std::vector<Planned> plan = traffic(random, 1200, 7200 * second, true);
            std::string cursor;
            std::int64_t from = begin;
            while (from < begin + 8000 * second) {
                const std::int64_t to = from + 1 + static_cast<std::int64_t>(random() % 500'000);
                advance(file, plan, to + 30 * second);
                Ask next = ask(from, to, cursor);
                next.gate_from = at(from < begin + 2000 * second ? begin : begin + 1500 * second);
                if (random() % 2 == 0) restarted.restart();
                // This one is never committed: with rows of a longer time, and then asked again.
                Ask lost = next;
                lost.to += std::chrono::seconds{20};
                if (random() % 2 == 0) repeated.observe(lost);
                const std::string expected = dump(steady.observe(next));
                CHECK(dump(restarted.observe(next)) == expected);
                CHECK(dump(repeated.observe(next)) == expected);
                if (random() % 3 == 0) CHECK(dump(repeated.observe(next)) == expected);
                cursor = expected.substr(expected.rfind('\n') + 1);
                cursor.resize(cursor.size() - 2);
                from = to;
            }
        }
    }

    TEST_CASE(
        "a request that is logged late counts once, as late; one from before the rollout never") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        Observer observer(metrics_policy(), folder.file("m.db"));
        file.log({.user = "a", .at = begin + 1, .status = "error"});
        const Look first = observer.observe(ask(begin, begin + 10 * second));
        file.log({.user = "b", .at = begin + 2, .status = "error"});
        file.log({.user = "c", .at = begin - 1, .status = "error"});
        file.log({.user = "d", .at = begin + 20 * second});  // of the next look
        const Look second_look =
            observer.observe(ask(begin + 10 * second, begin + 20 * second, first.cursor));
        CHECK(requests(first.on_time) == 1);
        CHECK(requests(second_look.on_time) == 0);
        REQUIRE(requests(second_look.late) == 1);
        CHECK(total(second_look.late, Population::canary)->events[0].counted() == 1);
        const Look third =
            observer.observe(ask(begin + 20 * second, begin + 30 * second, second_look.cursor));
        CHECK(requests(third.on_time) == 1);
        CHECK(third.late.empty());
    }

    TEST_CASE("a running request counts once, when it is final") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        Observer observer(metrics_policy(), folder.file("m.db"));
        file.log({.at = begin + 1, .took = std::nullopt});
        file.log({.at = begin + 2});
        const Look first = observer.observe(ask(begin, begin + 10 * second));
        CHECK(requests(first.on_time) == 1);
        file.complete(1, begin + 1 + 3 * second, "success");
        const Look next =
            observer.observe(ask(begin + 10 * second, begin + 20 * second, first.cursor));
        REQUIRE(requests(next.late) == 1);
        CHECK(total(next.late, Population::canary)->events[0].raw == 0);
        CHECK(total(next.late, Population::canary)->events[1].raw == 1);  // 3 s is slow
        CHECK(observer.observe(ask(begin + 20 * second, begin + 30 * second, next.cursor))
                  .late.empty());
    }

    TEST_CASE("a request that hangs counts as a timeout, for good") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        Observer observer(metrics_policy(), folder.file("m.db"));
        file.log({.user = "a", .at = begin, .took = std::nullopt});
        const Look early = observer.observe(ask(begin, begin + 60 * second));
        CHECK(requests(early.on_time) == 0);
        const Look hung =
            observer.observe(ask(begin + 60 * second, begin + 61 * second, early.cursor));
        REQUIRE(requests(hung.late) == 1);
        CHECK(total(hung.late, Population::canary)->events[0].raw == 1);
        CHECK(total(hung.late, Population::canary)->events[1].raw == 1);
        file.complete(1, begin + 70 * second, "success");
        file.log({.user = "a", .at = begin + 65 * second, .status = "error"});
        observer.restart();  // and the user's failure is still known, though the row says success
        const Look after =
            observer.observe(ask(begin + 61 * second, begin + 90 * second, hung.cursor));
        CHECK(after.late.empty());
        CHECK(total(after.on_time, Population::canary)->events[0].raw == 1);
        CHECK(total(after.on_time, Population::canary)->events[0].counted() == 0);
    }

    TEST_CASE("one user retrying across looks counts once in the block, and always for health") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        Observer observer(metrics_policy(), folder.file("m.db"));
        std::int64_t raw = 0, counted = 0, sum_e = 0, sum_e2 = 0;
        std::string cursor;
        for (int i = 0; i < 20; ++i) {
            const std::int64_t from = begin + i * 60 * second;
            file.log({.user = "a", .agent = "rides", .at = from, .status = "error"});
            const Look look = observer.observe(ask(from, from + 60 * second, cursor));
            const Tally& tally = *total(look.on_time, Population::canary);
            raw += tally.events[0].raw;
            counted += tally.events[0].counted();
            sum_e += tally.bursts[0].sum_e;
            sum_e2 += tally.bursts[0].sum_e2;
            cursor = look.cursor;
        }
        CHECK(raw == 20);
        CHECK(counted == 1);
        CHECK(sum_e == 20);
        CHECK(sum_e2 == 400);
    }

    TEST_CASE("a request without a user is a user of its own; a silent agent has no tally") {
        const Folder folder;
        MetricsFile file(folder.file("m.db"));
        Observer observer(metrics_policy(), folder.file("m.db"));
        for (int i = 0; i < 3; ++i) {
            file.log({.agent = "rides", .at = begin + i, .status = "error"});
            file.log({.user = "", .agent = "rides", .at = begin + i, .status = "error"});
        }
        const Look look = observer.observe(ask(begin, begin + second));
        const Tally* rides = total(look.on_time, Population::canary, "rides");
        REQUIRE(rides != nullptr);
        CHECK(rides->events[0].counted() == 6);
        CHECK(rides->new_users.size() == 6);
        CHECK(rides->bursts.empty());
        CHECK(total(look.on_time, Population::canary)->bursts[0].sum_e2 == 6);
        CHECK(total(look.on_time, Population::canary, "jobs") == nullptr);
        REQUIRE(total(look.on_time, Population::baseline) != nullptr);
        CHECK(total(look.on_time, Population::baseline)->requests == 0);
    }
}

}  // namespace canaryd::testing
