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

/// A criterion of a sequence of rollout_ledger.csv.
struct Wanted {
    std::string metric;
    Criterion criterion;
    std::size_t place = 0;  // among the criteria of its ledger, those without data included
};

/// What a sequence of rollout_ledger.csv asks of the product.
struct Rollouts {
    Policy policy;
    std::vector<Wanted> rollback, hold;
    double eta = 0;
    std::size_t scopes = 1;
};

Duration minutes(const std::string& text) {
    return Duration{std::llround(number(text) * 60'000.0)};
}

const Signal failed{};
const Signal slow{Signal::Kind::slower, std::chrono::seconds{2}};

/// `limit errors 0.01 - rollback`, `relative errors 1.2 0.001 hold`.
Wanted read_criterion(const std::string& text) {
    const std::vector<std::string> words = split(text, ' ');
    Wanted wanted;
    wanted.metric = words[1];
    wanted.criterion.name = words[0] + " " + words[1];
    wanted.criterion.metric = words[1];
    wanted.criterion.signal = words[1] == "errors" ? failed : slow;
    if (words[0] == "limit") {
        wanted.criterion.limit = number(words[2]);
    } else {
        wanted.criterion.no_worse_than = Margin{number(words[2]), number(words[3])};
    }
    wanted.criterion.then = words[4] == "hold" ? Action::hold : Action::rollback;
    return wanted;
}

/// A metric without data by the policy has no stream; a comparison rests where the baseline does.
bool has_data(const Wanted& wanted, const std::vector<Row>& looks, std::size_t index) {
    std::size_t due = 0;
    std::size_t active = 0;
    for (const Row& look : looks) {
        due += wanted.criterion.no_worse_than && look.at("baseline_01") == "0" ? 0 : 1;
        active += split(look.at("active_01_per_criterion"), ';')[index] == "1" ? 1 : 0;
    }
    REQUIRE((active == due || active == 0));
    return active == due;
}

Rollouts read_rollout(const std::vector<Row>& looks) {
    Rollouts rollout;
    const Row& first = looks.front();
    Policy& policy = rollout.policy;
    std::size_t index = 0;
    std::size_t placed[2] = {0, 0};
    for (const std::string& text : split(first.at("criteria"), ';')) {
        Wanted wanted = read_criterion(text);
        const bool holds = wanted.criterion.then == Action::hold;
        wanted.place = placed[holds ? 1 : 0]++;
        if (has_data(wanted, looks, index++)) {
            policy.criteria.push_back(wanted.criterion);
            (holds ? rollout.hold : rollout.rollback).push_back(wanted);
        }
    }
    policy.name = "vector";
    policy.canary = "new";
    policy.baseline = {"old"};
    for (std::size_t i = 1; i < split(first.at("c_n_requests"), ';').size(); ++i) {
        policy.segments.push_back("a" + std::to_string(i));
    }
    rollout.scopes = 1 + policy.segments.size();
    policy.soak = minutes(first.at("H_min")) / 2;
    policy.steps = {{"first", Weight{1000}, minutes(first.at("H_min")) - policy.soak},
                    {"last", everybody, std::chrono::hours{24}}};
    policy.false_rollback = number(first.at("alpha"));
    policy.false_hold = policy.false_rollback;
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
        for (const Signal& signal : signals_of(rollout.policy)) {
            const bool errors = signal == failed;
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
/// Agents of a look that have more failures than requests: no evidence here (section 10), and
/// said. A sequence of the file has such a look; all but those agents' floors is compared.
std::set<std::size_t> impossible(const Look& look) {
    std::set<std::size_t> tallies;
    for (std::size_t at = 0; at < look.on_time.size(); ++at) {
        const Tally& own = look.on_time[at];
        for (const Count& count : own.events) {
            if (count.counted() > own.requests || count.raw > own.requests) {
                tallies.insert(at);
            }
        }
    }
    return tallies;
}

struct LedgerColumns {
    const std::vector<Wanted>& criteria;
    const std::vector<Stream>& streams;
    std::string name;  // of the columns
    double ln_m = 0, ln_c = 0;
    std::size_t top = 0;
};

void check_ledger(const Rollouts& rollout, const Row& row, const LedgerColumns& got) {
    check_close(got.ln_m, number(row.at(got.name + "_ln_M_nats")), row, got.name + " ln M");
    check_close(got.ln_c, number(row.at(got.name + "_ln_C_nats")), row, got.name + " ln C");
    const std::int64_t top = whole(row.at(got.name + "_top_stream_0based"));
    if (got.criteria.empty()) {
        check_same(std::int64_t{-1}, top, row, got.name + " top stream");
        return;
    }
    const std::size_t theirs =
        got.criteria[got.top / rollout.scopes].place * rollout.scopes + got.top % rollout.scopes;
    check_same(static_cast<std::int64_t>(theirs), top, row, got.name + " top stream");
    check_close(got.streams[got.top].ln_sum(), number(row.at(got.name + "_ln_top_nats")), row,
                got.name + " ln of the top stream");
}

/// Guard and floor of the limit streams of the ledger that rolls back, then of the one that holds.
void check_limits(const Rollouts& rollout, const Row& row, const Verdict& verdict,
                  const std::set<std::size_t>& left_out) {
    const std::vector<std::string> guards = split(row.at("guard_01_per_limit_stream"), ';');
    const std::vector<std::string> floors = split(row.at("floor_met_01_per_limit_stream"), ';');
    std::size_t before = 0;  // limits of the file in the ledgers so far
    const auto check_all = [&](const std::vector<Wanted>& criteria,
                               const std::vector<Stream>& streams, Action then) {
        std::size_t limits = 0;
        for (const std::string& text : split(row.at("criteria"), ';')) {
            const Wanted wanted = read_criterion(text);
            if (wanted.criterion.then != then || wanted.criterion.no_worse_than) continue;
            const auto ours = std::find_if(
                criteria.begin(), criteria.end(),
                [&](const Wanted& one) { return one.criterion.name == wanted.criterion.name; });
            const std::size_t first = (before + limits++) * rollout.scopes;
            if (ours == criteria.end()) continue;  // without data, in neither
            const auto total = static_cast<std::size_t>(ours - criteria.begin()) * rollout.scopes;
            for (std::size_t scope = 0; scope < rollout.scopes; ++scope) {
                const Stream& stream = streams[total + scope];
                const bool guard = guard_on(stream.guard) || guard_on(streams[total].guard);
                check_same(guard, guards[first + scope] == "1", row, "guard");
                if (left_out.contains(scope)) continue;
                const bool floor = most_in_one_block(stream.floor) >= rollout.policy.floor_users;
                check_same(floor, floors[first + scope] == "1", row, "floor");
            }
        }
        before += limits;
    };
    check_all(rollout.rollback, verdict.ledger.streams, Action::rollback);
    check_all(rollout.hold, verdict.ledger.hold.streams, Action::hold);
}

void check_decision(const Row& row, const Verdict& verdict) {
    const Ledger& ledger = verdict.ledger;
    const bool held = ledger.failed_confirmation || ledger.hold.acted;
    check_same(std::string{word(verdict.decision)}, row.at("decision"), row, "decision");
    check_same(std::string{ledger.latched ? "rollback"
                           : held         ? "hold"
                                          : "none"},
               row.at("latched"), row, "latched");
}

Ledger resumed(const Rollouts& rollout, Ledger ledger, const std::string& text) {
    std::vector<std::size_t> streams[2];
    for (const std::string& name : split(text, ';')) {
        const auto theirs = static_cast<std::size_t>(whole(name.substr(1)));
        const std::vector<Wanted>& criteria = name[0] == 'r' ? rollout.rollback : rollout.hold;
        for (std::size_t i = 0; i < criteria.size(); ++i) {
            if (criteria[i].place == theirs / rollout.scopes) {
                streams[name[0] == 'r' ? 0 : 1].push_back(i * rollout.scopes +
                                                          theirs % rollout.scopes);
            }
        }
    }
    return forget_streams(std::move(ledger), streams[0], streams[1]);
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
            ledger = resumed(rollout, std::move(ledger), row.at("resume_streams"));
        }
        const Verdict verdict = judge(rollout.policy, ledger, look, rollout.eta);
        const std::set<std::size_t> odd = impossible(look);
        check_same(verdict.remarks.empty(), odd.empty(), row, "no remark");
        left_out.insert(odd.begin(), odd.end());
        check_ledger(rollout, row,
                     {rollout.rollback, verdict.ledger.streams, "rollback", verdict.ln_m,
                      verdict.ledger.ln_c, verdict.top});
        check_ledger(rollout, row,
                     {rollout.hold, verdict.ledger.hold.streams, "hold", verdict.hold_ln_m,
                      verdict.ledger.hold.ln_c, verdict.hold_top});
        check_limits(rollout, row, verdict, left_out);
        check_decision(row, verdict);
        ledger = verdict.ledger;
    }
}

}  // namespace

TEST_SUITE("vectors") {
    TEST_CASE("vector rollout_ledger: whole rollouts, both ledgers") {
        const std::vector<Row> rows = rows_of("rollout_ledger.csv");
        std::size_t compared = 0;
        for (std::size_t from = 0; from < rows.size();) {
            std::size_t to = from + 1;
            while (to < rows.size() && !starts_sequence(rows, to)) {
                ++to;
            }
            const std::vector<Row> looks(rows.begin() + static_cast<std::ptrdiff_t>(from),
                                         rows.begin() + static_cast<std::ptrdiff_t>(to));
            CAPTURE(looks.front().at("seq"));
            CAPTURE(looks.front().at("story"));
            check_rollout(read_rollout(looks), looks);
            compared += looks.size();
            from = to;
        }
        CHECK(compared == rows.size());
    }
}
