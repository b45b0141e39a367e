// What is stored comes back bit for bit, and what is not ours is refused by name.
#include "daemon/codec.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <random>

#include "daemon/codec_json.hpp"

using namespace canaryd;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// Sets every described member to something that is not its default, each to something else. The
// codec refuses to compile when a member is not described, so nothing is left out.
class Filler {
public:
    void fill(bool& value) { value = !value; }
    template <std::integral Integer>
    void fill(Integer& value) {
        value = static_cast<Integer>(++count_);
    }
    void fill(double& value) { value = -1.0 / static_cast<double>(++count_); }
    void fill(std::string& value) {
        value = "text \"" + std::to_string(++count_) + "\" \xC3\xA9\n";
    }
    void fill(Weight& value) { value.basis_points = static_cast<int>(++count_); }
    void fill(Duration& value) { value = Duration(++count_); }
    void fill(TimePoint& value) { value = TimePoint(Duration(1'700'000'000'000 + ++count_)); }
    template <codec::Named T>
    void fill(T& value) {
        value = static_cast<T>(1);
    }
    template <codec::Described T>
    void fill(T& value) {
        auto visit = [&](std::string_view, auto member) { fill(value.*member); };
        fields(visit, codec::Of<T>{});
    }
    template <class T>
    void fill(std::optional<T>& value) {
        fill(value.emplace());
    }
    template <class T>
    void fill(std::vector<T>& values) {
        values.resize(2);
        for (T& value : values) fill(value);
    }
    template <class T, std::size_t size>
    void fill(std::array<T, size>& values) {
        for (T& value : values) fill(value);
    }
    template <class T>
    void fill(std::map<std::string, T>& values) {
        fill(values["errors/rides"]);
        fill(values["errors"]);
    }

private:
    std::int64_t count_ = 0;
};

template <class T>
T filled() {
    T value;
    Filler().fill(value);
    return value;
}

// Every member differs from the default, all the way down to the first level.
template <codec::Described T>
void check_all_set(const T& value) {
    const T fallback{};
    auto visit = [&](std::string_view name, auto member) {
        INFO(std::string(name));
        CHECK_FALSE(codec::same(value.*member, fallback.*member));
    };
    fields(visit, codec::Of<T>{});
}

std::string refusal(const std::string& json) {
    try {
        static_cast<void>(codec::rollout_from_json(json));
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "accepted";
}

template <class Alternative>
void check_event_round_trip() {
    Event event = filled<Event>();
    event.what = filled<Alternative>();
    const std::string json = codec::to_json(event);
    const Event back = codec::event_from_json(json);
    INFO(json);
    CHECK(codec::same(event, back));
    REQUIRE(std::holds_alternative<Alternative>(back.what));
    CHECK(codec::same(std::get<Alternative>(event.what), std::get<Alternative>(back.what)));
    CHECK(codec::to_json(back) == json);
}

template <std::size_t... i>
void check_every_event(std::index_sequence<i...>) {
    (check_event_round_trip<std::variant_alternative_t<i, What>>(), ...);
}

}  // namespace

TEST_SUITE("codec") {
    TEST_CASE("a rollout with every field set comes back the same") {
        const auto rollout = filled<Rollout>();
        check_all_set(rollout);
        check_all_set(rollout.ledger);
        check_all_set(rollout.ledger.hold);
        check_all_set(rollout.ledger.streams.front());
        check_all_set(*rollout.ledger.waiting);
        check_all_set(rollout.triggers.at("errors").last);
        const std::string json = codec::to_json(rollout);
        const Rollout back = codec::rollout_from_json(json);
        CHECK(codec::same(rollout, back));
        CHECK(codec::to_json(back) == json);
    }

    TEST_CASE("every event comes back the same, whatever happened") {
        check_every_event(std::make_index_sequence<std::variant_size_v<What>>{});
    }

    TEST_CASE("a notice and a journal entry come back the same") {
        const auto notice = filled<Notice>();
        check_all_set(notice);
        CHECK(codec::same(notice, codec::notice_from_json(codec::to_json(notice))));

        auto entry = filled<JournalEntry>();
        entry.event = filled<Event>();
        entry.event.what = filled<event::Looked>();
        const JournalEntry back = codec::journal_entry_from_json(codec::to_json(entry));
        CHECK(codec::same(entry, back));
        CHECK(codec::to_json(entry.event) == codec::to_json(back.event));
    }

    TEST_CASE("a rollout with nothing in it is an empty object, and a missing field its default") {
        CHECK(codec::to_json(Rollout{}) == "{}");
        CHECK(codec::same(Rollout{}, codec::rollout_from_json("{}")));
        CHECK(
            codec::rollout_from_json(R"({"ledger":{"streams":[{}]}})").ledger.streams[0].ln_r[0] ==
            -infinity);
    }

    TEST_CASE("every evidence value comes back bit for bit") {
        Rollout rollout;
        Stream stream;
        std::mt19937_64 random(20260111);
        const auto survives = [&](double value) {
            stream.ln_r[3] = value;
            rollout.ledger.streams = {stream};
            rollout.ledger.ln_c = value;
            const Rollout back = codec::rollout_from_json(codec::to_json(rollout));
            return codec::same(back.ledger.ln_c, value) &&
                   codec::same(back.ledger.streams[0].ln_r, stream.ln_r);
        };
        for (const double value :
             {infinity, -infinity, 0.0, -0.0, 0.1, -708.3964185322641, 1e308, 5e-324}) {
            INFO(value);
            CHECK(survives(value));
        }
        int kept = 0;
        for (int i = 0; i < 2'000; ++i) {
            const double value = std::bit_cast<double>(random());
            if (std::isnan(value) || survives(value)) ++kept;
        }
        CHECK(kept == 2'000);
    }

    TEST_CASE("NaN is neither written nor read") {
        Rollout rollout;
        rollout.ln_m = std::numeric_limits<double>::quiet_NaN();
        CHECK_THROWS_AS(static_cast<void>(codec::to_json(rollout)), std::logic_error);
        CHECK(refusal(R"({"ln_m":"nan"})") == "state.ln_m: \"nan\" is not a number");
        CHECK(refusal(R"({"ledger":{"streams":[{},{"guard":"0;0;0;nan;0;0;0;0;0;0"}]}})") ==
              "state.ledger.streams[1].guard: \"nan\" is not a number");
    }

    TEST_CASE("what cannot be read is named by its field") {
        CHECK(refusal(R"({"status":"healthy"})") ==
              "state.status: \"healthy\" is not one of its words");
        CHECK(refusal(R"({"step":-1})") == "state.step: -1 is negative");
        CHECK(refusal(R"({"overrides":3000000000})") ==
              "state.overrides: 3000000000 is out of range");
        CHECK(refusal(R"({"revision":1.5})") == "state.revision: is not a 64-bit whole number");
        CHECK(refusal(R"({"id":null})") == "state.id: is not a text");
        CHECK(refusal(R"({"holds":[{"since":"noon"}]})") ==
              "state.holds[0].since: is not a 64-bit whole number");
        CHECK(refusal(R"({"uncounted":[1,2]})") == "state.uncounted: has 2 elements, not 6");
        CHECK(refusal(R"({"segments":[{"users":["xyz"]}]})") ==
              "state.segments[0].users: \"xyz\" is not a hash");
        CHECK(refusal(R"({"ledger":{"streams":[{"ln_r":"1;2"}]}})") ==
              "state.ledger.streams[0].ln_r: does not hold 10 numbers");
        CHECK(refusal(R"({"triggers":{"errors":{"last":{"value":7}}}})") ==
              "state.triggers.errors.last.value: is not a text");
        CHECK(refusal("[]") == "state: is not an object");
        CHECK(refusal("{").starts_with("state: is not JSON"));
        CHECK(refusal(std::string(100'000, '[')).starts_with("state: is not JSON"));
    }

    TEST_CASE("an unknown field is refused by name, unless it begins with x-") {
        CHECK(refusal(R"({"ledger":{"latch":true}})") ==
              "state.ledger.latch: is a field that this version does not know");
        CHECK(refusal(R"({"x-note":"kept by hand","id":"a-1"})") == "accepted");
        CHECK_THROWS_WITH(static_cast<void>(codec::event_from_json(R"({"what":"explode"})")),
                          "event.what: \"explode\" is no event");
        CHECK_THROWS_WITH(
            static_cast<void>(codec::event_from_json(R"({"what":"pause","duration":5})")),
            "event.duration: is a field that this version does not know");
        CHECK_THROWS_WITH(static_cast<void>(codec::event_from_json("{}")),
                          "event: has no \"what\"");
    }

    TEST_CASE("the words on disk do not change: old journals are read for ever") {
        Event event;
        event.at = TimePoint(Duration(1'768'122'000'000));
        event.by = "maria";
        event.role = "operator";
        event.what = event::Extend{std::chrono::hours(2), "wait for the weekly report"};
        CHECK(codec::to_json(event) ==
              R"({"at":1768122000000,"by":"maria","role":"operator","what":"extend",)"
              R"("duration":7200000,"reason":"wait for the weekly report"})");

        Look look;
        look.to = TimePoint(Duration(300'000));
        Tally tally;
        tally.who = Population::baseline;
        tally.events = {Count{3, {{7, 2}}}};
        tally.new_users = {0xfedcba9876543210U};
        look.on_time = {tally};
        event.what = event::Looked{look};
        CHECK(codec::to_json(event) ==
              R"({"at":1768122000000,"by":"maria","role":"operator","what":"looked","look":)"
              R"({"to":300000,"on_time":[{"who":"baseline","events":[{"raw":3,"first":)"
              R"([{"block":7,"failures":2}]}],"new_users":["fedcba9876543210"]}]}})");

        Rollout rollout;
        rollout.status = Status::rolled_back;
        rollout.ledger.streams.resize(1);
        rollout.ledger.streams[0].guard[9] = 0.5;
        CHECK(codec::to_json(rollout) == R"({"status":"rolled_back","ledger":{"streams":[)"
                                         R"({"guard":"0;0;0;0;0;0;0;0;0;0.5"}]}})");
    }

    TEST_CASE("a ledger without comparisons is stored as it was before there were any") {
        Policy policy;
        policy.baseline = {"old"};
        policy.criteria = {{"errors", "error_rate", {}, 0.01}};
        Rollout rollout;
        rollout.ledger = new_ledger(policy);
        CHECK(codec::to_json(rollout) == R"({"ledger":{"streams":[{}]}})");
        policy.criteria.push_back({"worse", "error_rate", {}, 0, Margin{1.2, 0.001}, Action::hold});
        rollout.ledger = new_ledger(policy);
        CHECK(codec::to_json(rollout) == R"({"ledger":{"streams":[{}],"hold":{"streams":[{}]}}})");
    }

    TEST_CASE("text that is not UTF-8 is stored with its broken bytes replaced") {
        CHECK(codec::valid_utf8("caf\xC3\xA9 \xF0\x9F\x90\xA6") == "caf\xC3\xA9 \xF0\x9F\x90\xA6");
        CHECK(codec::valid_utf8("a\xFFz") == "a\xEF\xBF\xBDz");
        CHECK(codec::valid_utf8("\xED\xA0\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
        CHECK(codec::valid_utf8("\xC0\xAF") == "\xEF\xBF\xBD\xEF\xBF\xBD");
        CHECK(codec::valid_utf8("\xF4\x90\x80\x80").size() == 12);
        CHECK(codec::valid_utf8("\xE2\x82") == "\xEF\xBF\xBD\xEF\xBF\xBD");

        Event event;
        event.what = event::Pause{std::string("bytes \xFE and a NUL \0 end", 22)};
        const Event back = codec::event_from_json(codec::to_json(event));
        CHECK(std::get<event::Pause>(back.what).reason ==
              std::string("bytes \xEF\xBF\xBD and a NUL \0 end", 24));
        CHECK(codec::to_json(back) == codec::to_json(event));
    }

    TEST_CASE("no two entries have the same input to the chain") {
        const std::string entry = codec::chain_input("p", "a-1", 7, "{}", "why", false, "s");
        CHECK(entry == "1:p,3:a-1,1:7,2:{},3:why,4:done,1:s,");
        CHECK(entry != codec::chain_input("p", "a-1", 7, "{}", "why", true, "s"));
        CHECK(codec::chain_input("p", "a-1", 11, "{}", "", false, "") !=
              codec::chain_input("p", "a-11", 1, "{}", "", false, ""));
    }
}
