#include "tests/simulation/raises.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <optional>

#include "canaryd/text.hpp"

namespace canaryd::simulation {
namespace {

/// No test at level beta can call the limit refuted unless the counts are at least 1/beta times
/// likelier at their plain rate than at the limit. Without a failure that is n >= ln(1/beta) over
/// the limit, nearly: the rule of three.
bool could_be_proven(std::int64_t requests, std::int64_t events, double limit, double beta) {
    if (requests <= 0) return false;
    const auto n = static_cast<double>(requests);
    const auto k = static_cast<double>(events);
    const double rate = k / n;
    if (rate >= limit) return false;
    const double failed = events > 0 ? k * std::log(rate / limit) : 0.0;
    const double ln_ratio = failed + (n - k) * std::log((1 - rate) / (1 - limit));
    constexpr double rounding = 1e-9;
    return ln_ratio >= -std::log(beta) - rounding;
}

bool told_any(const std::vector<Notice::Kind>& told, std::initializer_list<Notice::Kind> kinds) {
    return std::any_of(told.begin(), told.end(), [&](Notice::Kind kind) {
        return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
    });
}

/// One rollout as seen from outside: sums of its present step only.
struct Outside {
    std::optional<std::size_t> step;                  // whose weight the router said it serves
    TimePoint since;                                  // when it said so
    std::optional<TimePoint> first;                   // begin of the step's first look
    std::int64_t requests = 0, failed = 0, slow = 0;  // after the warm-up
    Duration baked{0}, extended{0};
    Weight ordered = nobody;
    bool paused = false, held = false;
    TimePoint resumed;
};

class Recount {
public:
    Recount(const Run& run, const std::map<std::string, Policy>& policies)
        : run_(run), policies_(policies) {}

    std::vector<std::string> all() {
        std::size_t entry = 0;
        for (std::size_t i = 0; i < run_.traces.size(); ++i) {
            while (answered_ < run_.answers.size() && run_.answers[answered_].traces <= i) {
                ++answered_;
            }
            const Trace& trace = run_.traces[i];
            if (trace.kind == Trace::Kind::route || trace.kind == Trace::Kind::hand) {
                served_ = trace.weight;
                highest_ = std::max(highest_, served_);
            }
            if (trace.kind == Trace::Kind::commit) take(entry++, trace);
        }
        return std::move(broken_);
    }

private:
    void take(std::size_t at, const Trace& commit) {
        const JournalEntry& entry = run_.journal[at];
        if (entry.refused) return;
        const std::vector<Notice::Kind>& told = run_.decided[at].told;
        const Policy& policy = policies_.at(entry.rollout);
        Outside& now = outside_[entry.rollout];
        const bool was_held = now.held;
        if (told_any(told, {Notice::Kind::held, Notice::Kind::blind})) now.held = true;
        // Ended too early is the safe side: the bake counted here grows by that.
        if (told_any(told, {Notice::Kind::resumed, Notice::Kind::back_in_sight,
                            Notice::Kind::extended})) {
            now.held = false;
        }
        const What& what = entry.event.what;
        if (std::holds_alternative<event::Pause>(what)) now.paused = true;
        if (std::holds_alternative<event::Promote>(what)) now.held = false;
        if (std::holds_alternative<event::Resume>(what)) {
            now.paused = false;
            now.resumed = entry.event.at;
        }
        if (const auto* extend = std::get_if<event::Extend>(&what)) now.extended += extend->by;
        if (const auto* read = std::get_if<event::RouteRead>(&what)) {
            read_route(now, policy, read->served.weight, commit.weight, entry.event.at);
        }
        if (const auto* looked = std::get_if<event::Looked>(&what)) {
            if (looked->look.error.empty()) {
                look(now, policy, looked->look, entry.event.at - looked->look.to, was_held);
            }
            if (commit.weight > now.ordered) judge_raise(now, policy, commit);
        }
        now.ordered = commit.weight;
    }

    /// A step begins when the router says that it serves what was ordered for it.
    static void read_route(Outside& now, const Policy& policy, Weight served, Weight ordered,
                           TimePoint at) {
        if (served < ordered) return;
        if (!now.first) now.since = at;
        const std::size_t next = now.step ? *now.step + 1 : 0;
        if (served != ordered || next >= policy.steps.size()) return;
        if (served != policy.steps[next].weight) return;
        now.step = next;
        now.since = at;
        now.first.reset();
        now.requests = now.failed = now.slow = 0;
        now.baked = now.extended = Duration{0};
    }

    /// The newest one, except where a lowering is recorded late.
    [[nodiscard]] const Answer* answer_to(const Look& look) const {
        for (std::size_t i = answered_; i > 0; --i) {
            const Answer& answer = run_.answers[i - 1];
            if (answer.from == look.from && answer.to == look.to) return &answer;
        }
        return nullptr;
    }

    void look(Outside& now, const Policy& policy, const Look& look, Duration age, bool was_held) {
        // Two looks back: a hand's lowering is read a little later than it happens.
        const Weight stood = std::max(highest_, highest_before_);
        highest_before_ = highest_;
        highest_ = served_;
        const Answer* answer = answer_to(look);
        if (answer == nullptr) {
            broken("G03: a look was decided on that the source did not answer");
            return;
        }
        if (!now.step) return;
        if (!now.first) {
            if (look.from < now.since) return;  // the last one of the step before
            now.first = look.from;
        }
        if (look.to - *now.first > policy.warm_up) {
            now.requests += answer->requests;
            now.failed += answer->failed;
            now.slow += answer->slow;
        }
        const Duration span = look.to - std::max(look.from, now.resumed);
        const bool late = age > policy.settle + 2 * policy.evaluate_every;
        if (late || now.paused || was_held || now.held) return;
        if (stood < policy.steps[*now.step].weight) return;
        now.baked += std::clamp(span, Duration{0}, policy.evaluate_every);
    }

    void judge_raise(const Outside& now, const Policy& policy, const Trace& commit) {
        const std::string where = " (" + commit.rollout + " revision " +
                                  std::to_string(commit.revision) + ", to " +
                                  text::weight(commit.weight) + ")";
        if (!now.step) {
            broken("G02: raised before the router served the first step" + where);
            return;
        }
        if (now.paused || now.held) broken("G07: raised while paused or held" + where);
        const Duration wanted = policy.steps[*now.step].bake + now.extended;
        if (now.baked + policy.evaluate_every < wanted) {
            broken("G02: raised after a bake of " + text::duration(now.baked) + " of " +
                   text::duration(wanted) + where);
        }
        for (const Criterion& criterion : policy.criteria) {
            if (criterion.no_worse_than) continue;
            const std::int64_t events =
                criterion.signal.kind == Signal::Kind::failed ? now.failed : now.slow;
            if (could_be_proven(now.requests, events, criterion.limit, policy.false_promotion)) {
                continue;
            }
            broken("G02: raised with " + criterion.name + " at " + std::to_string(events) + " of " +
                   std::to_string(now.requests) + ", limit " + text::share(criterion.limit) +
                   where);
        }
    }

    void broken(const std::string& what) { broken_.push_back(what); }

    const Run& run_;
    const std::map<std::string, Policy>& policies_;
    std::map<std::string, Outside> outside_;  // by rollout
    std::size_t answered_ = 0;                // how many answers there were by now
    Weight served_ = nobody;
    Weight highest_ = nobody, highest_before_ = nobody;  // served since the last two looks
    std::vector<std::string> broken_;
};

}  // namespace

std::vector<std::string> unearned_raises(const Run& run,
                                         const std::map<std::string, Policy>& policies) {
    return Recount(run, policies).all();
}

}  // namespace canaryd::simulation
