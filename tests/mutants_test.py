#!/usr/bin/env python3
"""The guards matter: each deliberate bug below must fail the test that stands for its promise.

    mutants_test.py [--jobs 2] [--only WORD]

A bug is one small change of one file of daemon/core or of the controller. That file is compiled
alone, linked with the rest and the tests' objects, and the named test case is run: it has to fail.
A bug that no test notices, that does not compile, whose text is not found exactly once, or that
makes the test hang is a failure that names it. Unchanged, every one of these test cases must pass
first. Nothing in the source tree is touched; what is built goes to a temporary folder.

Gates, finish actions and adopt are refused so far: whoever makes one of them work has to bring the
bugs of its guard, or this fails (LATER).
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COMPILER = [os.environ.get("CXX", "g++"), "-std=c++20", "-O0", "-w", "-DBOOST_DISABLE_ASSERTS",
            "-DBOOST_ASIO_NO_DEPRECATED"]
# What most files of the core include, compiled once: half of each bug's time.
HEADERS = """\
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>
#include "canaryd/dedup.hpp"
#include "canaryd/text.hpp"
"""
TIME_LIMIT = 30  # of one test case; they take milliseconds

# Which objects a group of test cases is linked from.
TESTS = {
    "rollout": ["main", "rollout_test", "triggers_test"],
    "evidence": ["main", "judge_test", "evidence_test", "relative_test"],
    "controller": ["main", "controller_test", "simulation/check", "simulation/plan",
                   "simulation/ports", "simulation/raises", "simulation/world"],
}
LIBRARIES = {"rollout": [], "evidence": ["-lrapidcheck"],
             "controller": ["-lyaml-cpp", "-lcrypto", "-lsystemd"]}
# What the simulated world needs of daemon/ beside the core: no more, since each bug is linked.
DAEMON = ["async.cpp", "clock.cpp", "controller.cpp", "controller_lease.cpp", "controller_loops.cpp",
          "controller_start.cpp", "controller_tell.cpp",
          "controller_view.cpp", "fields.cpp", "fields_getters.cpp", "log.cpp",
          "policy_queries.cpp", "policy_rules.cpp", "policy_triggers.cpp", "policy_yaml.cpp",
          "sha256.cpp", "units.cpp"]


class Mutant(NamedTuple):
    promise: str  # what it breaks, in a sentence
    file: str     # in daemon
    search: str   # exactly once in the file
    replace: str
    group: str    # of TESTS
    case: str     # doctest's filter; no commas


def rollout(promise, file, search, replace, case):
    """A bug against one of the thirteen promises: `case` is its number, or the start of a name."""
    pattern = f"{case} *" if case.isdigit() else f"{case}*"
    return Mutant(promise, f"core/{file}", search, replace, "rollout", pattern)


def evidence(promise, file, search, replace, case):
    return Mutant(promise, f"core/{file}", search, replace, "evidence", f"{case}*")


def controller(promise, file, search, replace, case):
    """A bug of what acts on decisions: the production controller in the simulated world."""
    return Mutant(promise, file, search, replace, "controller", f"{case}*")


MUTANTS = [
    # 1 bake and proof are two clocks
    rollout("1: downtime earns bake", "rollout_time.cpp",
            "const Duration earned = std::min(running, draft.policy.evaluate_every);",
            "const Duration earned = running;", "1"),
    rollout("1: a look taken long after its time earns bake", "rollout_time.cpp",
            "if (draft.event.at - look.to > draft.policy.settle + 2 * draft.policy.evaluate_every) {",
            "if (false) {", "1"),
    rollout("1: a pause earns bake", "rollout_time.cpp",
            "} else if (before.paused) {", "} else if (false) {", "1"),
    rollout("1: a hold earns bake", "rollout_time.cpp",
            "} else if (!before.holds.empty() || !next.holds.empty()) {",
            "} else if (false) {", "1"),
    rollout("1: suspicion earns bake", "rollout_time.cpp",
            "} else if (suspicious) {", "} else if (false) {", "1"),
    rollout("1: the look that ends a suspicion earns bake", "rollout_time.cpp",
            "const bool suspicious = before.suspicious || next.suspicious",
            "const bool suspicious = next.suspicious", "1"),
    rollout("1: time before a resume earns bake", "rollout_time.cpp",
            "look.to - std::max(from, before.earn_from)", "look.to - from", "1"),
    rollout("1: a look counts twice", "rollout_look.cpp",
            "looked.look.from != now.last_look || ", "", "1"),
    rollout("1: time that does not count is not itemised", "rollout_time.cpp",
            "next.uncounted[static_cast<std::size_t>(kind)] += lost;", "", "1"),

    rollout("1: a look that is complete in part only earns bake", "rollout_look.cpp",
            "if (look.canary_complete) earn_time(", "earn_time(", "1"),

    # 2 baking starts when the router confirms
    rollout("2: bake from decision not confirmation", "rollout_time.cpp",
            "} else if (before.applied != before.desired || "
            "before.desired != draft.present_step().weight) {",
            "} else if (false) {", "2"),
    rollout("2: looks are judged before the first confirmation", "rollout_look.cpp",
            "if (now.over() || now.status == Status::pending) return draft.forget();",
            "if (now.over()) return draft.forget();", "2"),
    rollout("2: the first look begins before the confirmation", "rollout.cpp",
            "next.last_look = draft.event.at;", "", "2"),
    rollout("2: the last look of a step counts for the next one", "rollout_look.cpp",
            "if (!next.phase_due) {", "if (true) {", "2"),
    rollout("2: the bake of the step before carries on", "rollout.cpp",
            "next.baked = Duration{0};", "", "2"),
    rollout("2: looks renew a raise that nobody confirms", "missing.cpp",
            "if (rollout.applied != rollout.desired) {", "if (false) {", "2"),

    # 3 a step ends in promote, roll back or extend
    rollout("3: promotes without the bake", "missing.cpp",
            "return policy.steps[rollout.step].bake + rollout.extended;",
            "return Duration{0};", "3"),
    rollout("3: the bake that is missing is not listed", "missing.cpp",
            "if (rollout.baked < wanted) {", "if (false) {", "3"),
    rollout("3: extended before the bake is complete", "rollout_look.cpp",
            "if (next.baked < bake_wanted(next, draft.policy)) return {};", "", "3"),
    rollout("3: promotes unproven", "missing.cpp",
            "if (!rollout.proven) add(", "if (false) add(", "3"),
    rollout("3: promotes a suspicious canary", "missing.cpp",
            "if (rollout.suspicious) add(", "if (false) add(", "3"),
    rollout("3: promotes with a segment unseen", "missing.cpp",
            "if (!all_seen(rollout, policy)) add(", "if (false) add(", "3"),
    rollout("3: a segment needs no users to be seen", "rollout.cpp",
            "static_cast<std::int64_t>(users.size()) >= policy.segment_users;", "true;", "3"),
    rollout("3: promotes out of a hold", "missing.cpp",
            "missing.push_back({Missing::Kind::held, hold.why, hold.kind});", "", "3"),
    rollout("3: max_step never ends", "rollout_time.cpp",
            "if (time_at_step(next) <= limit) return;", "return;", "3"),
    rollout("3: says the same extension again and again", "rollout_look.cpp",
            "next.baked_told = true;", "", "3"),
    rollout("3: raises to 100 % while nobody can be told", "missing.cpp",
            "if (!last && rollout.nobody_hears &&", "if (false &&", "3"),
    rollout("3: raises on stale metrics", "missing.cpp",
            "if (now - rollout.last_look > policy.settle + 2 * policy.evaluate_every) {",
            "if (false) {", "11"),
    rollout("3: counts of the step before prove the next one", "rollout_look.cpp",
            "next.ledger = begin_phase(draft.policy, std::move(next.ledger), look.from, baseline);",
            "next.ledger.baseline_share = baseline;", "3"),
    rollout("3: failures in bursts prove as much as single ones", "analysis.cpp",
            "phi_of(rules.policy, total), claim.per)) {", "1.0, claim.per)) {", "3"),

    # 4 pause and hold stop advancing, not watching
    rollout("4: pause stops watching", "rollout_look.cpp",
            "if (now.over() || now.status == Status::pending) return draft.forget();",
            "if (now.over() || now.status == Status::pending || now.paused) return draft.forget();",
            "4"),
    rollout("4: a hold stops watching", "rollout_look.cpp",
            "if (now.over() || now.status == Status::pending) return draft.forget();",
            "if (now.over() || now.status == Status::pending || !now.holds.empty()) "
            "return draft.forget();", "4"),
    rollout("4: a breach while paused only waits", "rollout_look.cpp",
            "if (verdict.decision == Decision::rollback || fired) {",
            "if ((verdict.decision == Decision::rollback && !next.paused) || fired) {", "4"),
    rollout("4: a pause does not stop advancing", "missing.cpp",
            'if (rollout.paused) add(', 'if (false) add(', "11"),
    rollout("4: a raise on its way goes on though a person paused", "rollout_command.cpp",
            "if (next.raise_expires) draft.order_lower(next.applied.value_or(nobody));", "",
            "a pause or a hold takes back"),
    rollout("4: a raise on its way goes on though it is held", "rollout.cpp",
            "if (next.raise_expires) order_lower(next.applied.value_or(nobody));", "",
            "a pause or a hold takes back"),

    # 5 a rollback latches
    rollout("5: latch lost: the status is not kept", "rollout.cpp",
            "next.status = Status::rolled_back;", "", "5"),
    rollout("5: what was rolled back is watched and rolled back again", "rollout_look.cpp",
            "if (now.over() || now.status == Status::pending) return draft.forget();",
            "if (now.status == Status::pending) return draft.forget();", "5"),
    rollout("5: what was rolled back can be paused", "rollout_command.cpp",
            'if (next.over()) return draft.refuse("cannot pause: " + over_sentence(next));', "",
            "5"),
    rollout("5: an operator's rollback needs a running step", "rollout_command.cpp",
            "if (next.status == Status::finished) {",
            "if (next.status != Status::progressing) {", "5"),
    rollout("5: a raise by hand after a rollback stays", "rollout.cpp",
            "draft.next.ordered = draft.next.revision;",
            "draft.next.desired = served.weight;", "5"),

    rollout("5: a retry is routed by a salt of its own", "rollout.cpp",
            "next.name = draft.policy.name;", "next.name = started.id;", "5"),
    rollout("5: a retry begins with the latch of the rollout before", "rollout.cpp",
            "next.ledger = new_ledger(draft.policy);",
            "next.ledger = new_ledger(draft.policy);\n    next.ledger.latched = true;", "5"),

    # 6 one step at a time; restart is a no-op
    rollout("6: two steps at once", "rollout_look.cpp",
            "draft.order_raise(draft.policy.steps[next.step + 1].weight);",
            "draft.order_raise(draft.policy.steps.back().weight);", "6"),
    rollout("6: a restart begins the step anew", "rollout.cpp",
            "return was_confirmed ? draft.forget() : confirmed(std::move(draft));",
            "return confirmed(std::move(draft));", "6"),
    rollout("6: long sleep counts as bake", "rollout_time.cpp",
            "next.baked += earned;", "next.baked += running;", "6"),

    # 7 lower is never blocked
    rollout("7: no rollback without a reason", "rollout_command.cpp",
            "if (next.status == Status::finished) {",
            "if (next.status == Status::finished || command.reason.empty()) {", "7"),
    rollout("7: a dead Slack stops a rollback", "rollout_look.cpp",
            "if (verdict.decision == Decision::rollback || fired) {",
            "if ((verdict.decision == Decision::rollback || fired) && !looked.nobody_hears) {",
            "7"),
    rollout("7: an order to lower lapses", "rollout.cpp",
            "next.ordered = next.revision;\n    next.raise_expires.reset();",
            "next.ordered = next.revision;\n"
            "    next.raise_expires = event.at + policy.evaluate_every;", "7"),

    rollout("7: a repeated rollback is not carried out again", "rollout_command.cpp",
            "next.ordered = next.revision;", "", "a repeated rollback is carried out"),
    controller("7: a dead store stops a rollback", "controller.cpp",
               "if (lowers && (!entry->unrecorded || (ends && !entry->unrecorded->rolls_back))) {",
               "if (false) {", "a store that is full stops every raise"),
    controller("7: what a dead store could not take does not move the route",
               "controller_loops.cpp",
               "order.weight = entry->unrecorded ? entry->unrecorded->weight : rollout.desired;",
               "order.weight = rollout.desired;", "a store that is full stops every raise"),

    # 8 the policy is pinned
    rollout("8: a rollout is started over a running one", "rollout.cpp",
            "if (draft.before.revision != 0) {", "if (false) {", "8"),
    rollout("8: the policy's hash is not kept", "rollout.cpp",
            "next.policy_hash = draft.policy.hash;", "", "8"),

    # 9 blind is held, and heals
    rollout("9: blind counts as pass", "rollout_look.cpp",
            "if (!looked.look.error.empty()) {", "if (false) {", "9"),
    rollout("9: blind is not held", "rollout_time.cpp",
            "if (!held && blind >= draft.policy.blind_hold_after) {", "if (false) {", "9"),
    rollout("9: held at the first failed look", "rollout_time.cpp",
            "if (!held && blind >= draft.policy.blind_hold_after) {", "if (!held) {", "9"),
    rollout("9: blind rolls back though the policy does not say so", "rollout_time.cpp",
            "if (draft.policy.blind_rollback_after && blind >= *draft.policy.blind_rollback_after)",
            "if (blind >= draft.policy.blind_rollback_after.value_or(std::chrono::hours{24}))",
            "9"),
    rollout("9: blind never rolls back, whatever the policy says", "rollout_time.cpp",
            "if (draft.policy.blind_rollback_after && blind >= *draft.policy.blind_rollback_after)",
            "if (false)", "9"),
    rollout("9: blindness does not heal", "rollout_time.cpp",
            "draft.drop_holds(is_blind_source);", "", "9"),
    rollout("9: the counts of the blind time are skipped", "rollout_time.cpp",
            "next.blind_why = error;", "next.blind_why = error;\n    next.last_look = now;", "9"),
    rollout("9: each failed look is remembered", "rollout_time.cpp",
            "if (!first && draft.notices.size() == told) return draft.forget();", "", "9"),
    rollout("9: a silent canary is healthy", "rollout_time.cpp",
            "if (look.to - next.expected_since > policy.expect_within) {", "if (false) {", "9"),
    rollout("9: a quiet night is blindness", "rollout_time.cpp",
            "if (expected < floor ||", "if (expected <= 0 ||", "9"),
    rollout("9: much less than its share of the requests is healthy", "rollout_time.cpp",
            "if (why && !held) draft.add_hold(",
            "if (why && !held && !expected_window(look, Population::canary)) draft.add_hold(",
            "9"),

    # 10 shared outage; no baseline
    rollout("10: guard off", "ledger.cpp",
            "l[j] = std::min(l[j], 0.0);", "", "10"),
    rollout("10: the guard of the total does not cover the segments", "ledger.cpp",
            "guarded[i] = own[i] || own[i - book.scope_of(i)];", "guarded[i] = own[i];", "10"),
    rollout("10: the policy cannot switch the guard off", "ledger.cpp",
            "if (!facts.rules.policy.hold_on_shared_outage) {", "if (false) {", "10"),
    rollout("10: a trigger that the baseline breaks too rolls back", "rollout_look.cpp",
            "if (saw.baseline_broke && draft.policy.hold_on_shared_outage) {",
            "if (false) {", "10"),
    rollout("10: a peek that both sides break rolls back", "rollout_look.cpp",
            "if (saw.baseline_broke && draft.policy.hold_on_shared_outage) continue;", "",
            "triggers count"),
    rollout("10: a shared look is a mark against the canary", "triggers.cpp",
            "const bool counts = saw.broke && "
            "!(saw.baseline_broke && policy.hold_on_shared_outage);",
            "const bool counts = saw.broke;", "10"),
    rollout("10: a shared outage of a criterion does not heal", "rollout_look.cpp",
            "if (hold.name.empty()) return !guard;", "if (hold.name.empty()) return false;", "10"),
    rollout("10: a shared outage that is over is said to last", "rollout_look.cpp",
            " || draft.next.hold(Hold::Kind::shared_outage) == nullptr) return;", ") return;",
            "10"),
    rollout("10: a shared outage of a trigger does not heal", "rollout_look.cpp",
            "return saw.key == hold.name && saw.broke && saw.baseline_broke;",
            "return saw.key == hold.name;", "10"),
    rollout("10: at 100 % an alarm acts without confirmation", "analysis.cpp",
            "const bool comparable = next.baseline_share && look.baseline_complete;",
            "const bool comparable = true;", "10"),
    rollout("10: at 100 % a trigger waits as an alarm does", "rollout_look.cpp",
            "if (verdict.decision == Decision::rollback || fired) {",
            "if (verdict.decision == Decision::rollback || (fired && next.ledger.baseline_share)) {",
            "10"),
    rollout("10: an alarm that waits is not told", "rollout_look.cpp",
            "if (verdict.alarm && waiting) {", "if (false) {", "10"),
    rollout("10: an alarm that was not confirmed is forgotten", "rollout_look.cpp",
            "if (verdict.confirmation_failed) {", "if (false) {", "10"),

    # 11 refused with a sentence, and journaled
    rollout("11: refused command not journaled", "rollout.cpp",
            "transition.refused = true;",
            "transition.refused = true;\n    transition.forget = true;", "11"),
    rollout("11: a refused command takes no place in the journal", "rollout.cpp",
            "transition.next.revision = before.revision + 1;", "", "11"),
    rollout("11: plain promote waives the proof", "rollout_command.cpp",
            "case Missing::Kind::suspicion:\n            return override_proof;",
            "case Missing::Kind::suspicion:\n            return true;", "11"),
    rollout("11: an override needs no reason", "rollout_command.cpp",
            "if (command.override_proof && command.reason.empty()) {", "if (false) {", "11"),
    rollout("11: an override passes a silent canary", "rollout_command.cpp",
            "case Hold::Kind::unconfirmed:\n                case Hold::Kind::store_went_back:\n"
            "                    return false;",
            "case Hold::Kind::unconfirmed:\n                case Hold::Kind::store_went_back:\n"
            "                    return override_proof;", "11"),
    rollout("11: an override is not counted", "rollout_command.cpp",
            "if (needed_override) ++next.overrides;", "", "11"),
    rollout("11: an override silences the ledger", "rollout_look.cpp",
            "if (verdict.decision == Decision::rollback || fired) {",
            "if ((verdict.decision == Decision::rollback && next.overrides == 0) || fired) {",
            "11"),
    rollout("11: resume ends the hold of max_step", "rollout_command.cpp",
            "return waits_for_a_person(hold) && !is_unproven(hold); });",
            "return waits_for_a_person(hold); });", "11"),
    rollout("11: extend does not end the hold of max_step", "rollout_command.cpp",
            "if (time_at_step(next) <= limit) draft.drop_holds(is_unproven);", "",
            "11"),

    rollout("11: a resume raises traffic for a suspicious canary", "rollout_command.cpp",
            "if (raises && unclear) {", "if (false) {", "11"),

    # 12 drift
    rollout("12: raise on drift", "rollout.cpp",
            "draft.order_lower(served.weight);", "", "12"),
    rollout("12: drift is not held", "rollout.cpp",
            'draft.add_hold(Hold::Kind::drift, "", why);', "", "12"),
    rollout("12: a hold is not said", "rollout.cpp",
            "const bool blind = kind == Hold::Kind::blind;",
            "const bool blind = kind == Hold::Kind::blind;\n    return;", "12"),
    rollout("12: a raise by hand is lowered back without a word", "rollout.cpp",
            "draft.tell(Notice::Kind::drift,", "if (false) draft.tell(Notice::Kind::drift,", "12"),
    rollout("12: a raise that lapsed is not said", "rollout.cpp",
            "draft.tell(Notice::Kind::raise_lapsed,",
            "if (false) draft.tell(Notice::Kind::raise_lapsed,", "12"),
    rollout("12: a lapsed lease is taken for somebody's hand", "rollout.cpp",
            'const bool lapsed = lease && served.weight == nobody && served.by == "canaryd";',
            "const bool lapsed = false;", "a lapsed lease is"),
    rollout("12: an operator's signed rollback is only a drift", "rollout.cpp",
            "if (served.weight == nobody && by_somebody_else(served)) {", "if (false) {", "12"),
    rollout("12: an unsigned row at 0 % is a rollback", "rollout.cpp",
            "if (served.weight == nobody && by_somebody_else(served)) {",
            "if (served.weight == nobody) {", "12"),
    rollout("12: the row of an earlier rollback rolls back a new rollout", "rollout.cpp",
            "served.revision > *now.route_from) {", "true) {", "12"),
    rollout("12: a row at 0 % before the first confirmation is overwritten", "rollout.cpp",
            "if (known && !now.over() && served.weight == nobody", "if (false", "12"),
    rollout("12: a raise by hand is not noticed", "rollout.cpp",
            "if (was_confirmed) return raised_by_hand(std::move(draft), served);", "", "12"),
    rollout("12: not yet raised is taken for lowered by hand", "rollout.cpp",
            "if (now.applied && served.weight < *now.applied) {",
            "if (served.weight < now.desired) {", "12"),
    rollout("12: a raise lapses before its time", "rollout.cpp",
            " || draft.event.at < *now.raise_expires) {", ") {", "12"),
    rollout("12: a raise that was never confirmed stands", "rollout.cpp",
            "draft.order_lower(now.applied.value_or(nobody));", "", "12"),
    rollout("12: a first raise that was never confirmed waits for nobody", "rollout.cpp",
            "draft.add_hold(Hold::Kind::unconfirmed, \"\", why);", "", "12"),

    # 13 soak and finish
    rollout("13: soak ignores last bake", "rollout_time.cpp",
            "if (draft.is_last_step() && next.desired == everybody) next.soaked += earned;",
            "if (draft.is_last_step() && next.baked > bake_wanted(next, draft.policy)) "
            "next.soaked += earned;", "13"),
    rollout("13: finishing before the soak is over", "missing.cpp",
            "if (last && rollout.soaked < policy.soak) {", "if (false) {", "13"),
    rollout("13: the watch ends with the soak", "rollout_look.cpp",
            "if (now.over() || now.status == Status::pending) return draft.forget();",
            "if (now.status != Status::progressing) return draft.forget();", "13"),
    rollout("13: finished while paused", "rollout_command.cpp",
            "if (next.status != Status::finishing || !missing.empty()) {",
            "if (next.status != Status::finishing) {", "13"),
    rollout("13: it finishes by itself", "rollout_look.cpp",
            "next.status = Status::finishing;", "next.status = Status::finished;", "13"),

    # Notices
    rollout("notices: nobody says where users are and what comes next", "rollout.cpp",
            "notice.text += ending(notice.kind);", "(void)notice;", "a notice says"),
    rollout("notices: a hold names no way out", "rollout.cpp",
            "text::way_out(next.holds.back());", '"";', "a notice says"),
    rollout("notices: what an extended step waits for is not said", "rollout_look.cpp",
            'what += "\\n- " + one.what;', "what += one.what;", "a notice says"),
    rollout("notices: when an alarm is confirmed is not said", "text.cpp",
            "time(waiting.since + view.policy.confirm_without_baseline) +", '"" +',
            "a notice says"),

    # Triggers are counted
    rollout("triggers: no floor of failures", "triggers.cpp",
            "window.failures >= trigger.at_least &&", "", "triggers count"),
    rollout("triggers: no floor of users", "triggers.cpp",
            "window.users >= trigger.users;", "true;", "triggers count"),
    rollout("triggers: at the threshold is above it", "triggers.cpp",
            "return k > trigger.threshold * n", "return k >= trigger.threshold * n",
            "triggers count"),
    rollout("triggers: impossible counts fire", "triggers.cpp",
            " || window.failures > window.requests) return false;", ") return false;",
            "triggers count"),
    rollout("triggers: one look is enough for two of three", "triggers.cpp",
            "+ (counts ? 0 : 1) >= trigger.needed;", "+ (counts ? 0 : 1) >= 1;",
            "triggers count"),
    rollout("triggers: looks are never forgotten", "triggers.cpp",
            "(counts ? 1U : 0U)) & memory;", "(counts ? 1U : 0U));", "triggers count"),
    rollout("triggers: acts on a look that is fine", "triggers.cpp",
            "saw.acts = saw.broke && ", "saw.acts = ", "triggers count"),
    rollout("triggers: no number is a number", "triggers.cpp",
            "if (!canary.value || !std::isfinite(*canary.value)) return std::nullopt;",
            "if (!canary.value) return true;", "triggers count"),
    rollout("triggers: infinity fires", "triggers.cpp",
            "if (!canary.value || !std::isfinite(*canary.value)) return std::nullopt;",
            "if (!canary.value) return std::nullopt;", "triggers count"),
    rollout("triggers: a number of half a window counts", "triggers.cpp",
            "if (canary.to - canary.from < trigger.over) return std::nullopt;", "",
            "triggers count"),
    rollout("triggers: a quiet night is silence", "triggers.cpp",
            "return expected >= static_cast<double>(trigger.at_least) &&", "return",
            "triggers count"),
    rollout("triggers: two of three act at a peek", "triggers.cpp",
            "if (peek && !trigger.at_peeks()) continue;", "", "triggers count"),
    rollout("triggers: each segment's trigger reads the total only", "triggers.cpp",
            "if (trigger.each_segment) {", "if (false) {", "triggers count"),
    rollout("triggers: segments share one memory of looks", "triggers.cpp",
            'saw.key = segment.empty() ? trigger.name : trigger.name + "/" + segment;',
            "saw.key = trigger.name;", "triggers count"),
    rollout("triggers: the segment that broke is not named", "text_triggers.cpp",
            'if (!segment.empty()) line += " (" + segment + ")";', "", "triggers count"),
    rollout("triggers: a hold comes once in a lifetime", "triggers.cpp",
            "if (!saw.broke) saw.acted = false;", "", "triggers count"),

    # The ledger and the gate
    evidence("7.1: two users roll back", "ledger.cpp",
             "!has_floor(policy, streams[i])) {", "false) {",
             "two users never roll back"),
    evidence("7.1: users are never forgotten", "ledger.cpp",
             "if (sums[i] < 0) {", "if (false) {", "users are forgotten when"),
    evidence("7.1: one user who retries is many", "dedup.cpp",
             "added.first_total = here.failed.insert(total).second;",
             "here.failed.insert(total);\n    added.first_total = true;",
             "one user who retries all hour"),
    evidence("7.1: a request without a user is nobody", "dedup.cpp",
             "added.first_total = true;", "added.first_total = false;",
             "a request without a user"),
    evidence("5: half an event counts", "counts.cpp",
             "k != std::floor(k) ||", "", "a look whose events nobody could count"),
    evidence("5: what was counted of another time counts", "counts.cpp",
             "window.from != look.from || ", "", "a look whose events nobody could count"),
    evidence("5: segments take a share of what has none", "ledger.cpp",
             "claim.per == Per::request ? shares : undivided", "shares", "a claim per hour has"),
    evidence("5: events per hour never reach their floor", "ledger.cpp",
             "add_failures(streams[i].floor, {{block_of", "add_failures(streams[0].floor, {{block_of",
             "two events never roll back"),
    evidence("5: a limit per hour is one of requests", "evidence.cpp",
             "return p0 / milliseconds_an_hour * expm1;", "break;", "events per hour beyond"),
    evidence("7.4: a millionth of a cluster is a whole one", "evidence.cpp",
             "return std::log1p(p0 * expm1) / unit_of(per);", "break;", "clusters weigh with"),
    evidence("7.4: more than every cluster may fail", "counts.cpp",
             "k > static_cast<double>(n)) {", "false) {", "shares that cannot be"),
    evidence("7.4: clusters have their floor for each share that is begun", "ledger.cpp",
             "unit = unit_of(per);", "unit = 1;", "two clusters never roll back"),
    evidence("7.2: what a query counts knows no shared outage", "ledger.cpp",
             "&& book.counts(i)) guarded[i] = true;", "&& book.counts(i)) guarded[i] = false;",
             "what fails on both sides is no evidence of what"),
    evidence("7.4: clusters are proven by their bare sum", "evidence.cpp",
             "return delta / unit_of(per);", "return delta;",
             "clusters weigh with"),
    evidence("7.2: the guard is never on", "ledger.cpp",
             "own[i] = guard_on(guard);", "own[i] = false;", "an outage that both sides share"),
    evidence("7.2: a shared outage is remembered for ever", "evidence.cpp",
             "std::max(0.0, guard[j] * kept + l[j])", "std::max(0.0, guard[j] + l[j])",
             "a shared outage is remembered for about an hour"),
    evidence("7.3: a healthy half confirms an alarm", "evidence.cpp",
             "return first && above(first->requests, first->events) &&", "return first &&",
             "a healthy half never confirms"),
    evidence("7.3: one look confirms", "evidence.cpp",
             "return sum >= wanted && with_requests >= 2;", "return sum >= wanted;",
             "a confirmation waits for its time"),
    evidence("7.3: a late sign of a shared outage is ignored", "analysis.cpp",
             "if (!waiting.guard_seen &&", "if (",
             "a baseline that comes late"),
    evidence("7.3: what was not confirmed alarms again at once", "analysis.cpp",
             "stream.ln_r[j] = std::min(stream.ln_r[j], stream.ln_calm[j]);", "",
             "at 100 % a three-minute outage"),
    evidence("7.3: an alarm waits though the baseline is complete", "analysis.cpp",
             "if (comparable || ", "if (", "a failing canary is rolled back"),
    evidence("7.3: an alarm waits though the policy does not", "analysis.cpp",
             "rules.policy.confirm_without_baseline <= Duration{0} ||", "", "an alarm acts at once"),
    evidence("the ledger's rollback is taken back when the canary gets well", "analysis.cpp",
             "if (ledger.latched) {", "if (verdict.ln_m_acting >= 4.6) {",
             "a failing canary is rolled back"),
    evidence("1: no evidence rolls back", "analysis.cpp",
             "verdict.ln_m_acting >= -std::log(policy.false_rollback)",
             "verdict.ln_m_acting >= -1.0", "a rollout that nobody calls"),
    evidence("1: mass is made, not moved", "evidence.cpp",
             "return {ln_c + std::log1p(-eta), ln_c + std::log(eta)};",
             "return {ln_c, ln_c + std::log(eta)};", "mass is moved"),
    evidence("6.2: each agent's stream has the whole share", "evidence.cpp",
             "std::log(half / static_cast<double>(segments))", "std::log(half)",
             "the limits share the mass"),
    evidence("6.3: a new step forgets the evidence of harm", "ledger.cpp",
             "stream.sum_e2 = 0;\n", "stream.sum_e2 = 0;\n        stream = Stream{};\n",
             "a new step keeps"),
    evidence("8.1: a new step keeps the proof of the last one", "ledger.cpp",
             "stream.requests = 0;\n            stream.events = 0;", "", "a new step keeps"),
    evidence("8.1: the warm-up's counts prove health", "ledger.cpp",
             "if (!facts.warming) {", "if (true) {", "while it warms up"),
    evidence("3: a margin is not taken off", "evidence.cpp",
             "return counts.events * delta - (counts.events + counts.others) * std::log1p(bet) -",
             "return counts.events * delta - (counts.events + counts.others) * std::log1p(bet) - 0 *",
             "a canary within its margin"),
    evidence("6.2: comparisons take mass where there is no baseline", "ledger.cpp",
             "return !claim.relative() || facts.baseline_share;", "return true;", "at 100 % comparisons"),
    evidence("7.1: a user's retries make the canary worse", "ledger.cpp",
             "static_cast<double>(ours.events.own_counted),",
             "static_cast<double>(ours.events.own),", "a user who retries all hour"),
    evidence("7.3: the second ledger's hold ends by itself", "analysis.cpp",
             "ledger.failed_confirmation || ledger.hold.acted || verdict.guard",
             "ledger.failed_confirmation || verdict.guard", "a canary within its limit"),
    evidence("10: a side that is not complete is compared", "ledger.cpp",
             "if (!facts.comparable || ", "if (", "a look in which one side"),
    evidence("10: rows that come late are compared", "counts.cpp",
             "(late || add(events.own_counted, block.failures))",
             "add(events.own_counted, block.failures)", "rows that come late"),
    evidence("8.1: failures without their bursts prove health", "counts.cpp",
             "counts.bursts_known[signal] = false;", "", "failures without their bursts"),
    evidence("7.4: a dispersion tempers no limit", "ledger.cpp",
             "                         dispersion.limits);", "                         1.0);",
             "a dispersion divides"),
    evidence("7.4: a dispersion tempers no comparison", "ledger.cpp",
             "dispersion.comparisons);", "1.0);", "a dispersion of comparisons"),
    evidence("8.1: a dispersion proves no later", "ledger.cpp",
             "std::max(burst_size(stream.sum_e, stream.sum_e2), policy.dispersion.limits)",
             "burst_size(stream.sum_e, stream.sum_e2)", "a dispersion divides"),
    evidence("8.2: no limit is ever unproven", "evidence.cpp",
             "return rate_of(n, k, per) < p0 &&", "return true ||",
             "393 requests without a failure"),
    evidence("10: small effects are believed while it warms up", "ledger.cpp",
             "if (warming && breach_grid[j] < gross_effect) {", "if (false) {",
             "while it warms up"),
    evidence("10: impossible counts pass", "counts.cpp",
             "side.usable[at] = side.usable[at] && fits;", "", "counts that cannot be"),
    evidence("10: impossible counts pass: first failures above requests", "counts.cpp",
             "events.counted <= requests.all &&", "", "more failures than requests"),
    evidence("10: impossible counts pass: late requests make up for them", "counts.cpp",
             "events.own <= requests.own && events.own_counted", "events.own_counted", "more failures than requests"),
    evidence("10: impossible counts pass: below nothing", "counts.cpp",
             "if (more < 0 || more > most_events - sum) {",
             "if (more > most_events - sum) {", "more failures than requests"),
    evidence("10: what comes late is lost", "counts.cpp",
             "read_all(look.late, true);", "", "counts that come late"),
]


class Later(NamedTuple):
    word: str     # what brings it
    promise: str  # the number of the promise that its guard keeps
    guard: str


# Promises whose guards come with words that canaryd refuses so far.
LATER = [
    Later("gate", "3", "nothing rises past a gate that is not open"),
    Later("actions", "13", "no finish action runs before its quorum, nor on a protected resource"),
    Later("adopt", "8", "an edited policy changes nothing until it is adopted, and is journaled"),
]


def words_without_mutants():
    """A word that is taken by now and has no bug here would be a guard that nobody tries."""
    policy = (ROOT / "daemon" / "policy_yaml.cpp").read_text(encoding="utf-8")
    refused = re.findall(r'"(\w+)"', " ".join(re.findall(r"later\(\{([^}]*)\}", policy)))
    commands = [ROOT / "include" / "canaryd" / "rollout.hpp", *ROOT.glob("daemon/ctl/*.cpp")]
    adopts = any(re.search(r'"adopt"|struct Adopt\b', file.read_text(encoding="utf-8"))
                 for file in commands)
    taken = {"gate": "gate" not in refused, "actions": "actions" not in refused, "adopt": adopts}
    return [f"`{later.word}` is no longer refused, and no bug says \"{later.promise}: ... "
            f"{later.word} ...\": add the one that breaks \"{later.guard}\""
            for later in LATER if taken[later.word] and not any(
                mutant.promise.startswith(f"{later.promise}: ") and later.word in mutant.promise
                for mutant in MUTANTS)]


def run(command, limit=300):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=limit)


def outcome_of(binary, case):
    """(fails, why not known): runs one test case."""
    try:
        done = run([str(binary), f"--test-case={case}", "--no-breaks"], TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return None, f"'{case}' did not end within {TIME_LIMIT} s"
    plain = re.sub(r"\033\[[0-9;]*m", "", done.stdout)
    counted = re.search(r"test cases:\s+(\d+) \|\s+(\d+) passed \|\s+(\d+) failed", plain)
    if done.returncode < 0:
        return None, f"'{case}' was ended by signal {-done.returncode}"
    if not counted or int(counted[1]) != 1:
        return None, f"'{case}' is not the name of one test case"
    return done.returncode != 0 and int(counted[3]) == 1, ""


class Bench:
    """The unchanged objects, and what is linked from them with one exchanged."""

    def __init__(self, folder, jobs):
        self.folder = Path(folder)
        self.jobs = jobs
        # A copy, so that everything is built from one state of the sources, whoever edits them.
        self.tree = self.folder / "tree"
        self.sources = self.tree / "daemon"
        for part in ("include", "daemon", "tests/simulation"):
            shutil.copytree(ROOT / part, self.tree / part)
        for file in ROOT.glob("tests/*.[ch]pp"):
            shutil.copy(file, self.tree / "tests")

    def compile(self, source, target, *options):
        """None, or what the compiler said."""
        done = run([*COMPILER, f"-I{self.tree}", f"-I{self.tree}/include", *options, "-c",
                    str(source), "-o", str(target)])
        return None if done.returncode == 0 else done.stderr.strip()

    def build(self):
        headers = self.folder / "headers.hpp"
        headers.write_text(HEADERS, encoding="utf-8")
        problem = self.compile(headers, f"{headers}.gch", "-x", "c++-header")
        if problem:
            return [problem]
        self.options = ["-include", str(headers)]
        files = [f"core/{source.name}" for source in sorted(self.sources.glob("core/*.cpp"))]
        self.objects = {file: self.object_of(file) for file in files + DAEMON}
        tests = sorted({name for names in TESTS.values() for name in names})
        # The largest first, so that no job is left alone at the end.
        work = [(self.tree / "tests" / f"{name}.cpp", self.object_of(f"tests/{name}"))
                for name in tests]
        work += [(self.sources / file, target) for file, target in self.objects.items()]
        work.sort(key=lambda pair: -pair[0].stat().st_size)
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            problems = list(pool.map(lambda pair: self.compile(*pair, *self.options), work))
        return [problem for problem in problems if problem]

    def object_of(self, file):
        return self.folder / (file.replace("/", "-") + ".o")

    def link(self, group, binary, exchanged=None, by=None):
        files = [file for file in self.objects if group == "controller" or file not in DAEMON]
        objects = [by if file == exchanged else self.objects[file] for file in files]
        objects += [self.object_of(f"tests/{name}") for name in TESTS[group]]
        done = run([COMPILER[0], *map(str, objects), *LIBRARIES[group], "-o", str(binary)])
        return None if done.returncode == 0 else done.stderr.strip()

    def try_mutant(self, number):
        """None when the bug was noticed, else why not."""
        mutant = MUTANTS[number]
        text = (self.sources / mutant.file).read_text(encoding="utf-8")
        found = text.count(mutant.search)
        if found != 1:
            return f"its text is found {found} times in daemon/{mutant.file}, not once"
        place = self.folder / f"mutant-{number}"
        place.mkdir()
        source, target, binary = place / "mutant.cpp", place / "mutant.o", place / "tests"
        source.write_text(text.replace(mutant.search, mutant.replace), encoding="utf-8")
        try:
            problem = self.compile(source, target, *self.options)
            if problem:
                return "it does not compile: " + problem.splitlines()[0]
            problem = self.link(mutant.group, binary, mutant.file, target)
            if problem:
                return "it does not link: " + problem.splitlines()[0]
            fails, why = outcome_of(binary, mutant.case)
            if why:
                return why
            return None if fails else f"survived '{mutant.case}' ({mutant.file})"
        finally:
            target.unlink(missing_ok=True)
            binary.unlink(missing_ok=True)


def check_unchanged(bench):
    """The test cases exist and pass when nothing is broken: else their failing shows nothing."""
    problems = []
    for group in TESTS:
        binary = bench.folder / f"unchanged-{group}"
        problem = bench.link(group, binary)
        if problem:
            return [f"the unchanged sources do not link: {problem}"]
        for case in sorted({mutant.case for mutant in MUTANTS if mutant.group == group}):
            fails, why = outcome_of(binary, case)
            if why or fails:
                problems.append(why or f"'{case}' fails though nothing is broken")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", default="", help="bugs whose sentence or file has this word")
    arguments = parser.parse_args()
    chosen = [i for i, mutant in enumerate(MUTANTS)
              if arguments.only in f"{mutant.promise} {mutant.file}"]
    with tempfile.TemporaryDirectory(prefix="canaryd-mutants-") as folder:
        bench = Bench(folder, arguments.jobs)
        problems = words_without_mutants() or bench.build() or check_unchanged(bench)
        for problem in problems:
            print(f"FAILED before any bug was tried: {problem}")
        if problems:
            print(f"0 passed, {len(problems)} failed")
            return 1
        passed = failed = 0
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            for number, why in zip(chosen, pool.map(bench.try_mutant, chosen)):
                if why:
                    failed += 1
                    print(f"FAILED {MUTANTS[number].promise}: {why}", flush=True)
                else:
                    passed += 1
                    print(f"ok {MUTANTS[number].promise}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
