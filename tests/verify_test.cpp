// A journal proves every decision again, and names the first entry that does not hold.
#include "daemon/verify.hpp"

#include <doctest/doctest.h>

#include "daemon/codec.hpp"
#include "daemon/sha256.hpp"
#include "tests/story.hpp"

using namespace canaryd;
using namespace canaryd::test;

namespace {

constexpr const char* policy_text = R"(name: unified
canary: new
baseline: old
source: {kind: sqlite, connection: metrics}
router: {kind: sql, connection: route}
steps: [{weight: 10%, bake: 1d}, {weight: 50%, bake: 1d}, {weight: 100%, bake: 1d}]
evaluate_every: 1h
criteria:
  - {metric: error_rate, below: 1%}
  - {metric: latency_p95, below: 2s}
  - {name: worse, metric: error_rate, no_worse_than: baseline}
notify: [{kind: log}]
)";

Policy parsed_policy() {
    ParsedPolicy parsed = parse_policy(policy_text, "unified.yaml");
    for (const Problem& problem : parsed.problems) MESSAGE(to_string(problem));
    REQUIRE(parsed.policy);
    return *parsed.policy;
}

using Journal = std::vector<JournalEntry>;

// Gives an entry, and all that follow it, the hashes that fit what they say now: what somebody
// does who knows how the chain is made.
void chain_anew(Journal& journal, std::size_t from) {
    for (std::size_t i = from; i < journal.size(); ++i) {
        JournalEntry& entry = journal[i];
        entry.previous = i == 0 ? "" : journal[i - 1].hash;
        entry.hash = sha256_hex(codec::chain_input(entry.previous, entry.rollout, entry.revision,
                                                   codec::to_json(entry.event), entry.reason,
                                                   entry.refused, entry.state_hash));
    }
}

/// A story whose every event is journaled.
class Recorded {
public:
    Recorded(Journal& journal, std::string id)
        : journal_(journal), id_(std::move(id)), story_(parsed_policy()) {}

    void happens(const What& what, const std::string& by = "canaryd") {
        const Event event{story_.now, by, by == "canaryd" ? "engine" : "operator", what};
        const Transition& transition = story_.happens(what, by);
        if (transition.forget) return;
        JournalEntry entry;
        entry.rollout = transition.next.id;
        entry.revision = transition.next.revision;
        entry.event = event;
        entry.reason = transition.reason;
        entry.refused = transition.refused;
        entry.state_hash = sha256_hex(codec::to_json(transition.next));
        journal_.push_back(entry);
        chain_anew(journal_, journal_.size() - 1);
    }
    void start() {
        happens(event::Started{id_, policy_text, "unified.yaml"}, "alice");
        confirm();
    }
    void confirm() {
        happens(event::RouteRead{
            {story_.rollout.desired, story_.rollout.revision, "canaryd", "as decided"}});
    }
    void look() {
        story_.now += 1h;
        happens(event::Looked{story_.counts({})});
    }
    [[nodiscard]] const Rollout& rollout() const { return story_.rollout; }

private:
    Journal& journal_;
    std::string id_;
    Story story_;
};

// Two rollouts whose entries alternate; the second one has a refused command and a rollback.
Journal two_rollouts() {
    Journal journal;
    Recorded first(journal, "unified-1");
    Recorded second(journal, "unified-2");
    first.start();
    second.start();
    for (int i = 0; i < 4; ++i) {
        first.look();
        second.look();
    }
    second.happens(event::Finish{"done with it"}, "bob");
    second.happens(event::Pause{"lunch"}, "bob");
    first.look();
    second.happens(event::RollBack{"seen enough"}, "bob");
    second.confirm();
    first.look();
    return journal;
}

Verified verified(const Journal& journal) {
    Verifier verifier;
    for (const JournalEntry& entry : journal) verifier.add(entry);
    return verifier.result();
}

std::string first_fault(const Journal& journal) {
    const Verified result = verified(journal);
    return result.faults.empty() ? "no fault" : result.faults.front();
}

std::size_t index_of(const Journal& journal, const std::string& rollout, std::uint64_t revision) {
    for (std::size_t i = 0; i < journal.size(); ++i)
        if (journal[i].rollout == rollout && journal[i].revision == revision) return i;
    FAIL("no such entry");
    return 0;
}

}  // namespace

TEST_SUITE("verify") {
    TEST_CASE("a journal as it was written has no faults") {
        const Journal journal = two_rollouts();
        const Verified result = verified(journal);
        INFO(first_fault(journal));
        CHECK(result.faults.empty());
        CHECK(result.entries == journal.size());
        CHECK(result.rollouts == 2);
        CHECK(result.looks == 10);
        bool refused = false;
        for (const JournalEntry& entry : journal) refused = refused || entry.refused;
        CHECK(refused);
        CHECK(verified({}).faults.empty());
    }

    TEST_CASE("it holds as well when read back from its own text") {
        Journal journal = two_rollouts();
        for (JournalEntry& entry : journal)
            entry = codec::journal_entry_from_json(codec::to_json(entry));
        CHECK(first_fault(journal) == "no fault");
    }

    TEST_CASE("an entry that was changed is named") {
        Journal journal = two_rollouts();
        const std::size_t pause = index_of(journal, "unified-2", 8);
        REQUIRE(std::holds_alternative<event::Pause>(journal[pause].event.what));
        journal[pause].event.by = "mallory";
        CHECK(first_fault(journal) ==
              "unified-2, revision 8: was changed: its hash is not that of what it says");
        // With its own hash made to fit, the entry after it does not follow; with all of them, the
        // decision is not the one that step() makes.
        JournalEntry& entry = journal[pause];
        entry.hash = sha256_hex(codec::chain_input(entry.previous, entry.rollout, entry.revision,
                                                   codec::to_json(entry.event), entry.reason,
                                                   entry.refused, entry.state_hash));
        const Verified half = verified(journal);
        REQUIRE(half.faults.size() == 2);
        CHECK(half.faults[1].find("does not follow the entry before it") != std::string::npos);
        chain_anew(journal, pause);
        const std::string fault = first_fault(journal);
        INFO(fault);
        CHECK(fault.starts_with("unified-2, revision 8: recorded \""));
        CHECK(fault.find("mallory") != std::string::npos);
        CHECK(verified(journal).faults.size() == 1);
    }

    TEST_CASE("a look whose counts were embellished is named, however well it is chained") {
        Journal journal = two_rollouts();
        const std::size_t at = index_of(journal, "unified-1", 4);
        auto& looked = std::get<event::Looked>(journal[at].event.what);
        looked.look.on_time.front().requests += 1;
        chain_anew(journal, at);
        CHECK(first_fault(journal).starts_with("unified-1, revision 4: "));
        CHECK(verified(journal).faults.size() == 1);
    }

    TEST_CASE("a state that no decision led to is named") {
        Journal journal = two_rollouts();
        const std::size_t at = index_of(journal, "unified-1", 5);
        journal[at].state_hash = sha256_hex("{}");
        chain_anew(journal, at);
        CHECK(first_fault(journal) ==
              "unified-1, revision 5: the state after it is not the one that was recorded");
        journal = two_rollouts();
        journal[at].refused = !journal[at].refused;
        chain_anew(journal, at);
        CHECK(first_fault(journal) ==
              "unified-1, revision 5: recorded as refused, step() says the opposite");
    }

    TEST_CASE("an entry that was removed is noticed at the one after it") {
        Journal journal = two_rollouts();
        const std::size_t at = index_of(journal, "unified-2", 5);
        const JournalEntry next = journal[at + 1];
        journal.erase(journal.begin() + static_cast<std::ptrdiff_t>(at));
        CHECK(first_fault(journal).starts_with(next.rollout + ", revision " +
                                               std::to_string(next.revision) +
                                               ": does not follow the entry before it"));
        chain_anew(journal, at);
        CHECK(first_fault(journal) ==
              "unified-2, revision 6: follows revision 4: entries in "
              "between were removed, or it is told twice");
    }

    TEST_CASE("entries in another order are noticed") {
        Journal journal = two_rollouts();
        std::swap(journal[6], journal[7]);
        CHECK(first_fault(journal).starts_with(journal[6].rollout + ", revision " +
                                               std::to_string(journal[6].revision) +
                                               ": does not follow"));
    }

    TEST_CASE("a journal that lost its beginning is noticed") {
        Journal journal = two_rollouts();
        journal.erase(journal.begin());
        const Verified result = verified(journal);
        REQUIRE(result.faults.size() >= 2);
        CHECK(result.faults[0] ==
              "unified-1, revision 2: the journal does not begin here: "
              "entries before it were removed");
        CHECK(result.faults[1] == "unified-1, revision 2: it was never started");
    }

    TEST_CASE("a policy that is none, and a rollout started under another id, are named") {
        Journal journal = two_rollouts();
        std::get<event::Started>(journal[0].event.what).policy_text = "steps: soon";
        CHECK(verified(journal).faults.size() >= 2);
        CHECK(verified(journal).faults[1].find("its policy is not valid") != std::string::npos);
        journal = two_rollouts();
        std::get<event::Started>(journal[0].event.what).id = "other-1";
        chain_anew(journal, 0);
        CHECK(first_fault(journal) == "unified-1, revision 1: it was started as \"other-1\"");
    }
}
