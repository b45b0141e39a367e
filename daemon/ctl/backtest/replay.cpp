#include "daemon/ctl/backtest/replay.hpp"

#include <algorithm>
#include <cmath>

#include "canaryd/text.hpp"
#include "daemon/ask.hpp"
#include "daemon/ctl/backtest/looks.hpp"

namespace canaryd::backtest {
namespace {

// Twice the points of a chart: samples are merged in pairs when there are more.
constexpr std::size_t most_samples = 720;

void add(Played::Side& sum, const Played::Side& more) {
    for (std::size_t i = 0; i < sum.requests.size(); ++i) sum.requests[i] += more.requests[i];
    for (std::size_t i = 0; i < sum.events.size(); ++i) sum.events[i] += more.events[i];
    sum.latency.add(more.latency);
}

/// Keeps a chart's worth of samples of a run whose length nobody knows before.
class Sampler {
public:
    void add(Sample&& sample) {
        // Never across a change of weight: its two sides are different rates.
        const bool open =
            !samples_.empty() && in_last_ < stride_ && samples_.back().weight == sample.weight;
        if (open) {
            merge(samples_.back(), sample);
            ++in_last_;
            return;
        }
        if (samples_.size() == most_samples) halve();
        samples_.push_back(std::move(sample));
        in_last_ = 1;
    }
    std::vector<Sample> taken() && { return std::move(samples_); }

private:
    void halve() {
        std::vector<Sample> fewer;
        bool odd = false;  // whether the last one may take another
        for (Sample& sample : samples_) {
            if (odd && fewer.back().weight == sample.weight) {
                merge(fewer.back(), sample);
                odd = false;
            } else {
                fewer.push_back(std::move(sample));
                odd = true;
            }
        }
        samples_ = std::move(fewer);
        stride_ *= 2;
    }

    std::vector<Sample> samples_;
    std::size_t stride_ = 1, in_last_ = 0;
};

/// One rollout being played.
class Player {
public:
    Player(const Policy& policy, const History& history, const Plan& plan)
        : policy_(policy),
          history_(history),
          plan_(plan),
          arms_(policy_, history, plan.injections, plan.seed),
          looks_(policy_, history) {
        policy_.evaluate_every = history.look;
        policy_.settle = Duration{0};
        result_.begin = now_ = history.begin;
        for (std::size_t i = 0; i < plan.injections.size(); ++i) {
            Found found;
            found.injection = i;
            found.began = history.begin + plan.injections[i].from;
            result_.found.push_back(found);
        }
    }

    Result play() && {
        const std::int64_t most =
            plan_.repeat ? std::max(arms_.period(), planned_looks()) : history_.looks;
        start();
        while (result_.looks < most && !over()) one_look();
        finish();
        return std::move(result_);
    }

private:
    /// What a plan with every extension could take, and no more: nobody is there to end it.
    [[nodiscard]] std::int64_t planned_looks() const {
        Duration most{0};
        for (std::size_t i = 0; i + 1 < policy_.steps.size(); ++i) most += policy_.max_step_of(i);
        most += policy_.soak + policy_.max_step_of(policy_.steps.size() - 1);
        return std::min<std::int64_t>(most / history_.look + 1, most_looks);
    }

    [[nodiscard]] bool over() const {
        return rollout_.over() || rollout_.status == Status::finishing;
    }

    void start() {
        happens(event::Started{policy_.name + "-backtest", plan_.policy_text, plan_.policy_file},
                "backtest", "operator");
        happens(event::RouteRead{{nobody, 0, "", ""}});
        confirm();
    }

    /// The router does at once what it is told.
    void confirm() {
        if (rollout_.applied == rollout_.desired) return;
        happens(event::RouteRead{{rollout_.desired, rollout_.revision, "canaryd", ""}});
    }

    void one_look() {
        const Weight weight = rollout_.applied.value_or(nobody);
        Ask ask = ask_for(rollout_, policy_);
        ask.to = ask.from + history_.look;
        Played played = arms_.play(result_.looks, weight);
        Sample sample;
        sample.from = ask.from;
        sample.to = ask.to;
        sample.weight = weight;
        sample.step = rollout_.step;
        sample.sides = played.sides;
        result_.canary_requests += played.sides[0].requests[0];
        result_.requests += played.sides[0].requests[0] + played.sides[1].requests[0];
        count_exposed(played);
        now_ = ask.to;
        event::Looked looked;
        looked.look = looks_.next(ask, std::move(played));
        happens(std::move(looked));
        sample.ln_m = rollout_.ln_m;
        sample.ledger = rollout_.ledger;
        samples_.add(std::move(sample));
        ++result_.looks;
        confirm();
    }

    void count_exposed(const Played& played) {
        for (Found& found : result_.found) {
            const Played::Exposed& exposed = played.injected[found.injection];
            found.requests += exposed.requests;
            found.made += exposed.made;
            if (found.began < now_ + history_.look) found.met = true;
        }
    }

    void happens(What what, const std::string& by = "canaryd", const std::string& role = "engine") {
        const Event event{now_, by, role, std::move(what)};
        Transition transition = step(rollout_, event, policy_);
        if (transition.forget) return;
        const Rollout before = std::move(rollout_);
        rollout_ = std::move(transition.next);
        for (Notice& notice : transition.notices) result_.told.push_back({now_, std::move(notice)});
        remember(before, transition.verdict, transition.reason);
    }

    void moment(Moment::Kind kind, const std::string& text) {
        result_.moments.push_back({now_, kind, rollout_.applied.value_or(nobody),
                                   harm_of_100(policy_, rollout_.ln_m), text});
    }

    /// What of an event belongs into the timeline.
    void remember(const Rollout& before, const std::optional<Verdict>& verdict,
                  const std::string& reason) {
        if (before.revision == 0) {
            moment(Moment::Kind::started, reason);
            return;
        }
        if (rollout_.status == Status::rolled_back && before.status != Status::rolled_back) {
            moment(Moment::Kind::rolled_back, reason);
            react(&Found::suspected);
            react(&Found::rolled_back);
            blame(reason, true);
            return;
        }
        if (verdict) remember_verdict(before, *verdict);
        for (const Hold& hold : rollout_.holds) {
            if (known(before, hold)) continue;
            moment(Moment::Kind::held, hold.why);
            react(&Found::held);
            // Not proven, or too little traffic: true, and no alarm.
            const bool alarm = hold.kind == Hold::Kind::shared_outage ||
                               hold.kind == Hold::Kind::trigger ||
                               hold.kind == Hold::Kind::confirmation;
            if (alarm) blame("held: " + hold.why, false);
        }
        for (const Hold& hold : before.holds) {
            if (!known(rollout_, hold)) {
                moment(Moment::Kind::released, "no longer held: " + hold.why);
            }
        }
        const bool weight = before.applied != rollout_.applied;
        const bool status = before.status != rollout_.status;
        if (weight) {
            moment(Moment::Kind::weight, reason);
        } else if (status || before.desired != rollout_.desired) {
            moment(status ? Moment::Kind::end : Moment::Kind::other, reason);
        } else if (rollout_.baked_told && !before.baked_told) {
            moment(Moment::Kind::other, rollout_.reason);
        }
    }

    void remember_verdict(const Rollout& before, const Verdict& verdict) {
        const std::string harm = text::harm(harm_of_100(policy_, verdict.ln_m)) + " of 100";
        if (verdict.alarm) {
            moment(Moment::Kind::alarm, rollout_.reason);
            react(&Found::suspected);
            blame(rollout_.reason, false);
        } else if (verdict.suspicious && !before.suspicious) {
            moment(Moment::Kind::suspicious,
                   "suspicious: harm " + harm + ", most by " + stream_name(policy_, verdict.top));
            react(&Found::suspected);
            blame("suspicion: harm " + harm + ", most by " + stream_name(policy_, verdict.top),
                  false);
        } else if (!verdict.suspicious && before.suspicious) {
            moment(Moment::Kind::calm, "no longer suspicious: harm " + harm);
        }
    }

    static bool known(const Rollout& rollout, const Hold& hold) {
        return std::any_of(rollout.holds.begin(), rollout.holds.end(), [&](const Hold& other) {
            return other.kind == hold.kind && other.name == hold.name;
        });
    }

    /// The first answer to each fault that has begun.
    void react(std::optional<TimePoint> Found::*what) {
        for (Found& found : result_.found) {
            if (found.began < now_ && !(found.*what)) found.*what = now_;
        }
    }

    /// Nothing was injected yet: the recorded history alone did it.
    void blame(const std::string& what, bool rollback) {
        const bool injected =
            std::any_of(plan_.injections.begin(), plan_.injections.end(), [&](const Injection& i) {
                return history_.begin + i.from < now_ && !(rollback && i.both);
            });
        if (!injected) result_.false_alarms.push_back({now_, what, rollback});
    }

    void finish() {
        result_.rollout = rollout_;
        result_.at = now_;
        result_.samples = std::move(samples_).taken();
        if (rollout_.status == Status::rolled_back) {
            result_.end = Result::End::rolled_back;
        } else if (rollout_.status == Status::finishing) {
            result_.end = Result::End::ready_to_finish;
        }
        const std::int64_t more = result_.looks - history_.looks;
        if (more > 0) {
            result_.times_played +=
                static_cast<std::size_t>((more + arms_.period() - 1) / arms_.period());
        }
        tell_differences();
    }

    void tell_differences() {
        auto& notes = result_.notes;
        notes = history_.notes;
        if (result_.times_played > 1) {
            notes.push_back("the records were played " + std::to_string(result_.times_played) +
                            " times: what is in them happens that often");
        }
        const auto peeks = std::any_of(policy_.triggers.begin(), policy_.triggers.end(),
                                       [](const Trigger& trigger) { return trigger.at_peeks(); });
        if (peeks) {
            notes.push_back(
                "triggers with 1 of 1 looks are read at looks only; a running canaryd reads them "
                "every " +
                text::duration(policy_.peek_every) + " as well, so it acts up to a look earlier");
        }
        for (const Trigger& trigger : policy_.triggers) {
            if (trigger.kind == Trigger::Kind::number) {
                notes.push_back("trigger " + trigger.name +
                                " is not replayed: its query is not part of the records");
            } else if (trigger.over % history_.look != Duration{0}) {
                notes.push_back("trigger " + trigger.name + ": its window of " +
                                text::duration(trigger.over) + " is played in whole looks of " +
                                text::duration(history_.look));
            }
        }
        notes.push_back(
            "the router confirms at once, rows are complete at once, and nobody gives commands");
    }

    Policy policy_;
    const History& history_;
    const Plan& plan_;
    Arms arms_;
    Looks looks_;
    Rollout rollout_;
    TimePoint now_;
    Sampler samples_;
    Result result_;
};

}  // namespace

void merge(Sample& into, const Sample& next) {
    into.to = next.to;
    into.ln_m = std::max(into.ln_m, next.ln_m);
    for (std::size_t who = 0; who < 2; ++who) add(into.sides[who], next.sides[who]);
    into.ledger = next.ledger;
}

Result replay(const Policy& policy, const History& history, const Plan& plan) {
    return Player(policy, history, plan).play();
}

Policy without_latency(Policy policy) {
    const auto slow = [](const Signal& signal) { return signal.kind == Signal::Kind::slower; };
    std::erase_if(policy.criteria, [&](const Criterion& c) { return slow(c.signal); });
    std::erase_if(policy.triggers, [&](const Trigger& trigger) {
        return trigger.kind == Trigger::Kind::share && slow(trigger.signal);
    });
    if (policy.criteria.empty()) {
        throw BadFile("--ignore-latency leaves the policy without a criterion; nothing is judged");
    }
    return policy;
}

}  // namespace canaryd::backtest
