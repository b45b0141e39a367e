// What pages are drawn with: ink, labelled sentences, tables, and the numbers they share. Core
// only.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "canaryd/text.hpp"

namespace canaryd::text {

enum class Ink { plain, green, yellow, red, dim };
/// `words` in that colour, or as they are on paper without colours.
std::string inked(const Paper& paper, Ink ink, const std::string& words);

/// Reasons, error texts and names come from outside: a control character, a bidi control or a byte
/// that is no UTF-8 becomes "?", so that no text moves the cursor or forges a line of the page.
std::string clean(std::string_view text);
/// Columns on a terminal, one a character.
int columns(std::string_view text);
/// Cut to `width` columns; what was cut is shown as "..".
std::string cut(const std::string& text, int width);

/// "Bake     words", wrapped under the words; with its newline. Cleans.
std::string labelled(std::string_view label, std::string_view words, const Paper& paper);
/// The same without a label: a line that continues the one above.
std::string continued(std::string_view words, const Paper& paper);

/// Columns of text, aligned; two spaces between them.
class Table {
public:
    /// One letter a column: l or r.
    explicit Table(std::string alignment) : alignment_(std::move(alignment)) {}
    /// Stands over the first columns of the first row; leave their cells empty there.
    void title(std::string words) { title_ = std::move(words); }
    void row(std::vector<std::string> cells);
    [[nodiscard]] bool empty() const { return rows_.empty(); }
    /// With its newlines. Too wide: the first column is cut, then the last.
    [[nodiscard]] std::string draw(const Paper& paper) const;

private:
    std::string alignment_;
    std::string title_;
    std::vector<std::vector<std::string>> rows_;
};

/// The ledger is one of this policy.
bool fits(const Policy& policy, const Ledger& ledger);
/// findings_of(), or nothing where the ledger is not (yet) one of the policy.
std::vector<Finding> findings(const View& view);
/// comparisons_of(), or nothing where the ledger is not (yet) one of the policy.
std::vector<Comparison> comparisons(const View& view);
/// "12 of 126 requests failed (9.52 %), legacy 3 of 1,134 (0.26 %)".
std::string compared_counts(const Policy& policy, const Comparison& one);
/// "Against legacy: errors-vs-legacy (x1.2 + 0.1 pp) not proven worse"; empty: nothing is compared.
std::string comparison_words(const View& view);
/// The finding of a criterion's limit in a scope; nullptr: none.
const Finding* find(const std::vector<Finding>& findings, const std::string& criterion,
                    const std::string& segment);
/// The one with the most harm in it; nullptr: none has any.
const Finding* worst(const std::vector<Finding>& findings);
/// Share of the baseline's requests at this step with the signal; nullopt: none were seen.
std::optional<double> baseline_rate(const View& view, std::size_t signal);
/// Place of the criterion's limit in limits_of(); nullopt for one that compares with the baseline.
std::optional<std::size_t> limit_of(const Policy& policy, const Criterion& criterion);
/// "errors, agent rides".
std::string stream_words(const Policy& policy, const Finding& finding);
/// "12 of 126 requests failed (9.52 %)".
std::string counts_words(const Policy& policy, const Finding& finding);
/// Of a rollout that was rolled back: on legacy since when, or why not all of them yet.
std::string who_is_back(const View& view);
/// "week4, step 1 of 3".
std::string step_words(const View& view);
/// "40m blind, 2h paused"; empty: nothing was lost.
std::string uncounted_words(const Rollout& rollout);
/// "errors 0.38 % (proven below 0.49 %, limit 1 %; legacy 0.41 %)", criterion by criterion.
std::vector<std::string> criteria_words(const View& view);
/// The agents that were not seen enough to promote.
std::vector<std::string> unseen_segments(const View& view);

/// A trigger in one scope, as it stands.
struct Armed {
    const Trigger* trigger = nullptr;
    const TriggerState* state = nullptr;
    std::string segment;
    bool fired = false;    // as often as needed
    double closeness = 0;  // 1: at its threshold; floors do not count
};
std::vector<Armed> armed(const View& view);
const Armed* closest(const std::vector<Armed>& all);

/// "once in 180 rollouts", rounded down: M >= m has a chance of at most 1/m under what it tests
/// (Ville; analysis 1).
std::string once_in(double ln_m);
/// " If the true rate were at the limit, … would be seen once in 180 rollouts.", and what is
/// missing to prove a limit; with a space in front, or empty.
std::string finding_odds(const View& view, const Finding& finding);
/// "If the next requests all failed, 5 of different users would roll back."; empty: it would not,
/// or nothing is running. judge() itself is asked.
std::string what_it_takes(const View& view);

// The pages of a policy: text_policy.cpp, text_fields.cpp.
inline constexpr int page_width = 80;
/// "failed requests (errors and timeouts)"
std::string event_words(const Criterion& criterion);
/// Every field and its value, a line each; nothing is cut.
std::string every_field(const Policy& policy);

// The parts of a page: text_status.cpp, text_tables.cpp, text_over.cpp.
std::string over_page(const View& view, const Paper& paper);
std::string heading(const View& view, const Paper& paper);
/// way_back() as a block of a page; empty with it.
std::string way_back_lines(const View& view);
std::string footing(const View& view, const Paper& paper);
std::string criteria_table(const View& view, const std::vector<Finding>& found, const Paper& paper);
std::string segment_table(const View& view, const std::vector<Finding>& found, const Paper& paper);
/// Notices that are owed, remarks of the newest look.
std::string asides(const View& view, const Paper& paper);

}  // namespace canaryd::text
