// The guarantees, read from the journal and the traces alone.
#include <algorithm>
#include <map>
#include <set>

#include "canaryd/text.hpp"
#include "tests/simulation/raises.hpp"
#include "tests/simulation/world.hpp"

namespace canaryd::simulation {
namespace {

class Checker {
public:
    explicit Checker(const Run& run) : run_(run) {
        for (const JournalEntry& entry : run.journal) {
            if (entry.revision != 1) continue;
            const auto& started = std::get<event::Started>(entry.event.what);
            policies_[entry.rollout] = *parse_policy(started.policy_text, "sim.yaml").policy;
        }
    }

    std::vector<std::string> all() {
        if (!run_.died.empty()) broken("the daemon died: " + run_.died);
        raises_were_committed_first();
        weights_follow_the_ladder();
        engine_raises_by_its_own_word();
        engine_raises_only_on_proof();
        edits_change_nothing_that_runs();
        rollbacks_latch_and_complete();
        nothing_rises_while_paused();
        hands_are_not_repaired_upwards();
        faults_are_found();
        acknowledged_is_durable();
        nothing_acts_on_an_unknown_outcome();
        bake_is_never_longer_than_time();
        rollbacks_are_told();
        routes_come_before_notices();
        journal_replays();
        return std::move(broken_);
    }

private:
    void broken(const std::string& what) {
        if (broken_.size() < 5) broken_.push_back(what);
    }
    static std::string at(const Trace& trace) {
        return " (day " +
               std::to_string(static_cast<double>(trace.steady.time_since_epoch().count()) /
                              86'400'000.0) +
               ", revision " + std::to_string(trace.revision) + ")";
    }
    /// What the rollout was started with: the journal has its text.
    [[nodiscard]] const Policy& policy_of(const Decided& decided) const {
        return policies_.at(decided.id);
    }
    template <class Kind>
    [[nodiscard]] bool is(std::size_t entry) const {
        return std::holds_alternative<Kind>(run_.journal[entry].event.what);
    }

    // G01: the order of an actual rise was durable before it was given.
    void raises_were_committed_first() {
        std::map<std::pair<std::string, std::uint64_t>, Weight> committed;
        for (const Trace& trace : run_.traces) {
            if (trace.kind == Trace::Kind::commit) {
                committed[{trace.rollout, trace.revision}] = trace.weight;
            }
            if (trace.kind != Trace::Kind::route || trace.weight <= trace.before) continue;
            const auto found = committed.find({trace.rollout, trace.revision});
            if (found == committed.end()) {
                broken("G01: a raise without a committed order" + at(trace));
            } else if (found->second != trace.weight) {
                broken("G01: a raise to another weight than was ordered" + at(trace));
            }
        }
    }

    // G02, G06: only the ladder's weights, one step at a time; what a hand lowered comes back only
    // to the step it had.
    void weights_follow_the_ladder() {
        Weight before = nobody;
        std::size_t reached = 0;
        std::string id;
        for (const Decided& next : run_.decided) {
            if (next.id != id) {  // a retry begins at the first step again
                id = next.id;
                before = nobody;
                reached = 0;
            }
            const Weight weight = next.desired;
            if (weight > before) {
                const auto& steps = policy_of(next).steps;
                std::size_t step = 0;
                while (step < steps.size() && steps[step].weight != weight) ++step;
                if (step == steps.size()) {
                    broken("G02: a weight that is no step: " + text::weight(weight));
                } else if (step > next.step + 1 || step > reached + 1) {
                    broken("G02: a step was skipped");
                }
                reached = std::max(reached, step);
            }
            before = weight;
        }
    }

    // G02, G03, G04: the engine raises on a look that arrived, and itself calls it proven and
    // baked.
    void engine_raises_by_its_own_word() {
        for (std::size_t i = 1; i < run_.decided.size(); ++i) {
            const Decided& next = run_.decided[i];
            if (next.id == run_.decided[i - 1].id && next.desired <= run_.decided[i - 1].desired) {
                continue;
            }
            if (is<event::Started>(i) || is<event::Promote>(i) || is<event::Resume>(i)) continue;
            if (!is<event::Looked>(i)) {
                broken("G02: something else than a look or a person raised: " +
                       run_.journal[i].reason);
                continue;
            }
            const Look& look = std::get<event::Looked>(run_.journal[i].event.what).look;
            if (!look.error.empty()) broken("G03: raised on a look without evidence");
            if (!next.proven) broken("G02: raised without proof");
            const Policy& policy = policy_of(next);
            if (next.baked < policy.steps[next.step].bake) broken("G02: raised before its bake");
            if (next.held || next.paused) broken("G07: raised while held or paused");
        }
    }

    // G02, G03, G04, G07, G10, G21: and it was so, counted again from what the world handed out.
    void engine_raises_only_on_proof() {
        for (const std::string& what : unearned_raises(run_, policies_)) broken(what);
    }

    // G10: a start under the name of what runs is refused and moves nothing. That weights and bakes
    // stay those of the text that the rollout was started with, every check of a raise sees: it
    // reads that text from the journal.
    void edits_change_nothing_that_runs() {
        for (std::size_t i = 1; i < run_.decided.size(); ++i) {
            const JournalEntry& entry = run_.journal[i];
            if (!is<event::Started>(i) || entry.revision == 1) continue;
            if (!entry.refused) broken("G10: started anew while it ran: " + entry.reason);
            if (run_.decided[i - 1].id != entry.rollout) continue;
            if (run_.decided[i].desired != run_.decided[i - 1].desired) {
                broken("G10: an edited policy moved a running rollout: " + entry.reason);
            }
        }
    }

    // G05, G08, G09: for ever, and in the end at the router.
    void rollbacks_latch_and_complete() {
        std::map<std::string, bool> rolled_back;
        for (const Decided& next : run_.decided) {
            if (rolled_back[next.id] && next.desired > nobody) broken("G05: rose after a rollback");
            if (next.status == Status::rolled_back) rolled_back[next.id] = true;
        }
        if (run_.decided.empty()) return;
        const Decided& last = run_.decided.back();
        if (last.status == Status::rolled_back && run_.served.weight != nobody) {
            broken("G08: rolled back, and the router still serves " +
                   text::weight(run_.served.weight));
        }
        if (!last.over && run_.served.weight > last.desired) {
            broken("G06: served above what is wanted after everything has healed");
        }
    }

    // G07: between a pause and its resume nothing rises.
    void nothing_rises_while_paused() {
        std::size_t entry = 0;
        bool now_paused = false;
        for (const Trace& trace : run_.traces) {
            if (trace.kind == Trace::Kind::commit) now_paused = run_.decided[entry++].paused;
            if (now_paused && trace.kind == Trace::Kind::route && trace.weight > trace.before &&
                trace.weight > run_.decided[entry - 1].desired) {
                broken("G07: the route rose after a pause" + at(trace));
            }
        }
        bool paused = false;
        Weight before = nobody;
        for (const Decided& next : run_.decided) {
            const bool was = paused;
            paused = next.paused;
            if (was && paused && next.desired > before) broken("G07: rose while paused");
            before = next.desired;
        }
    }

    // G06: after a hand lowered the route, a person or nobody raises it again.
    void hands_are_not_repaired_upwards() {
        bool drifted = false;
        Weight before = nobody;
        for (std::size_t i = 0; i < run_.decided.size(); ++i) {
            const Decided& next = run_.decided[i];
            if (drifted && next.desired > before && !is<event::Resume>(i)) {
                broken("G06: a hand's lowering was repaired upwards");
            }
            drifted = next.drifted;
            before = next.desired;
        }
    }

    // A gross fault of everybody that lasts is not lived with; a healthy canary is left alone.
    void faults_are_found() {
        if (run_.decided.empty()) return;
        const Plan& plan = run_.plan;
        const Decided& last = run_.decided.back();
        const bool gross = plan.fault_rate >= 0.5 && plan.fault_agent < 0 &&
                           plan.fault_for > std::chrono::hours{24 * 30} &&
                           plan.fault_at < std::chrono::hours{24 * 35};
        if (gross && plan.store_full_for == Duration{0} && !last.over && !last.held &&
            !last.paused && last.desired > nobody && run_.served.weight > nobody) {
            broken("a gross fault that lasts was not found");
        }
        const bool healthy = plan.fault_rate <= 0 && plan.outage_rate <= 0 &&
                             plan.hands_per_week <= 0 && plan.commands_per_day <= 0 &&
                             !plan.blind_rolls_back;
        if (healthy && last.status == Status::rolled_back) {
            broken("a healthy canary was rolled back: " + run_.journal.back().reason);
        }
    }

    // G11: what was answered as done is in the journal.
    void acknowledged_is_durable() {
        std::set<std::pair<std::string, std::uint64_t>> durable;
        for (const JournalEntry& entry : run_.journal)
            durable.insert({entry.rollout, entry.revision});
        for (const Trace& trace : run_.traces) {
            if (trace.kind != Trace::Kind::acknowledged) continue;
            if (durable.count({trace.rollout, trace.revision}) == 0) {
                broken("G11: an acknowledged command is lost" + at(trace));
            }
        }
    }

    // G12: after a commit with an unknown outcome nothing rises before the store was read again.
    void nothing_acts_on_an_unknown_outcome() {
        bool unknown = false;
        for (const Trace& trace : run_.traces) {
            if (trace.kind == Trace::Kind::commit_error) unknown = true;
            if (trace.kind == Trace::Kind::start) unknown = false;
            if (unknown && trace.kind == Trace::Kind::route && trace.weight > trace.before) {
                broken("G12: raised on an unknown outcome" + at(trace));
            }
        }
    }

    // G20, G21: however the wall clock jumps, bake is at most the time that really passed.
    void bake_is_never_longer_than_time() {
        std::map<std::uint64_t, SteadyPoint> committed;
        std::size_t entry = 0;
        SteadyPoint entered{};
        std::size_t step = 0;
        std::string id;
        for (const Trace& trace : run_.traces) {
            if (trace.kind != Trace::Kind::commit) continue;
            const Decided& next = run_.decided[entry++];
            if (next.id != id || next.step != step || next.baked == Duration{0}) {
                id = next.id;
                step = next.step;
                entered = trace.steady;
            }
            // A look that ends now may have begun one interval and a settle before the entry.
            const Policy& policy = policy_of(next);
            const Duration slack = policy.settle + 3 * policy.evaluate_every;
            if (next.baked > trace.steady - entered + slack) {
                broken("G20: more bake than time passed" + at(trace));
                return;
            }
        }
    }

    // G26: every rollback is told at least once, and once where nothing was ambiguous.
    void rollbacks_are_told() {
        std::map<std::string, std::pair<int, int>> told;
        int crashes = 0;
        for (const Trace& trace : run_.traces) {
            if (trace.kind == Trace::Kind::sent) ++told[trace.what].first;
            if (trace.kind == Trace::Kind::ambiguous) ++told[trace.what].second;
            if (trace.kind == Trace::Kind::crash) ++crashes;
        }
        for (const Owed& owed : run_.all_owed) {
            if (owed.message.notice.kind != Notice::Kind::rolled_back) continue;
            const auto [sent, ambiguous] = told[owed.message.id];
            if (sent + ambiguous == 0) broken("G26: a rollback was never told");
            if (crashes == 0 && run_.plan.store_full_for == Duration{0} && sent > 1) {
                broken("G26: a rollback was told twice without any ambiguity");
            }
        }
    }

    // G27: people hear of a rollback after the router got its order, however they are told. Not
    // asked where the daemon could not know better: the router failed since it last took an order,
    // or a hand moved the row.
    void routes_come_before_notices() {
        using Revision = std::pair<std::string, std::uint64_t>;
        std::map<std::string, Revision> notices;
        std::map<Revision, bool> lowered;
        for (const Owed& owed : run_.all_owed) {
            const Message& message = owed.message;
            if (message.notice.kind != Notice::Kind::rolled_back) continue;
            notices[message.id] = {message.rollout, message.revision};
            lowered[{message.rollout, message.revision}] = false;
        }
        Weight served = nobody;
        bool unclear = false;
        for (const Trace& trace : run_.traces) {
            const bool moved = trace.kind == Trace::Kind::route || trace.kind == Trace::Kind::hand;
            if (moved) served = trace.weight;
            if (trace.kind == Trace::Kind::route) unclear = false;
            if (trace.kind == Trace::Kind::hand || trace.kind == Trace::Kind::route_failed) {
                unclear = true;
            }
            const bool excused = unclear || served == nobody;
            if (trace.kind == Trace::Kind::commit) {
                const auto decided = lowered.find({trace.rollout, trace.revision});
                if (decided != lowered.end()) decided->second = excused;
            } else if (excused) {
                for (auto& [revision, down] : lowered) down = true;
            }
            if (trace.kind != Trace::Kind::sent && trace.kind != Trace::Kind::ambiguous) continue;
            const auto told = notices.find(trace.what);
            if (told != notices.end() && !lowered[told->second]) {
                broken("G27: a rollback was told before its route was ordered" + at(trace));
            }
        }
    }

    // G18: the journal alone gives the same decisions again.
    void journal_replays() {
        if (!run_.keeps_looks()) return;
        Rollout rollout;
        for (std::size_t i = 0; i < run_.journal.size(); ++i) {
            const JournalEntry& entry = run_.journal[i];
            const Decided& recorded = run_.decided[i];
            if (entry.revision == 1) rollout = Rollout{};
            const Transition again = step(rollout, entry.event, policy_of(recorded));
            if (again.reason != entry.reason || again.refused != entry.refused ||
                again.next.desired != recorded.desired || again.next.baked != recorded.baked ||
                again.next.ln_m != recorded.ln_m || again.next.status != recorded.status) {
                broken("G18: revision " + std::to_string(entry.revision) +
                       " is decided differently from its record: " + again.reason);
                return;
            }
            rollout = again.next;
        }
    }

    const Run& run_;
    std::map<std::string, Policy> policies_;  // by rollout
    std::vector<std::string> broken_;
};

}  // namespace

std::vector<std::string> check(const Run& run) {
    return Checker(run).all();
}

}  // namespace canaryd::simulation
