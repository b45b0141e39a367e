#include "daemon/fields.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <set>
#include <sstream>

namespace canaryd {
namespace {

constexpr std::size_t most_bytes = 256 * 1024;
constexpr std::size_t most_nodes = 10'000;
constexpr std::size_t most_depth = 32;

/// Ends reading at once: what follows could cost too much or mean anything.
struct Unreadable {};

/// Bytes that do nothing in a name but fool a terminal or a log: controls and direction marks.
bool has_control(std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = [&](std::size_t at) {
            return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
        };
        const unsigned first = byte(i), second = byte(i + 1), third = byte(i + 2);
        if ((first < 0x20 && first != '\n' && first != '\t') || first == 0x7F) return true;
        if (first == 0xC2 && second < 0xA0) return true;
        if (first != 0xE2) continue;
        if (second == 0x80 && (third == 0x8E || third == 0x8F || (third >= 0xAA && third <= 0xAE)))
            return true;
        if (second == 0x81 && third >= 0xA6 && third <= 0xA9) return true;
    }
    return false;
}

/// yaml-cpp counts bytes from 0; people count characters from 1.
class Lines {
public:
    explicit Lines(std::string_view text) : text_(text) {
        for (std::size_t i = 0; i < text.size(); ++i) {
            const bool begins = (static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U;
            characters_.push_back(characters_.back() + (begins ? 1 : 0));
            if (text[i] == '\n') starts_.push_back(i + 1);
        }
    }
    [[nodiscard]] std::size_t offset(const YAML::Mark& mark) const {
        if (mark.line < 0 || static_cast<std::size_t>(mark.line) >= starts_.size()) {
            return text_.size();
        }
        const std::size_t start = starts_[static_cast<std::size_t>(mark.line)];
        return std::min(text_.size(), start + static_cast<std::size_t>(std::max(0, mark.column)));
    }
    [[nodiscard]] Place place(std::size_t offset) const {
        const auto after = std::upper_bound(starts_.begin(), starts_.end(), offset);
        const std::size_t start = *(after - 1);
        return {static_cast<int>(after - starts_.begin()),
                characters_[offset] - characters_[start] + 1};
    }
    [[nodiscard]] Place place(const YAML::Mark& mark) const { return place(offset(mark)); }
    /// Whether the quoted text that begins here ends: yaml-cpp does not ask.
    [[nodiscard]] bool quote_closed(std::size_t offset) const {
        const char quote = offset < text_.size() ? text_[offset] : '\0';
        if (quote != '"' && quote != '\'') return true;
        for (std::size_t i = offset + 1; i < text_.size(); ++i) {
            if (quote == '"' && text_[i] == '\\') {
                ++i;
            } else if (text_[i] == quote) {
                if (quote == '"' || i + 1 >= text_.size() || text_[i + 1] != quote) return true;
                ++i;
            }
        }
        return false;
    }

private:
    std::string_view text_;
    std::vector<std::size_t> starts_{0};  // of each line
    std::vector<int> characters_{0};      // before each byte
};

/// Builds values out of yaml-cpp's events, so that no alias is ever followed.
class Builder : public YAML::EventHandler {
public:
    Builder(const Lines& lines, Problems& problems) : lines_(lines), problems_(problems) {}
    [[nodiscard]] Yaml take() { return std::move(root_); }
    /// Where the innermost list or mapping began that is still open.
    [[nodiscard]] std::optional<Place> open_since() const {
        if (open_.empty()) return std::nullopt;
        return open_.back().value.at;
    }

    void OnDocumentStart(const YAML::Mark& mark) override {
        if (!begun_) {
            begun_ = true;
            return;
        }
        problems_.add(lines_.place(mark), "",
                      "a second document begins here; one file holds one: remove what does not "
                      "belong, or indent it");
        throw Unreadable{};
    }
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        // The mark is that of the next token, so that a list's empty item is shown at the list.
        Yaml value;
        value.at = open_.empty() ? lines_.place(mark) : open_.back().value.at;
        refuse_anchor(value.at, anchor);
        put(std::move(value));
    }
    void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
        Yaml value;
        value.kind = Yaml::Kind::broken;
        value.at = lines_.place(mark);
        problems_.add(value.at, path(), "aliases (*) are refused; write the value here in full");
        put(std::move(value));
    }
    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& text) override {
        Yaml value;
        value.kind = Yaml::Kind::scalar;
        value.at = lines_.place(mark);
        value.text = text;
        refuse_anchor(value.at, anchor);
        refuse_tag(value.at, tag);
        if (tag == "!" && !lines_.quote_closed(lines_.offset(mark))) {
            problems_.add(value.at, path(), "the quote that begins here is not closed; close it");
            throw Unreadable{};
        }
        if (has_control(text)) {
            problems_.add(value.at, path(), "has a control character in it; remove it");
            value.kind = Yaml::Kind::broken;
        }
        put(std::move(value));
    }
    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) override {
        open(Yaml::Kind::list, mark, tag, anchor);
    }
    void OnSequenceEnd() override { close(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value) override {
        open(Yaml::Kind::mapping, mark, tag, anchor);
    }
    void OnMapEnd() override { close(); }

private:
    struct Open {
        Yaml value;
        std::optional<Yaml::Key> key;  // mapping: read, its value not yet
        bool keep = true;              // whether that value is wanted
        std::set<std::string> seen;
    };

    void open(Yaml::Kind kind, const YAML::Mark& mark, const std::string& tag,
              YAML::anchor_t anchor) {
        Open next;
        next.value.kind = kind;
        next.value.at = lines_.place(mark);
        refuse_anchor(next.value.at, anchor);
        refuse_tag(next.value.at, tag);
        if (open_.size() == most_depth) {
            problems_.add(
                next.value.at, "",
                "nested deeper than " + std::to_string(most_depth) + " levels; write it flat");
            throw Unreadable{};
        }
        open_.push_back(std::move(next));
    }
    void close() {
        Yaml value = std::move(open_.back().value);
        open_.pop_back();
        put(std::move(value));
    }
    void put(Yaml value) {
        if (++nodes_ > most_nodes) {
            problems_.add(value.at, "",
                          "more than " + std::to_string(most_nodes) + " values; make it smaller");
            throw Unreadable{};
        }
        if (open_.empty()) {
            root_ = std::move(value);
            return;
        }
        Open& parent = open_.back();
        if (parent.value.kind == Yaml::Kind::list) {
            parent.value.items.push_back(std::move(value));
        } else if (!parent.key) {
            begin_entry(parent, value);
        } else {
            if (parent.keep) {
                parent.value.keys.push_back(*std::move(parent.key));
                parent.value.items.push_back(std::move(value));
            }
            parent.key.reset();
        }
    }
    void begin_entry(Open& parent, const Yaml& key) {
        parent.key = Yaml::Key{key.text, key.at};
        parent.keep = false;
        if (key.kind == Yaml::Kind::broken) return;
        if (key.kind != Yaml::Kind::scalar || key.text.empty()) {
            problems_.add(key.at, path(),
                          "a field's name is missing before the ':'; write one word");
        } else if (key.text == "<<") {
            problems_.add(key.at, path(), "merge keys (<<) are refused; write the fields in full");
        } else if (!parent.seen.insert(key.text).second) {
            problems_.add(key.at, path(), "written twice; remove one");
        } else {
            parent.keep = true;
        }
    }

    void refuse_anchor(Place at, YAML::anchor_t anchor) {
        if (anchor != YAML::NullAnchor) {
            problems_.add(at, path(), "anchors (&) are refused; remove it");
        }
    }
    void refuse_tag(Place at, const std::string& tag) {
        // "?" is a plain value, "!" a quoted one.
        if (tag.empty() || tag == "?" || tag == "!") return;
        constexpr std::string_view standard = "tag:yaml.org,2002:";
        const std::string written =
            tag.starts_with(standard) ? "!!" + tag.substr(standard.size()) : tag;
        problems_.add(at, path(), "tags (" + shortened(written) + ") are refused; remove it");
    }
    /// Where reading is: "steps[1].bake".
    [[nodiscard]] std::string path() const {
        std::string path;
        for (const Open& level : open_) {
            if (level.value.kind == Yaml::Kind::list) {
                path += "[" + std::to_string(level.value.items.size()) + "]";
            } else if (level.key) {
                path += (path.empty() ? "" : ".") + shortened(level.key->text);
            }
        }
        return path;
    }

    const Lines& lines_;
    Problems& problems_;
    bool begun_ = false;
    std::size_t nodes_ = 0;
    std::vector<Open> open_;
    Yaml root_;
};

/// yaml-cpp's words, and what an operator did.
std::string syntax_fault(const std::string& words) {
    struct Meaning {
        std::string_view words, ours;
    };
    static constexpr std::array<Meaning, 11> meanings{{
        {"illegal block entry",
         "a '- ' does not fit here; put each entry on a line of its own, and indent by spaces, not "
         "tabs"},
        {"illegal EOF in scalar", "a quote is not closed before the end of the file; close it"},
        {"illegal map value",
         "a ':' does not fit here; put a value that holds ': ' in quotes, and "
         "indent by spaces, not tabs"},
        {"end of map not found",
         "this does not belong to the fields above; check its indentation, "
         "and put a value with special characters in quotes"},
        {"end of sequence not found",
         "this does not belong to the list above; check its "
         "indentation, and put special characters in quotes"},
        {"end of map flow not found", "the '{' that begins here is not closed; add '}'"},
        {"end of sequence flow not found", "the '[' that begins here is not closed; add ']'"},
        {"illegal flow end", "a ']' or '}' closes nothing; remove it, or put the value in quotes"},
        {"unexpected character in block scalar",
         "'>' and '|' begin a block of text in YAML; write `above: 5%` or `below: 5%`, or use "
         "quotes"},
        {"unknown token", "a value cannot begin with this character; put it in quotes"},
        {"the referenced anchor is not defined",
         "aliases (*) are refused; put a value that begins "
         "with '*' in quotes"},
    }};
    for (const Meaning& meaning : meanings) {
        if (words.find(meaning.words) != std::string::npos) return std::string(meaning.ours);
    }
    return "this is not YAML (" + words + "); put special characters in quotes";
}

/// What no parser has to see. Notes the problem and returns false.
bool readable(std::string_view text, const Lines& lines, Problems& problems) {
    if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
        problems.add(lines.place(nul), "", "has a NUL byte in it; write plain UTF-8 text");
        return false;
    }
    const std::size_t good = valid_utf8_bytes(text);
    if (good == text.size()) return true;
    problems.add(lines.place(good), "", "a byte here is not UTF-8; save the file as UTF-8");
    return false;
}

}  // namespace

Yaml read_yaml(std::string_view text, Problems& problems) {
    Yaml broken;
    broken.kind = Yaml::Kind::broken;
    if (text.size() > most_bytes) {
        problems.add({}, "", "larger than 256 KiB; a file like this is a few KiB");
        return broken;
    }
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    const Lines lines(text);
    if (!readable(text, lines, problems)) return broken;
    Builder builder(lines, problems);
    try {
        std::istringstream stream{std::string(text)};
        YAML::Parser parser(stream);
        while (parser.HandleNextDocument(builder)) {
        }
        return builder.take();
    } catch (const Unreadable&) {
    } catch (const YAML::Exception& error) {
        const bool unclosed = error.msg.find("flow not found") != std::string::npos;
        const auto open = builder.open_since();
        problems.add(unclosed && open ? *open : lines.place(error.mark), "",
                     syntax_fault(error.msg));
    }
    return broken;
}

}  // namespace canaryd
