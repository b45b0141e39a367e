#include <algorithm>
#include <set>

#include "daemon/fields.hpp"

namespace canaryd {
namespace {

std::string shown(const Yaml& value) {
    switch (value.kind) {
        case Yaml::Kind::empty:
            return "nothing";
        case Yaml::Kind::list:
            return "a list";
        case Yaml::Kind::mapping:
            return "a mapping";
        case Yaml::Kind::scalar:
        case Yaml::Kind::broken:
            break;
    }
    return as_written(value.text);
}

bool contains(const std::vector<std::string>& words, std::string_view word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

std::string joined(const std::vector<std::string>& words, std::string_view last) {
    std::string text;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (i > 0) text += i + 1 < words.size() ? ", " : last;
        text += words[i];
    }
    return text;
}

}  // namespace

void Problems::add(Place at, std::string field, std::string message) {
    found_.push_back({file_, at.line, at.column, std::move(field), std::move(message)});
}

std::vector<Problem> Problems::in_file_order() const {
    std::vector<Problem> sorted = found_;
    std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
        return std::pair(a.line, a.column) < std::pair(b.line, b.column);
    });
    return sorted;
}

Fields::Fields(const Yaml& value, std::string path, Problems& problems)
    : mapping_(value.kind == Yaml::Kind::mapping ? &value : nullptr),
      at_(value.at),
      path_(std::move(path)),
      problems_(&problems) {
    if (mapping_ == nullptr && value.kind != Yaml::Kind::broken) {
        problem(shown(value) + " where fields are due; write `name: value` pairs");
    }
}

void Fields::require(std::initializer_list<std::string_view> names) {
    if (mapping_ == nullptr) return;  // that is said already
    for (const std::string_view name : names) {
        if (!has(name)) problem(name, "is missing and has no default; add it");
    }
}

void Fields::known(std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) {
        if (!contains(known_, name)) known_.emplace_back(name);
    }
}

void Fields::later(std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) {
        refused_.emplace_back(name);
        if (has(name)) problems_->add(key_place(name), path(name), "not supported yet; remove it");
    }
}

void Fields::done() {
    if (mapping_ == nullptr) return;
    for (const Yaml::Key& key : mapping_->keys) {
        if (contains(known_, key.text) || contains(refused_, key.text)) continue;
        const std::string near = nearest(key.text, known_);
        std::string mend = "remove it";
        if (!near.empty()) {
            mend = "did you mean \"" + near + "\"?";
        } else if (known_.size() <= 12) {
            mend = "the fields here are " + joined(known_, " and ");
        }
        problems_->add(key.at, path(key.text), "unknown field; " + mend);
    }
}

bool Fields::has(std::string_view name) const {
    return find(name) != nullptr;
}

bool Fields::is_scalar(std::string_view name) const {
    const Yaml* value = find(name);
    return value != nullptr && value->kind == Yaml::Kind::scalar;
}

std::string Fields::raw(std::string_view name) const {
    return is_scalar(name) ? find(name)->text : std::string{};
}

std::string Fields::written(std::string_view name) const {
    const Yaml* value = find(name);
    return value == nullptr ? "nothing" : shown(*value);
}

Place Fields::key_place(std::string_view name) const {
    if (mapping_ == nullptr) return at_;
    const auto& keys = mapping_->keys;
    const auto key = std::find_if(keys.begin(), keys.end(),
                                  [&](const Yaml::Key& other) { return other.text == name; });
    return key == keys.end() ? at_ : key->at;
}

Place Fields::place(std::string_view name) const {
    const Yaml* value = find(name);
    if (value == nullptr || value->kind == Yaml::Kind::empty) return key_place(name);
    return value->at;
}

std::string Fields::path(std::string_view name) const {
    return path_ + (path_.empty() ? "" : ".") + shortened(name);
}

void Fields::problem(std::string_view name, const std::string& message) {
    problems_->add(place(name), path(name), message);
}

void Fields::problem(const std::string& message) {
    problems_->add(at_, path_, message);
}

const Yaml* Fields::find(std::string_view name) const {
    if (mapping_ == nullptr) return nullptr;
    for (std::size_t i = 0; i < mapping_->keys.size(); ++i) {
        if (mapping_->keys[i].text == name) return &mapping_->items[i];
    }
    return nullptr;
}

/// nullptr: absent, empty or broken; an empty one is noted here.
const Yaml* Fields::ask(std::string_view name) {
    known({name});
    const Yaml* value = find(name);
    if (value == nullptr || value->kind == Yaml::Kind::broken) return nullptr;
    if (value->kind != Yaml::Kind::empty) return value;
    problem(name, "has no value; write one or remove the line");
    return nullptr;
}

std::optional<Text> Fields::scalar(std::string_view name, std::string_view due) {
    const Yaml* value = ask(name);
    if (value == nullptr) return std::nullopt;
    if (value->kind == Yaml::Kind::scalar) return Text{value->text, value->at, path(name)};
    problem(name, shown(*value) + " where one value is due; write " + std::string(due));
    return std::nullopt;
}

std::optional<Text> Fields::text_of(const Yaml& value, std::string path, const TextRule& rule) {
    if (value.kind == Yaml::Kind::broken) return std::nullopt;
    const std::string seen = rule.secret ? "this" : shown(value);
    const auto refuse = [&](const std::string& why) {
        problems_->add(value.at, std::move(path), seen + " " + why);
        return std::nullopt;
    };
    if (value.kind != Yaml::Kind::scalar) return refuse("where a text is due; write one");
    const std::string& text = value.text;
    if (text.empty()) return refuse("is empty; write a text");
    if (text.size() > rule.longest) {
        return refuse("is longer than " + std::to_string(rule.longest) + " bytes; shorten it");
    }
    if (!rule.lines && text.find_first_of("\n\t") != std::string::npos) {
        return refuse("has a tab or a line break in it; write it on one line");
    }
    if (!rule.lines && (text.front() == ' ' || text.back() == ' ')) {
        return refuse("begins or ends with a space; remove it");
    }
    if (rule.fits != nullptr && !rule.fits(text)) return refuse(std::string(rule.mend));
    return Text{text, value.at, std::move(path)};
}

std::optional<Text> Fields::text_at(std::string_view name, const TextRule& rule) {
    const Yaml* value = ask(name);
    if (value == nullptr) return std::nullopt;
    return text_of(*value, path(name), rule);
}

std::optional<std::string> Fields::text(std::string_view name, const TextRule& rule) {
    auto found = text_at(name, rule);
    if (!found) return std::nullopt;
    return std::move(found->value);
}

std::optional<std::string> Fields::word(std::string_view name,
                                        const std::vector<std::string>& words,
                                        const std::vector<std::string>& later) {
    const auto found = scalar(name, joined(words, " or "));
    if (!found) return std::nullopt;
    if (contains(words, found->value)) return found->value;
    if (contains(later, found->value)) {
        problem(name,
                as_written(found->value) + " is not supported yet; write " + joined(words, " or "));
        return std::nullopt;
    }
    const std::string near = nearest(found->value, words);
    problem(name, as_written(found->value) + " is not known here; " +
                      (near.empty() || words.size() == 1 ? "write " + joined(words, " or ")
                                                         : "did you mean \"" + near + "\"?"));
    return std::nullopt;
}

std::optional<Duration> Fields::duration(std::string_view name, const DurationRule& rule) {
    const auto found = scalar(name, "a duration like 15m");
    if (!found) return std::nullopt;
    const auto read = read_duration(found->value, rule.unit);
    if (!read.value) {
        problem(name, as_written(found->value) + read.fault);
    } else if (*read.value < rule.min) {
        problem(name,
                as_written(found->value) + " is too short; write at least " + as_yaml(rule.min));
    } else if (*read.value > rule.max) {
        problem(name,
                as_written(found->value) + " is too long; write at most " + as_yaml(rule.max));
    } else {
        return read.value;
    }
    return std::nullopt;
}

std::optional<Share> Fields::share(std::string_view name) {
    const auto found = scalar(name, "a percentage like 1%");
    if (!found) return std::nullopt;
    const auto read = read_share(found->value);
    if (!read.value) problem(name, as_written(found->value) + read.fault);
    return read.value;
}

std::optional<Weight> Fields::weight(std::string_view name) {
    const auto found = scalar(name, "a percentage like 10%");
    if (!found) return std::nullopt;
    const auto read = read_weight(found->value);
    if (!read.value) problem(name, as_written(found->value) + read.fault);
    return read.value;
}

std::optional<double> Fields::number(std::string_view name) {
    const auto found = scalar(name, "a number");
    if (!found) return std::nullopt;
    const auto read = read_number(found->value);
    if (!read.value) problem(name, as_written(found->value) + read.fault);
    return read.value;
}

std::optional<std::int64_t> Fields::whole(std::string_view name, const WholeRule& rule) {
    const auto found = scalar(name, "a whole number");
    if (!found) return std::nullopt;
    const auto read = read_whole(found->value);
    if (!read.value) {
        problem(name, as_written(found->value) + read.fault);
    } else if (*read.value < rule.min || *read.value > rule.max) {
        problem(name, as_written(found->value) + " is out of range; write " +
                          std::to_string(rule.min) + " to " + std::to_string(rule.max));
    } else {
        return read.value;
    }
    return std::nullopt;
}

std::optional<bool> Fields::boolean(std::string_view name) {
    const auto found = word(name, {"true", "false"});
    if (!found) return std::nullopt;
    return *found == "true";
}

std::vector<Text> Fields::texts(std::string_view name, const TextRule& rule,
                                std::string_view if_empty) {
    std::vector<Text> found;
    const Yaml* value = ask(name);
    if (value == nullptr) return found;
    if (value->kind != Yaml::Kind::list) {
        problem(name, shown(*value) + " where a list is due; write [a, b]");
        return found;
    }
    if (value->items.empty() && !if_empty.empty()) problem(name, std::string(if_empty));
    std::set<std::string> seen;
    for (std::size_t i = 0; i < value->items.size(); ++i) {
        auto text = text_of(value->items[i], path(name) + "[" + std::to_string(i) + "]", rule);
        if (!text) continue;
        if (!seen.insert(text->value).second) {
            problems_->add(text->at, text->path,
                           as_written(text->value) + " is listed twice; remove one");
        } else {
            found.push_back(*std::move(text));
        }
    }
    return found;
}

std::vector<Text> Fields::one_or_many(std::string_view name, const TextRule& rule) {
    if (!is_scalar(name)) return texts(name, rule);
    auto one = text_at(name, rule);
    return one ? std::vector<Text>{*std::move(one)} : std::vector<Text>{};
}

std::optional<Fields> Fields::mapping(std::string_view name) {
    const Yaml* value = ask(name);
    if (value == nullptr) return std::nullopt;
    return Fields(*value, path(name), *problems_);
}

std::vector<Fields> Fields::mappings(std::string_view name, std::string_view if_empty) {
    std::vector<Fields> found;
    const Yaml* value = ask(name);
    if (value == nullptr) return found;
    if (value->kind != Yaml::Kind::list) {
        problem(name, shown(*value) + " where a list is due; begin each entry with '- '");
        return found;
    }
    if (value->items.empty() && !if_empty.empty()) problem(name, std::string(if_empty));
    for (std::size_t i = 0; i < value->items.size(); ++i) {
        found.emplace_back(value->items[i], path(name) + "[" + std::to_string(i) + "]", *problems_);
    }
    return found;
}

std::vector<std::pair<Text, Fields>> Fields::named(std::string_view name, const TextRule& rule,
                                                   std::string_view if_empty) {
    std::vector<std::pair<Text, Fields>> found;
    const Yaml* value = ask(name);
    if (value == nullptr) return found;
    const Fields names(*value, path(name), *problems_);
    if (names.mapping_ == nullptr) return found;
    if (value->items.empty() && !if_empty.empty()) problem(name, std::string(if_empty));
    for (std::size_t i = 0; i < value->keys.size(); ++i) {
        Yaml key;
        key.kind = Yaml::Kind::scalar;
        key.at = value->keys[i].at;
        key.text = value->keys[i].text;
        auto text = text_of(key, names.path(key.text), rule);
        Fields fields(value->items[i], names.path(key.text), *problems_);
        if (text) found.emplace_back(*std::move(text), std::move(fields));
    }
    return found;
}

}  // namespace canaryd
