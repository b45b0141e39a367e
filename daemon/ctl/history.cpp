// history and verify: the journal, for people and for proof.
#include <array>
#include <iostream>
#include <optional>

#include "daemon/codec.hpp"
#include "daemon/ctl/ctl.hpp"
#include "daemon/log.hpp"
#include "daemon/verify.hpp"

namespace canaryd::ctl {
namespace {

constexpr const char* page_size = "1000";

/// One entry as the API says it.
JournalEntry entry_of(const json::value& document) {
    JournalEntry entry;
    entry.rollout = string_of(document, "rollout");
    entry.revision = static_cast<std::uint64_t>(whole_of(document, "revision"));
    entry.reason = string_of(document, "reason");
    const json::value* refused_flag = document.as_object().if_contains("refused");
    entry.refused = refused_flag != nullptr && refused_flag->is_bool() && refused_flag->get_bool();
    entry.state_hash = string_of(document, "state_hash");
    entry.previous = string_of(document, "previous");
    entry.hash = string_of(document, "hash");
    const json::value* event = document.as_object().if_contains("event");
    if (event == nullptr) throw Refused("canaryd's answer has no \"event\"; another version?");
    // In the journal of all rollouts the event is the very text that the hash covers.
    entry.event = event->is_string() ? codec::event_from_json(std::string(event->get_string()))
                                     : codec::event_from_json(json::serialize(*event));
    return entry;
}

json::array page_of(const Options& options, const std::string& target, std::uint64_t after) {
    json::value page = get_json(
        options, target + "?after=" + std::to_string(after) + "&limit=" + std::string(page_size));
    json::array* entries = page.if_array();
    if (entries == nullptr) throw Refused("canaryd's answer is no journal; another version?");
    return std::move(*entries);
}

// --- history ------------------------------------------------------------------------------------

std::string_view word_of(const What& what) {
    static constexpr auto words = std::to_array<std::string_view>(
        {"start", "look", "peek", "route", "lapsed", "went back", "pause", "resume", "promote",
         "rollback", "extend", "finish", "ack"});
    static_assert(words.size() == std::variant_size_v<What>);
    return words[what.index()];
}

/// Runs the journal again, so as to know which entries changed something that a person would want
/// to see; the rest is counted.
class Replay {
public:
    /// Is the entry more than one more look?
    bool telling(const JournalEntry& entry) {
        const bool look = std::holds_alternative<event::Looked>(entry.event.what) ||
                          std::holds_alternative<event::Peeked>(entry.event.what);
        const bool route = std::holds_alternative<event::RouteRead>(entry.event.what);
        const Rollout before = rollout_;
        const bool told = advance(entry);
        if (!look && !route) return true;
        if (entry.refused || !policy_) return true;
        const Rollout& now = rollout_;
        return told || before.status != now.status || before.step != now.step ||
               before.desired != now.desired || before.applied != now.applied ||
               before.holds.size() != now.holds.size() || before.suspicious != now.suspicious;
    }

private:
    /// Whether people were told of it, reports apart.
    bool advance(const JournalEntry& entry) {
        // A second start is refused: it changes neither the policy nor anything else.
        const auto* started = std::get_if<event::Started>(&entry.event.what);
        if (started != nullptr && !policy_) {
            policy_ = parse_policy(started->policy_text, started->policy_file).policy;
        }
        if (!policy_) return true;
        const Transition transition = step(rollout_, entry.event, *policy_);
        rollout_ = transition.next;
        for (const Notice& notice : transition.notices) {
            if (notice.kind != Notice::Kind::report) return true;
        }
        return false;
    }

    std::optional<Policy> policy_;
    Rollout rollout_;
};

/// Entries that are only counted.
class Folded {
public:
    void add(const JournalEntry& entry) {
        if (first_ == 0) first_ = entry.revision;
        last_ = entry.revision;
        const auto* looked = std::get_if<event::Looked>(&entry.event.what);
        if (looked == nullptr) {
            ++others_;
            return;
        }
        ++looks_;
        if (!looked->look.error.empty()) ++blind_;
        for (const Tally& tally : looked->look.on_time) {
            const bool total = tally.segment.empty() && tally.who == Population::canary;
            if (total) requests_ += tally.requests;
        }
    }
    void print() {
        if (first_ == 0) return;
        std::cout << "    " << text::counted(looks_, "look", "looks");
        if (requests_ > 0) {
            std::cout << ", " << text::counted(requests_, "request", "requests")
                      << " on the canary";
        }
        if (blind_ > 0) std::cout << ", " << text::number(blind_) << " without evidence";
        if (others_ > 0) std::cout << ", " << text::number(others_) << " read-backs";
        std::cout << "  (r" << first_ << " to r" << last_ << ")\n";
        *this = Folded{};
    }

private:
    std::uint64_t first_ = 0, last_ = 0;
    std::int64_t looks_ = 0, blind_ = 0, requests_ = 0, others_ = 0;
};

void print_entry(const JournalEntry& entry, const Options& options) {
    const std::string word(word_of(entry.event.what));
    // Some reasons begin with the word themselves.
    const bool said = entry.reason.starts_with(word + ": ");
    const std::string line = text::moment(entry.event.at) + "  r" + std::to_string(entry.revision) +
                             "  " + entry.event.by + "  " + (said ? "" : word) +
                             (entry.refused ? " REFUSED" : "") + (said ? "" : ": ") + entry.reason;
    std::cout << text::wrap(escaped(line), paper_of(options).width, 4) << '\n';
}

int history(const Options& options, const std::string& given, bool all) {
    const std::string id = rollout_of(options, given, Meant::newest);
    const std::string target = "/api/v1/rollouts/" + url_encoded(id) + "/journal";
    json::array raw;
    Replay replay;
    Folded folded;
    std::uint64_t after = 0;
    for (;;) {
        json::array page = page_of(options, target, after);
        if (page.empty()) break;
        for (json::value& document : page) {
            after = static_cast<std::uint64_t>(whole_of(document, "revision"));
            if (options.json) {
                raw.push_back(std::move(document));
                continue;
            }
            const JournalEntry entry = entry_of(document);
            if (replay.telling(entry) || all) {
                folded.print();
                print_entry(entry, options);
            } else {
                folded.add(entry);
            }
        }
    }
    folded.print();
    if (options.json) print_json(raw);
    return done;
}

void add_history_command(CLI::App& app, const Options& options, int& code) {
    struct Asked {
        std::string rollout;
        bool all = false;
    };
    const auto asked = std::make_shared<Asked>();
    CLI::App* command =
        app.add_subcommand("history", "the journal: when, who, what, why; quiet looks are counted");
    command->add_option("rollout", asked->rollout, "the newest without")->type_name("ROLLOUT");
    command->add_flag("--all", asked->all, "every entry");
    command->footer(
        "Examples:\n  canaryctl history\n  canaryctl history checkout-2 --all\n"
        "  canaryctl history --json > journal.json");
    command->callback(
        [&options, &code, asked] { code = history(options, asked->rollout, asked->all); });
}

// --- verify -------------------------------------------------------------------------------------

json::object verified_json(const Verified& result) {
    json::array faults;
    for (const std::string& fault : result.faults) faults.emplace_back(fault);
    return {{"entries", result.entries},
            {"rollouts", result.rollouts},
            {"looks", result.looks},
            {"good", result.faults.empty()},
            {"faults", std::move(faults)}};
}

int verify(const Options& options) {
    Verifier verifier;
    std::uint64_t after = 0;
    for (;;) {
        const json::array page = page_of(options, "/api/v1/journal", after);
        if (page.empty()) break;
        for (const json::value& document : page) {
            ++after;
            try {
                verifier.add(entry_of(document));
            } catch (const std::runtime_error& error) {
                throw Refused("entry " + std::to_string(after) +
                              " cannot be read: " + error.what());
            }
        }
    }
    const Verified result = verifier.result();
    const auto counted = [](std::uint64_t n, const char* one, const char* many) {
        return text::counted(static_cast<std::int64_t>(n), one, many);
    };
    if (options.json) {
        print_json(verified_json(result));
    } else if (result.faults.empty()) {
        std::cout << counted(result.entries, "entry", "entries") << ", "
                  << counted(result.rollouts, "rollout", "rollouts") << ", "
                  << counted(result.looks, "look", "looks") << ": all as recorded\n";
    } else {
        std::cout << "NOT as recorded: " << counted(result.faults.size(), "fault", "faults")
                  << " in " << counted(result.entries, "entry", "entries") << "; the first:\n";
        print_lines("  " + result.faults.front(), options);
    }
    return result.faults.empty() ? done : refused;
}

}  // namespace

Then rollout_at(const Options& options, const std::string& id, std::uint64_t revision) {
    const std::string target = "/api/v1/rollouts/" + url_encoded(id) + "/journal";
    Then then;
    bool known = false;
    std::uint64_t after = 0;
    for (json::array page = page_of(options, target, after); !page.empty();
         page = page_of(options, target, after)) {
        for (const json::value& document : page) {
            const JournalEntry entry = entry_of(document);
            after = entry.revision;
            const auto* started = std::get_if<event::Started>(&entry.event.what);
            if (started != nullptr && !known) {
                ParsedPolicy parsed = parse_policy(started->policy_text, started->policy_file);
                if (!parsed.policy) throw Refused(id + ": its policy is not valid any more");
                then.view.policy = *std::move(parsed.policy);
                known = true;
            }
            if (!known) throw Refused(id + ": its journal does not begin with its start");
            then.view.rollout = step(then.view.rollout, entry.event, then.view.policy).next;
            if (entry.revision != revision) continue;
            then.view.now = entry.event.at;
            then.reason = entry.reason;
            return then;
        }
    }
    throw Refused(id + " has no revision " + std::to_string(revision) +
                  "; canaryctl history --all " + id + " shows them, up to " +
                  std::to_string(after));
}

void add_history(CLI::App& app, const Options& options, int& code) {
    add_history_command(app, options, code);
    CLI::App* command = app.add_subcommand(
        "verify", "prove the journal: its chain, and every decision again from its inputs");
    command->footer(
        "States are compared bit by bit: run it on the type of processor that wrote the journal,\n"
        "with the same build.\n\n"
        "Example:\n  canaryctl verify\n\nExit codes: 0 all as recorded, 1 not, "
        "2 daemon unreachable.");
    command->callback([&options, &code] { code = verify(options); });
}

}  // namespace canaryd::ctl
