// What every source of rows promises, whatever database it reads: rows become looks exactly once,
// in whatever order they appear and however often the daemon starts, and a trigger's window is what
// a person would count. A new kind calls both functions in a test case of its own, with a
// function that makes a new, empty table each time it is called.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include "canaryd/dedup.hpp"
#include "tests/has.hpp"
#include "tests/metrics_file.hpp"

namespace canaryd::testing::contract {
inline constexpr std::int64_t second = 1000;
inline constexpr std::int64_t begin = 1'764'331'200'000;  // a full hour

inline TimePoint at(std::int64_t ms) {
    return TimePoint(Duration(ms));
}

inline Ask ask(std::int64_t from, std::int64_t to, std::string cursor = {}) {
    Ask ask;
    ask.from = at(from);
    ask.to = at(to);
    ask.gate_from = at(begin);
    ask.windows_from = at(begin);
    ask.cursor = std::move(cursor);
    ask.users_wanted = {"jobs", "rides"};
    return ask;
}

inline void dump(std::ostream& out, const char* name, const std::vector<Tally>& tallies) {
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
inline std::string dump(const Look& look) {
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

inline const Tally* total(const std::vector<Tally>& tallies, Population who,
                          const std::string& segment = {}) {
    for (const Tally& tally : tallies) {
        if (tally.who == who && tally.segment == segment) return &tally;
    }
    return nullptr;
}

inline std::int64_t requests(const std::vector<Tally>& tallies, const std::string& segment = {}) {
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

inline std::vector<Planned> traffic(std::mt19937& random, int rows, std::int64_t span,
                                    bool may_hang) {
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
inline void advance(MetricsTable& file, std::vector<Planned>& plan, std::int64_t now) {
    file.together([&] {
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
    });
}

/// What the sums must be, counted without any care for looks.
inline Sums naive(const std::vector<Planned>& plan) {
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

inline Trigger trigger(std::string name, Trigger::Kind kind, Duration over) {
    Trigger trigger;
    trigger.name = std::move(name);
    trigger.metric = trigger.name;
    trigger.kind = kind;
    trigger.over = over;
    return trigger;
}

inline const Window* window(const Look& look, const std::string& trigger, Population who,
                            const std::string& segment = {}) {
    for (const Window& window : look.windows) {
        if (window.trigger == trigger && window.who == who && window.segment == segment)
            return &window;
    }
    return nullptr;
}

inline std::int64_t total_requests(const Look& look) {
    std::int64_t requests = 0;
    for (const Tally& tally : look.on_time) requests += tally.segment.empty() ? tally.requests : 0;
    return requests;
}

struct Number {
    std::optional<double> value;
    std::string remark;
};
/// What the trigger dead-letters got.
inline Number number_in(const Look& look) {
    REQUIRE(window(look, "dead-letters", Population::canary) != nullptr);
    return {window(look, "dead-letters", Population::canary)->value,
            look.remarks.empty() ? "" : look.remarks.back()};
}

using NewTable = std::function<std::unique_ptr<MetricsTable>()>;

/// Looks partition time and rows; `seeds` random worlds.
inline void each_row_counts_once(const NewTable& make, unsigned seeds = 12) {
    SUBCASE("random looks partition time: every request is counted exactly once") {
        for (unsigned seed = 1; seed <= seeds; ++seed) {
            CAPTURE(seed);
            std::mt19937 random(seed);
            const std::unique_ptr<MetricsTable> table = make();
            MetricsTable& file = *table;
            Observer observer(metrics_policy(), file);
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

    SUBCASE("a restart, a failed commit or an empty memory changes nothing in any later look") {
        for (unsigned seed = 1; seed <= seeds * 2 / 3; ++seed) {
            CAPTURE(seed);
            std::mt19937 random(seed * 77);
            const std::unique_ptr<MetricsTable> table = make();
            MetricsTable& file = *table;
            Observer steady(metrics_policy(), file);
            Observer restarted(metrics_policy(), file);
            Observer repeated(metrics_policy(), file);
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

    SUBCASE(
        "a request that is logged late counts once, as late; one from before the rollout never") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        Observer observer(metrics_policy(), file);
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

    SUBCASE("a running request counts once, when it is final") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        Observer observer(metrics_policy(), file);
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

    SUBCASE("a request that hangs counts as a timeout, for good") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        Observer observer(metrics_policy(), file);
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

    SUBCASE("one user retrying across looks counts once in the block, and always for health") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        Observer observer(metrics_policy(), file);
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

    SUBCASE("a baseline that chance cannot silence is incomplete; a quiet one is not") {
        const auto complete = [&](Weight weight, int canary, int baseline, bool one = false) {
            const std::unique_ptr<MetricsTable> table = make();
            Observer observer(metrics_policy(), *table);
            for (int i = 0; i < canary; ++i)
                table->log({.user = one ? "u" : "u" + std::to_string(i), .at = begin + i});
            for (int i = 0; i < baseline; ++i) table->log({.webhook = "old-a", .at = begin + i});
            Ask asked = ask(begin, begin + second);
            asked.weight = weight;
            const Look look = observer.observe(asked);
            CHECK(look.canary_complete);
            return look.baseline_complete;
        };
        CHECK_FALSE(complete(Weight{1000}, 4, 0));
        CHECK(complete(Weight{1000}, 4, 1));
        CHECK(complete(Weight{1000}, 50, 0, true));  // one user, again and again
        CHECK(complete(Weight{1000}, 2, 0));         // once in a hundred such looks
        CHECK(complete(Weight{1000}, 0, 0));
        CHECK(complete(Weight{5000}, 9, 0));
        CHECK_FALSE(complete(Weight{5000}, 10, 0));
        CHECK(complete(everybody, 50, 0));
    }

    SUBCASE("a request without a user is a user of its own; a silent agent has no tally") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        Observer observer(metrics_policy(), file);
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

/// Triggers, and what people are told.
inline void windows_and_remarks(const NewTable& make) {
    SUBCASE("a trigger's window is what a person counts by hand") {
        std::mt19937 random(7);
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        Policy policy = metrics_policy();
        Trigger failed = trigger("failed", Trigger::Kind::share, std::chrono::minutes{5});
        Trigger slow = trigger("slow", Trigger::Kind::share, std::chrono::minutes{5});
        slow.signal = {Signal::Kind::slower, std::chrono::seconds{5}};
        slow.each_segment = true;
        Trigger silent = trigger("silent", Trigger::Kind::traffic, std::chrono::minutes{5});
        policy.triggers = {failed, slow, silent};
        std::vector<Logged> rows;
        for (int i = 0; i < 3000; ++i) {
            Logged row;
            row.webhook = std::array{"new", "old-a", "old-b", "x"}[random() % 4];
            row.at = begin + static_cast<std::int64_t>(random() % 900'000);
            if (random() % 4 > 0) row.user = "u" + std::to_string(random() % 30);
            if (random() % 4 > 0) row.agent = random() % 2 == 0 ? "jobs" : "rides";
            if (random() % 4 == 0) row.status = random() % 2 == 0 ? "error" : "timeout";
            row.took = static_cast<std::int64_t>(random() % 10'000);
            if (random() % 20 == 0) row.took.reset();  // running, or a failure without a time
            rows.push_back(row);
            file.log(row);
        }
        Observer observer(policy, file);
        const std::int64_t to = begin + 700 * second;
        const Look look = observer.observe(ask(begin + 600 * second, to));
        for (const Window& seen : look.windows) {
            CAPTURE(seen.trigger);
            CAPTURE(seen.segment);
            const bool is_slow = seen.trigger == "slow";
            const bool traffic = seen.trigger == "silent" || seen.trigger == "expect_traffic";
            Window expected;
            std::set<std::string> users;
            int own = 0;
            for (const Logged& row : rows) {
                const bool ours = seen.who == Population::canary
                                      ? row.webhook == "new"
                                      : row.webhook == "old-a" || row.webhook == "old-b";
                if (!ours || at(row.at) < seen.from || row.at >= to) continue;
                if (!seen.segment.empty() && row.agent != seen.segment) continue;
                const bool running = row.status == "success" && !row.took;
                if (running && !traffic && to - row.at <= 60 * second) continue;
                ++expected.requests;
                const bool event =
                    is_slow ? running || row.status == "timeout" || row.took.value_or(0) > 5000
                            : running || row.status != "success";
                if (!event || traffic) continue;
                ++expected.failures;
                users.insert(row.user ? *row.user : "#" + std::to_string(++own));
            }
            CHECK(seen.requests == expected.requests);
            CHECK(seen.failures == expected.failures);
            CHECK(seen.users == static_cast<std::int64_t>(users.size()));
        }
        // failed 2, slow 2 agents on 2 sides, silent 2, expect_traffic 2
        CHECK(look.windows.size() == 10);
        REQUIRE(window(look, "failed", Population::canary) != nullptr);
        CHECK(window(look, "failed", Population::canary)->from == at(begin + 400 * second));
        CHECK(window(look, "expect_traffic", Population::canary)->from == at(begin));
    }

    SUBCASE("a peek answers for 1 of 1 triggers only, counts nothing and moves nothing") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        file.log({.at = begin + second, .status = "error"});
        Policy policy = metrics_policy();
        policy.triggers = {trigger("fast", Trigger::Kind::share, std::chrono::minutes{5}),
                           trigger("slow", Trigger::Kind::share, std::chrono::minutes{5})};
        policy.triggers[0].needed = policy.triggers[0].looks = 1;
        Observer observer(policy, file);
        Ask peek = ask(begin, begin + 10 * second);
        peek.peek = true;
        const Look peeked = observer.observe(peek);
        CHECK(peeked.windows.size() == 2);
        CHECK(window(peeked, "fast", Population::canary)->failures == 1);
        CHECK(peeked.on_time.empty());
        CHECK(peeked.cursor.empty());
        CHECK(total_requests(observer.observe(ask(begin, begin + 10 * second))) == 1);
    }

    SUBCASE("no window begins before the exposure") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        file.log({.at = begin + second, .status = "error"});
        Policy policy = metrics_policy();
        policy.triggers = {trigger("failed", Trigger::Kind::share, std::chrono::minutes{5})};
        Observer observer(policy, file);
        Ask look = ask(begin, begin + 10 * second);
        look.windows_from = at(begin + 2 * second);
        CHECK(window(observer.observe(look), "failed", Population::canary)->requests == 0);
        look.windows_from = at(begin + 20 * second);  // later than the look's end: an empty window
        const Look empty = observer.observe(look);
        CHECK(window(empty, "failed", Population::canary)->from == look.to);
    }

    SUBCASE("different users of a window are counted on both sides, nobody is no user") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        for (int i = 0; i < 12; ++i) {
            file.log({.user = "u" + std::to_string(i % 3), .at = begin + i});
            file.log({.webhook = i % 2 == 0 ? "old-a" : "old-b",
                      .user = "v" + std::to_string(i % 5),
                      .at = begin + i});
            file.log({.at = begin + i});
        }
        Policy policy = metrics_policy();
        policy.triggers = {trigger("share", Trigger::Kind::off_weight, std::chrono::minutes{5}),
                           trigger("silent", Trigger::Kind::traffic, std::chrono::minutes{5})};
        Observer observer(policy, file);
        const Look look = observer.observe(ask(begin, begin + second));
        CHECK(window(look, "share", Population::canary)->users == 3);
        CHECK(window(look, "share", Population::baseline)->users == 5);
        CHECK(window(look, "share", Population::canary)->requests == 24);
        CHECK(window(look, "silent", Population::canary)->users == 0);
    }

    SUBCASE("a hostile value in a remark cannot forge a line") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        file.log({.at = begin, .status = "x\n\x1b[2Jrolled back" + std::string(100'000, 'y')});
        Observer observer(metrics_policy(), file);
        const Look look = observer.observe(ask(begin, begin + second));
        REQUIRE(look.remarks.size() == 1);
        CHECK(look.remarks[0].size() < 200);
        CHECK(look.remarks[0].find_first_of("\n\x1b") == std::string::npos);
    }

    SUBCASE("an unexpected agent counts in the total and is reported once") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        Observer observer(metrics_policy(), file);
        for (int i = 0; i < 5; ++i)
            file.log({.agent = "robot" + std::to_string(i % 4), .at = begin});
        const Look first = observer.observe(ask(begin, begin + second));
        CHECK(total_requests(first) == 5);
        REQUIRE(first.remarks.size() == 1);
        CHECK(first.remarks[0].find("\"robot0\", \"robot1\", \"robot2\" and 1 more") !=
              std::string::npos);
        observer.restart();
        file.log({.agent = "robot1", .at = begin + second});
        CHECK(observer.observe(ask(begin + second, begin + 2 * second, first.cursor))
                  .remarks.empty());
    }

    SUBCASE("the top errors are the canary's most frequent texts with two request ids each") {
        const std::unique_ptr<MetricsTable> table = make();
        MetricsTable& file = *table;
        for (int i = 0; i < 12; ++i) {
            file.log({.at = begin + i,
                      .status = i % 2 == 0 ? "error" : "timeout",
                      .error = i < 5 ? std::optional<std::string>("no\nroute") : std::nullopt,
                      .request = "r" + std::to_string(i)});
        }
        file.log({.at = begin, .status = "error", .error = std::string(500, 'x')});
        file.log({.at = begin, .error = "of a success"});
        file.log({.webhook = "old-a", .at = begin, .status = "error", .error = "of the baseline"});
        Observer observer(metrics_policy(), file);
        const auto errors = observer.top_errors(at(begin), at(begin + second));
        REQUIRE(errors.size() == 3);
        CHECK(has(errors[0].message, "route"));
        CHECK_FALSE(has(errors[0].message, "\n"));
        CHECK(errors[0].times == 5);
        CHECK(errors[0].request_ids == std::vector<std::string>{"r4", "r3"});
        CHECK(errors[1].message == "timeout");
        CHECK(errors[1].times == 4);
        CHECK(errors[2].message == "error");
        CHECK(observer.top_errors(at(begin + second), at(begin + 2 * second)).empty());
    }
}

}  // namespace canaryd::testing::contract
