#include "daemon/codec.hpp"

#include <variant>

#include "daemon/codec_json.hpp"

namespace canaryd::codec {

namespace {

// A member that the description forgot would be lost at the next restart, so the compiler counts:
// how many initialisers the struct takes, and how many fields are described.
template <class Whole>
struct Anything {
    template <class T>
    requires(!std::same_as<T, Whole>)  // else an empty struct would take a copy of itself
    operator T() const;
};

template <class T, std::size_t... i>
consteval bool takes(std::index_sequence<i...>) {
    return requires {
        T{(static_cast<void>(i), Anything<T>{})...};
    };
}

template <class T, std::size_t count = 0>
consteval std::size_t members_of() {
    if constexpr (takes<T>(std::make_index_sequence<count + 1>{})) {
        return members_of<T, count + 1>();
    } else {
        return count;
    }
}

template <class T>
consteval std::size_t described_members_of() {
    std::size_t count = 0;
    auto visit = [&count](std::string_view, auto) { ++count; };
    fields(visit, Of<T>{});
    return count;
}

template <class... Ts>
consteval bool all_described() {
    return ((members_of<Ts>() == described_members_of<Ts>()) && ...);
}

static_assert(all_described<InBlock, Count, Burst, Latencies, Tally, Window, Look>());
static_assert(all_described<Waited, Waiting, HoldLedger, Ledger>());
static_assert(all_described<Paused, Hold, TriggerState, SegmentState, Seen, Rollout, Notice>());
static_assert(all_described<Served, event::Started, event::Looked, event::Peeked, event::RouteRead,
                            event::RaiseLapsed, event::StoreWentBack, event::Pause, event::Resume,
                            event::Promote, event::RollBack, event::Extend, event::Finish,
                            event::Acknowledge>());
// What these hold besides is an event's alternative and an entry's event.
static_assert(members_of<Event>() == described_members_of<Event>() + 1);
static_assert(members_of<JournalEntry>() == described_members_of<JournalEntry>() + 1);

// Stream has a constructor, so it is counted by unpacking it.
[[maybe_unused]] void count_members(Stream stream) {
    [[maybe_unused]] auto& [a, b, c, d, e, f, g, h, i, j] = stream;
    static_assert(described_members_of<Stream>() == 10);
}

json::value parsed(std::string_view text, const Place& place) {
    json::error_code error;
    json::value value = json::parse(json::string_view(text.data(), text.size()), error);
    if (error) refuse(place, "is not JSON: " + error.message());
    return value;
}

template <class T>
T from_json(std::string_view text, std::string_view root) {
    const Place place{nullptr, root};
    T out;
    read(parsed(text, place), out, place);
    return out;
}

json::object write_event(const Event& event) {
    json::object out;
    write_fields(event, out);
    std::visit(
        [&out]<class Alternative>(const Alternative& what) {
            out.emplace("what", word(Of<Alternative>{}));
            write_fields(what, out);
        },
        event.what);
    return out;
}

// Tries the alternatives in turn; false when none has this name.
template <std::size_t i = 0>
bool read_what(std::string_view name, const json::object& in, What& out, const Place& place,
               std::vector<std::string_view>& known) {
    if constexpr (i == std::variant_size_v<What>) {
        return false;
    } else {
        using Alternative = std::variant_alternative_t<i, What>;
        if (name != word(Of<Alternative>{})) return read_what<i + 1>(name, in, out, place, known);
        read_fields(in, out.emplace<i>(), place, known);
        return true;
    }
}

Event read_event(const json::value& in, const Place& place) {
    const json::object& object = object_of(in, place);
    const json::value* const what = object.if_contains("what");
    if (what == nullptr) refuse(place, "has no \"what\"");
    const json::string& name = string_of(*what, Place{&place, "what"});
    Event event;
    std::vector<std::string_view> known{"what"};
    read_fields(object, event, place, known);
    if (!read_what(name, object, event.what, place, known))
        refuse(Place{&place, "what"}, "\"" + std::string(name) + "\" is no event");
    refuse_unknown(object, known, place);
    return event;
}

void append(std::string& out, std::string_view part) {
    out += std::to_string(part.size());
    out += ':';
    out += part;
    out += ',';
}

}  // namespace

std::string to_json(const Rollout& rollout) {
    return json::serialize(write(rollout));
}
Rollout rollout_from_json(std::string_view text) {
    return from_json<Rollout>(text, "state");
}

std::string to_json(const Notice& notice) {
    return json::serialize(write(notice));
}
Notice notice_from_json(std::string_view text) {
    return from_json<Notice>(text, "notice");
}

std::string to_json(const Event& event) {
    return json::serialize(write_event(event));
}
Event event_from_json(std::string_view text) {
    const Place place{nullptr, "event"};
    return read_event(parsed(text, place), place);
}

std::string to_json(const JournalEntry& entry) {
    json::object out;
    write_fields(entry, out);
    out.emplace("event", write_event(entry.event));
    return json::serialize(out);
}

JournalEntry journal_entry_from_json(std::string_view text) {
    const Place place{nullptr, "entry"};
    const json::value in = parsed(text, place);
    const json::object& object = object_of(in, place);
    JournalEntry entry;
    std::vector<std::string_view> known{"event"};
    read_fields(object, entry, place, known);
    const json::value* const event = object.if_contains("event");
    if (event == nullptr) refuse(place, "has no \"event\"");
    entry.event = read_event(*event, Place{&place, "event"});
    refuse_unknown(object, known, place);
    return entry;
}

std::string chain_input(const std::string& previous, const std::string& rollout,
                        std::uint64_t revision, std::string_view event_json,
                        const std::string& reason, bool refused, const std::string& state_hash) {
    // Each part behind its length: no two entries have the same input.
    std::string out;
    append(out, previous);
    append(out, rollout);
    append(out, std::to_string(revision));
    append(out, event_json);
    append(out, reason);
    append(out, refused ? "refused" : "done");
    append(out, state_hash);
    return out;
}

}  // namespace canaryd::codec
