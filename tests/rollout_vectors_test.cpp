// Whole rollouts, look by look, against a program that shares no code with this one.
#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "canaryd/analysis.hpp"
#include "canaryd/dedup.hpp"
#include "canaryd/evidence.hpp"
#include "tests/vectors.hpp"

using namespace canaryd;
using namespace canaryd::vectors;

namespace {

struct Wanted {
    std::string metric;
    double limit = 0;
    std::size_t place = 0;  // among the criteria that roll back
};

/// What a sequence of rollout_ledger.csv asks of a product with limits only.
struct Rollouts {
    Policy policy;
    std::vector<Wanted> criteria;
    double eta = 0;
    bool holds = false;  // a criterion says hold: its ledger is not here
    std::string skipped;
};

Duration minutes(const std::string& text) {
    return Duration{std::llround(number(text) * 60'000.0)};
}

Rollouts read_rollout(const std::vector<Row>& looks) {
    Rollouts rollout;
    const Row& first = looks.front();
    std::size_t place = 0;
    std::size_t criterion = 0;
    for (const std::string& text : split(first.at("criteria"), ';')) {
        const std::vector<std::string> words = split(text, ' ');
        const std::size_t index = criterion++;
        if (words[4] == "hold") {
            rollout.holds = true;
            continue;
        }
        if (words[0] != "limit") {
            rollout.skipped = "rolls back by '" + text + "', which is not a limit";
            return rollout;
        }
        std::size_t active = 0;
        for (const Row& look : looks) {
            active += split(look.at("active_01_per_criterion"), ';')[index] == "1" ? 1 : 0;
        }
        if (active != 0 && active != looks.size()) {
            rollout.skipped = "a limit comes and goes within it";
            return rollout;
        }
        if (active != 0) {
            rollout.criteria.push_back({words[1], number(words[2]), place});
        }
        ++place;
    }
    if (rollout.criteria.empty()) {
        rollout.skipped = "no limit rolls back";
        return rollout;
    }
    Policy& policy = rollout.policy;
    policy.name = "vector";
    policy.canary = "new";
    policy.baseline = {"old"};
    for (const Wanted& wanted : rollout.criteria) {
        const Signal failed{};
        const Signal slow{Signal::Kind::slower, std::chrono::seconds{2}};
        policy.criteria.push_back({wanted.metric, wanted.metric,
                                   wanted.metric == "errors" ? failed : slow, wanted.limit});
    }
    for (std::size_t i = 1; i < split(first.at("c_n_requests"), ';').size(); ++i) {
        policy.segments.push_back("a" + std::to_string(i));
    }
    policy.soak = minutes(first.at("H_min")) / 2;
    policy.steps = {{"first", Weight{1000}, minutes(first.at("H_min")) - policy.soak},
                    {"last", everybody, std::chrono::hours{24}}};
    policy.false_rollback = number(first.at("alpha"));
    policy.suspicious = policy.false_rollback / number(first.at("alpha_soft"));
    policy.warm_up = minutes(first.at("warm_up_min"));
    policy.floor_users = whole(first.at("floor_users"));
    policy.confirm_without_baseline = minutes(first.at("confirm_min"));
    rollout.eta = number(first.at("eta"));
    return rollout;
}

/// "3@17+2@18", or a plain number that lies in the block of the look's start.
std::vector<InBlock> blocks(const std::string& text, std::int64_t here) {
    std::vector<InBlock> result;
    for (const std::string& part : split(text, '+')) {
        const std::vector<std::string> at = split(part, '@');
        result.push_back({at.size() == 2 ? whole(at[1]) : here, whole(at[0])});
    }
    return result;
}

/// The part of a look's counted failures that came late: what is over the look's own.
std::vector<InBlock> take_late(std::vector<InBlock>& counted, std::int64_t own) {
    std::vector<InBlock> late;
    std::int64_t over = Count{0, counted}.counted() - own;
    for (InBlock& block : counted) {
        const std::int64_t moved = std::min(over, block.failures);
        if (moved > 0) {
            late.push_back({block.block, moved});
            block.failures -= moved;
            over -= moved;
        }
    }
    return late;
}

void add_tallies(const Rollouts& rollout, const Row& row, Population who, Look& look) {
    const std::string side = who == Population::canary ? "c_" : "b_";
    const std::int64_t here = block_of(look.from, rollout.policy.floor_within);
    const std::vector<std::int64_t> all = wholes(row.at(side + "n_requests"));
    const std::vector<std::int64_t> own = wholes(row.at(side + "raw_n_requests"));
    for (std::size_t scope = 0; scope < all.size(); ++scope) {
        Tally on_time;
        on_time.who = who;
        on_time.segment = scope == 0 ? "" : rollout.policy.segments[scope - 1];
        Tally late = on_time;
        on_time.requests = own[scope];
        late.requests = all[scope] - own[scope];
        for (const Wanted& wanted : rollout.criteria) {
            const bool errors = wanted.metric == "errors";
            const std::string counted_name = errors ? "e_counted_failures" : "s_counted_slow";
            const std::string raw_name = errors ? "raw_e_failures" : "raw_s_slow";
            Count counted;
            counted.raw = wholes(row.at(side + raw_name))[scope];
            counted.first = blocks(split(row.at(side + counted_name), ';')[scope], here);
            Count more;
            if (who == Population::canary) {
                const std::string own_name = "own_" + counted_name;
                more.first = take_late(counted.first, wholes(row.at(side + own_name))[scope]);
            } else {
                more.first =
                    take_late(counted.first, std::min(counted.counted(), on_time.requests));
            }
            more.raw = more.counted();
            on_time.events.push_back(counted);
            late.events.push_back(more);
        }
        on_time.bursts.resize(on_time.events.size());
        late.bursts.resize(late.events.size());
        look.on_time.push_back(on_time);
        look.late.push_back(late);
    }
}

Look read_look(const Rollouts& rollout, const Row& row) {
    Look look;
    look.from = TimePoint{minutes(row.at("start_utc_min"))};
    look.to = look.from + minutes(row.at("dt_min"));
    look.canary_complete = row.at("settled_canary_01") == "1";
    look.baseline_complete = row.at("settled_baseline_01") == "1";
    add_tallies(rollout, row, Population::canary, look);
    add_tallies(rollout, row, Population::baseline, look);
    return look;
}

const char* word(Decision decision) {
    switch (decision) {
        case Decision::none:
            return "none";
        case Decision::suspicious:
            return "suspicious";
        case Decision::hold:
            return "hold";
        case Decision::waiting:
            return "alarm-waiting-confirmation";
        case Decision::rollback:
            return "rollback";
    }
    return "";
}
int rank(const std::string& decision) {
    for (const Decision known : {Decision::none, Decision::suspicious, Decision::hold,
                                 Decision::waiting, Decision::rollback}) {
        if (decision == word(known)) {
            return static_cast<int>(known);
        }
    }
    FAIL("unknown decision ", decision);
    return -1;
}

/// Streams of a look that has more events than requests, which is no evidence here.
std::set<std::size_t> impossible(const Rollouts& rollout, const Look& look) {
    const std::size_t scopes = 1 + rollout.policy.segments.size();
    std::set<std::size_t> streams;
    for (std::size_t at = 0; at < look.on_time.size(); ++at) {
        const Tally& own = look.on_time[at];
        const Tally& late = look.late[at];
        for (std::size_t i = 0; i < own.events.size(); ++i) {
            const std::int64_t counted = own.events[i].counted() + late.events[i].counted();
            if (counted > own.requests + late.requests || own.events[i].raw > own.requests) {
                streams.insert(i * scopes + at % scopes);
            }
        }
    }
    return streams;
}

void check_streams(const Rollouts& rollout, const Row& row, const Verdict& verdict,
                   const std::set<std::size_t>& left_out) {
    const std::vector<std::string> guards = split(row.at("guard_01_per_limit_stream"), ';');
    const std::vector<std::string> floors = split(row.at("floor_met_01_per_limit_stream"), ';');
    const std::size_t scopes = 1 + rollout.policy.segments.size();
    const auto& streams = verdict.ledger.streams;
    for (std::size_t i = 0; i < streams.size(); ++i) {
        if (left_out.contains(i)) {
            continue;
        }
        const std::size_t theirs = rollout.criteria[i / scopes].place * scopes + i % scopes;
        const bool floor = most_in_one_block(streams[i].floor) >= rollout.policy.floor_users;
        check_same(floor, floors[theirs] == "1", row, "floor");
        const bool guard = guard_on(streams[i].guard) || guard_on(streams[i - i % scopes].guard);
        check_same(guard, guards[theirs] == "1", row, "guard");
    }
    const std::size_t top =
        rollout.criteria[verdict.top / scopes].place * scopes + verdict.top % scopes;
    check_same(static_cast<std::int64_t>(top), whole(row.at("rollback_top_stream_0based")), row,
               "top stream");
    check_close(streams[verdict.top].ln_sum(), number(row.at("rollback_ln_top_nats")), row,
                "ln of the top stream");
}

void check_decision(const Rollouts& rollout, const Row& row, const Verdict& verdict) {
    const std::string got = word(verdict.decision);
    const std::string want = row.at("decision");
    const std::string latched = verdict.ledger.latched               ? "rollback"
                                : verdict.ledger.failed_confirmation ? "hold"
                                                                     : "none";
    if (!rollout.holds) {
        check_same(got, want, row, "decision");
        check_same(latched, row.at("latched"), row, "latched");
        return;
    }
    // The ledger of `then: hold` can make a decision stronger, up to a hold.
    const int acts = static_cast<int>(Decision::waiting);
    CHECK_MESSAGE(rank(got) <= rank(want), "row ", row.at("id"), ": ", got, ", not ", want);
    check_same(rank(got) >= acts, rank(want) >= acts, row, "acting");
    if (rank(want) >= acts) {
        check_same(got, want, row, "decision");
    }
    check_same(latched == "rollback", row.at("latched") == "rollback", row, "latched");
    if (latched == "hold") {
        check_same(latched, row.at("latched"), row, "latched");
    }
}

std::vector<std::size_t> resumed(const Rollouts& rollout, const std::string& text) {
    const std::size_t scopes = 1 + rollout.policy.segments.size();
    std::vector<std::size_t> streams;
    for (const std::string& name : split(text, ';')) {
        const auto theirs = static_cast<std::size_t>(whole(name.substr(1)));
        for (std::size_t i = 0; i < rollout.criteria.size(); ++i) {
            if (name[0] == 'r' && rollout.criteria[i].place == theirs / scopes) {
                streams.push_back(i * scopes + theirs % scopes);
            }
        }
    }
    return streams;
}

void check_rollout(const Rollouts& rollout, const std::vector<Row>& looks) {
    Ledger ledger = new_ledger(rollout.policy);
    std::set<std::size_t> left_out;
    for (const Row& row : looks) {
        const Look look = read_look(rollout, row);
        if (row.at("phase_start_01") == "1") {
            ledger = begin_phase(rollout.policy, ledger, look.from, row.at("baseline_01") == "1");
        }
        check_same(ledger.baseline_share, row.at("baseline_01") == "1", row, "baseline's share");
        if (row.at("resume_streams") != "-") {
            ledger = forget_streams(ledger, resumed(rollout, row.at("resume_streams")));
        }
        const Verdict verdict = judge(rollout.policy, ledger, look, rollout.eta);
        const std::set<std::size_t> odd = impossible(rollout, look);
        check_same(verdict.remarks.empty(), odd.empty(), row, "no remark");
        if (!odd.empty()) {
            left_out.insert(odd.begin(), odd.end());
            MESSAGE("skipped: rollout_ledger.csv, from row ", row.at("id"), " on: ", odd.size(),
                    " agents' streams with more failures than requests");
        }
        check_close(verdict.ln_m, number(row.at("rollback_ln_M_nats")), row, "ln M");
        check_close(verdict.ledger.ln_c, number(row.at("rollback_ln_C_nats")), row, "ln C");
        check_streams(rollout, row, verdict, left_out);
        check_decision(rollout, row, verdict);
        ledger = verdict.ledger;
    }
}

}  // namespace

TEST_SUITE("vectors") {
    TEST_CASE("vector rollout_ledger: whole rollouts whose limits roll back") {
        const std::vector<Row> rows = rows_of("rollout_ledger.csv");
        std::size_t compared = 0;
        for (std::size_t from = 0; from < rows.size();) {
            std::size_t to = from + 1;
            while (to < rows.size() && !starts_sequence(rows, to)) {
                ++to;
            }
            const std::vector<Row> looks(rows.begin() + static_cast<std::ptrdiff_t>(from),
                                         rows.begin() + static_cast<std::ptrdiff_t>(to));
            const Row& first = looks.front();
            CAPTURE(first.at("seq"));
            CAPTURE(first.at("story"));
            const Rollouts rollout = read_rollout(looks);
            if (rollout.skipped.empty()) {
                check_rollout(rollout, looks);
                ++compared;
            } else {
                MESSAGE("skipped: rollout_ledger.csv, rollout ", first.at("seq"), ": ",
                        rollout.skipped);
            }
            from = to;
        }
        CHECK(compared > 0);
        MESSAGE("rollout_ledger.csv: ", compared, " rollouts compared; the hold_* columns wait for",
                " a ledger of their own");
    }
}
