// One YAML mapping being read: typed getters, and every problem with its place and its mend.
//
// read_yaml() turns a hostile text into plain values: no aliases, bounded size, depth and number of
// nodes, no duplicate keys, one document. Fields then reads one mapping. A getter returns nullopt
// when the field is absent (the default applies) and also when it is wrong (the problem is noted),
// so that reading goes on and the operator sees all mistakes of a file at once.
//
//     Fields fields(root, "", problems);
//     fields.require({"bake"});
//     assign(step.bake, fields.duration("bake", {.min = 1ms, .like = "7d"}));
//     fields.done();  // after every getter: what nobody asked for is an unknown field
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "canaryd/policy.hpp"
#include "daemon/units.hpp"

namespace canaryd {

/// 1-based, the column in characters; line 0: the file as a whole.
struct Place {
    int line = 0;
    int column = 0;
};

/// The mistakes of one file.
class Problems {
public:
    explicit Problems(std::string file) : file_(std::move(file)) {}
    void add(Place at, std::string field, std::string message);
    [[nodiscard]] bool empty() const { return found_.empty(); }
    [[nodiscard]] std::vector<Problem> in_file_order() const;

private:
    std::string file_;
    std::vector<Problem> found_;
};

/// A value of the file.
struct Yaml {
    enum class Kind {
        empty,
        scalar,
        list,
        mapping,
        broken  // its problem is noted already: getters pass over it in silence
    };
    struct Key {
        std::string text;
        Place at;
    };
    Kind kind = Kind::empty;
    Place at;
    std::string text;         // scalar
    std::vector<Key> keys;    // mapping: keys[i] names items[i]
    std::vector<Yaml> items;  // list, mapping
};

/// The file's one document. On a fault that hides the rest (size, depth, syntax) the root is
/// broken; other faults are noted and what can be read is read. A file without any value is empty.
Yaml read_yaml(std::string_view text, Problems& problems);

/// A scalar with its place, for checks that span several fields.
struct Text {
    std::string value;
    Place at;
    std::string path;
};

struct DurationRule {
    Duration min{0};
    Duration max = longest_duration;
    std::string_view unit = "m";  // offered when none is written
};
struct WholeRule {
    std::int64_t min = 0;
    std::int64_t max = 1'000'000'000;
};
struct TextRule {
    bool (*fits)(std::string_view) = nullptr;  // nullptr: any text
    std::string_view mend = {};                // said when it does not fit
    std::size_t longest = 200;
    bool lines = false;   // more than one line
    bool secret = false;  // could be one: never shown in a problem
};

class Fields {
public:
    /// `value` and `problems` outlive this. A value that is no mapping is noted and reads as empty.
    Fields(const Yaml& value, std::string path, Problems& problems);

    /// Notes each of these that is absent.
    void require(std::initializer_list<std::string_view> names);
    /// Names that may stand here, whether or not a getter will ask for them.
    void known(std::initializer_list<std::string_view> names);
    /// Words of later work: refused by name, so that nobody believes they act.
    void later(std::initializer_list<std::string_view> names);
    /// Notes fields that nobody asked for.
    void done();

    /// Written at all, be it well or badly.
    [[nodiscard]] bool has(std::string_view name) const;
    std::optional<std::string> text(std::string_view name, const TextRule& rule = {});
    std::optional<Text> text_at(std::string_view name, const TextRule& rule = {});
    /// One of `words`; `later` are refused as not yet supported.
    std::optional<std::string> word(std::string_view name, const std::vector<std::string>& words,
                                    const std::vector<std::string>& later = {});
    std::optional<Duration> duration(std::string_view name, const DurationRule& rule = {});
    std::optional<Share> share(std::string_view name);
    std::optional<Weight> weight(std::string_view name);
    std::optional<double> number(std::string_view name);
    std::optional<std::int64_t> whole(std::string_view name, const WholeRule& rule = {});
    std::optional<bool> boolean(std::string_view name);
    /// A list of different texts. Here and below, an empty list is noted when `if_empty` says why
    /// it must not be.
    std::vector<Text> texts(std::string_view name, const TextRule& rule = {},
                            std::string_view if_empty = {});
    /// The same, and a single text is a list of one.
    std::vector<Text> one_or_many(std::string_view name, const TextRule& rule = {});
    std::optional<Fields> mapping(std::string_view name);
    std::vector<Fields> mappings(std::string_view name, std::string_view if_empty = {});
    /// A mapping from names of the operator's own to mappings.
    std::vector<std::pair<Text, Fields>> named(std::string_view name, const TextRule& rule = {},
                                               std::string_view if_empty = {});
    /// True when the field holds one scalar, false when it holds a list or a mapping.
    [[nodiscard]] bool is_scalar(std::string_view name) const;

    /// Where the field's value stands, else its key, else the mapping.
    [[nodiscard]] Place place(std::string_view name) const;
    [[nodiscard]] Place key_place(std::string_view name) const;
    [[nodiscard]] Place place() const { return at_; }
    [[nodiscard]] std::string path(std::string_view name) const;
    [[nodiscard]] const std::string& path() const { return path_; }
    /// The field's value as it stands in the file, in quotes.
    [[nodiscard]] std::string written(std::string_view name) const;
    /// The same without quotes; empty when it is no scalar.
    [[nodiscard]] std::string raw(std::string_view name) const;
    /// Notes a problem at a field, or at the mapping itself.
    void problem(std::string_view name, const std::string& message);
    void problem(const std::string& message);

private:
    [[nodiscard]] const Yaml* find(std::string_view name) const;
    const Yaml* ask(std::string_view name);
    std::optional<Text> scalar(std::string_view name, std::string_view due);
    std::optional<Text> text_of(const Yaml& value, std::string path, const TextRule& rule);

    const Yaml* mapping_;  // nullptr: not a mapping
    Place at_;
    std::string path_;
    Problems* problems_;
    std::vector<std::string> known_;    // asked for: offered as the mend of an unknown one
    std::vector<std::string> refused_;  // of later work
};

/// Keeps the default when nothing was read.
template <class T, class U>
void assign(T& into, std::optional<U> value) {
    if (value) into = *std::move(value);
}

}  // namespace canaryd
