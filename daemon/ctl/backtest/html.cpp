// The page for a browser: what is read is written here, what is drawn is data for page.js.
#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <functional>
#include <map>

#include "daemon/ctl/backtest/page_parts.hpp"
#include "daemon/ctl/backtest/report.hpp"
#include "daemon/log.hpp"

namespace canaryd::backtest {
namespace {

namespace json = boost::json;

constexpr std::size_t most_points = 360;

/// Text in HTML: nothing from outside becomes markup, a control character cannot be seen.
std::string html(std::string_view text) {
    std::string out;
    for (std::size_t from = 0; from <= text.size();) {
        const std::size_t end = std::min(text.find('\n', from), text.size());
        if (from > 0) out += '\n';
        for (const char c : escaped(text.substr(from, end - from))) {
            switch (c) {
                case '&':
                    out += "&amp;";
                    break;
                case '<':
                    out += "&lt;";
                    break;
                case '>':
                    out += "&gt;";
                    break;
                case '"':
                    out += "&quot;";
                    break;
                case '\'':
                    out += "&#39;";
                    break;
                default:
                    out += c;
            }
        }
        from = end + 1;
    }
    return out;
}

/// Inside a script element no text may end it.
std::string in_script(const json::value& document) {
    std::string out;
    for (const char c : json::serialize(document)) {
        if (c == '<') {
            out += "\\u003c";
        } else {
            out += c;
        }
    }
    return out;
}

using Filled = std::map<std::string_view, std::string>;

/// The template with each {{name}} replaced once: what is filled in is not read again.
std::string fill(std::string_view page, const Filled& values) {
    std::string out;
    for (;;) {
        const std::size_t begin = page.find("{{");
        if (begin == std::string_view::npos) break;
        const std::size_t end = page.find("}}", begin);
        out += page.substr(0, begin);
        out += values.at(page.substr(begin + 2, end - begin - 2));
        page.remove_prefix(end + 2);
    }
    return out += page;
}

/// Three digits that count: a chart shows no more, and the page stays small.
double rounded(double value) {
    if (value == 0 || !std::isfinite(value)) return 0;
    const double scale = std::pow(10.0, 3 - std::ceil(std::log10(std::abs(value))));
    return std::round(value * scale) / scale;
}

std::string tone_of(Moment::Kind kind) {
    switch (kind) {
        case Moment::Kind::rolled_back:
        case Moment::Kind::alarm:
            return "bad";
        case Moment::Kind::suspicious:
        case Moment::Kind::held:
            return "warn";
        case Moment::Kind::started:
        case Moment::Kind::weight:
        case Moment::Kind::calm:
        case Moment::Kind::released:
        case Moment::Kind::other:
        case Moment::Kind::end:
            return "plain";
    }
    return "plain";
}

/// Suspicion that comes and goes would hide the rest of a chart.
bool is_marked(Moment::Kind kind) {
    return kind != Moment::Kind::calm && kind != Moment::Kind::released &&
           kind != Moment::Kind::suspicious;
}

std::string faults(const Story& story) {
    if (story.faults.empty()) {
        return "<p>No fault was injected: this is the legacy as it was recorded.</p>";
    }
    std::string list = "<ul>\n";
    for (const std::string& fault : story.faults) list += "<li>" + html(fault) + "</li>\n";
    return list + "</ul>";
}

std::string steps(const Report& report) {
    std::string table =
        "<table>\n<thead><tr><th scope=\"col\">step</th><th scope=\"col\">weight</th>"
        "<th scope=\"col\">lasted</th><th scope=\"col\" class=\"left\">criterion</th>"
        "<th scope=\"col\">canary</th><th scope=\"col\">requests</th>"
        "<th scope=\"col\">proven below</th><th scope=\"col\">legacy</th>"
        "<th scope=\"col\">limit</th></tr></thead>\n<tbody>\n";
    std::string step;
    for (const StepRow& row : steps_of(report)) {
        const bool same = row.step == step;
        step = row.step;
        const auto cell = [](const std::string& words) { return "<td>" + html(words) + "</td>"; };
        table += "<tr>" + cell(same ? "" : row.step) + cell(same ? "" : text::weight(row.weight)) +
                 cell(same ? "" : text::duration(row.lasted)) + "<td class=\"left\">" +
                 html(row.criterion) + "</td>" + cell(rate(row.events, row.requests)) +
                 cell(text::number(row.requests)) +
                 cell(row.proven_below < 1 ? text::share_up(row.proven_below) : "-") +
                 cell(rate(row.legacy_events, row.legacy_requests)) + cell(text::share(row.limit)) +
                 "</tr>\n";
    }
    return table + "</tbody>\n</table>";
}

std::string decisions(const Report& report) {
    std::string list;
    const auto& moments = report.result.moments;
    for (std::size_t i = 0; i < moments.size(); ++i) {
        const Moment& moment = moments[i];
        list += "<li id=\"decision-" + std::to_string(i) + "\"><span class=\"when\">" +
                html(since(report, moment.at)) + "<br>" + html(text::time(moment.at)) +
                "</span><span>" + html(text::weight(moment.weight)) + "</span><span><b class=\"" +
                tone_of(moment.kind) + "\">" + html(word_of(moment.kind)) +
                "</b>: " + html(moment.text) + "</span></li>\n";
    }
    return list;
}

std::string notice(const Report& report, const Told& told) {
    std::string tone = "info";
    if (told.notice.severity == Severity::warning) tone = "warning";
    if (told.notice.severity == Severity::critical) tone = "critical";
    return "<div class=\"notice " + tone + "\"><span class=\"when\">" +
           html(since(report, told.at) + ", " + text::time(told.at) + ", " +
                std::string(text::name(told.notice.kind))) +
           "</span>" + html(told.notice.text) + "</div>\n";
}

std::string notices(const Report& report) {
    std::string news, reports;
    std::int64_t count = 0;
    for (const Told& told : report.result.told) {
        if (told.notice.kind == Notice::Kind::report) {
            reports += notice(report, told);
            ++count;
        } else {
            news += notice(report, told);
        }
    }
    if (count == 0) return news;
    return news + "<details><summary>" + text::counted(count, "report", "reports") +
           " at fixed times</summary>\n" + reports + "</details>";
}

/// Neighbours together until there are no more than a chart shows; never across a weight.
std::vector<Sample> points_of(const std::vector<Sample>& samples) {
    const std::size_t group = (samples.size() + most_points - 1) / most_points;
    std::vector<Sample> points;
    std::size_t in_last = 0;
    for (const Sample& sample : samples) {
        if (!points.empty() && in_last < group && points.back().weight == sample.weight) {
            merge(points.back(), sample);
            ++in_last;
        } else {
            points.push_back(sample);
            in_last = 1;
        }
    }
    return points;
}

/// Counts of a limit in one scope, and what they prove, over time.
class ScopeData {
public:
    explicit ScopeData(std::string segment) : segment_(std::move(segment)) {}

    void add(const Sample& sample, std::size_t scope, std::size_t event) {
        for (std::size_t who = 0; who < 2; ++who) {
            n_[who].push_back(sample.sides[who].requests[scope]);
            k_[who].push_back(sample.sides[who].events[event]);
        }
    }
    void add(const Finding& finding) {
        low_.push_back(rounded(finding.bounds.lower));
        high_.push_back(rounded(finding.bounds.upper));
        harm_.push_back(rounded(finding.harm));
    }
    json::object taken() && {
        return {{"segment", segment_},          {"canary_n", std::move(n_[0])},
                {"canary_k", std::move(k_[0])}, {"legacy_n", std::move(n_[1])},
                {"legacy_k", std::move(k_[1])}, {"low", std::move(low_)},
                {"high", std::move(high_)},     {"harm", std::move(harm_)}};
    }

private:
    std::string segment_;
    std::array<json::array, 2> n_, k_;
    json::array low_, high_, harm_;
};

std::string title_of(const Criterion& criterion) {
    return criterion.signal.kind == Signal::Kind::failed
               ? criterion.name + ": failed requests"
               : criterion.name + ": requests over " + text::latency(criterion.signal.than);
}

json::array limits_json(const Report& report, const std::vector<Sample>& points) {
    const Policy& policy = report.policy;
    const std::size_t signals = replayed_signals(policy).size();
    const std::vector<Limit> limits = limits_of(policy);
    std::vector<std::vector<ScopeData>> all(limits.size());
    for (auto& scopes : all) {
        scopes.emplace_back("");
        for (const std::string& segment : policy.segments) scopes.emplace_back(segment);
    }
    for (const Sample& point : points) {
        const std::vector<Finding> findings = findings_of(policy, point.ledger);
        for (std::size_t l = 0; l < limits.size(); ++l) {
            const std::string& name = policy.criteria[limits[l].criterion].name;
            for (std::size_t scope = 0; scope < all[l].size(); ++scope) {
                all[l][scope].add(point, scope, scope * signals + limits[l].signal);
                const std::string segment = scope == 0 ? "" : policy.segments[scope - 1];
                const auto found =
                    std::find_if(findings.begin(), findings.end(), [&](const Finding& finding) {
                        return finding.criterion == name && finding.segment == segment;
                    });
                all[l][scope].add(found == findings.end() ? Finding{} : *found);
            }
        }
    }
    json::array document;
    for (std::size_t l = 0; l < limits.size(); ++l) {
        const Criterion& criterion = policy.criteria[limits[l].criterion];
        const bool failed = criterion.signal.kind == Signal::Kind::failed;
        json::array scopes;
        for (ScopeData& scope : all[l]) scopes.push_back(std::move(scope).taken());
        document.push_back(json::object{
            {"title", title_of(criterion)},
            {"kind", failed ? "errors" : "slow"},
            {"what", failed ? "that failed" : "over " + text::latency(criterion.signal.than)},
            {"limit", limits[l].p0},
            {"scopes", std::move(scopes)}});
    }
    return document;
}

json::array faults_json(const Report& report) {
    json::array faults;
    for (const Injection& injection : report.plan.injections) {
        json::value until;
        if (injection.until) until = injection.until->count() / 1000;
        faults.push_back(json::object{
            {"text", injection.as_written},
            {"kind", injection.kind == Injection::Kind::errors ? "errors" : "slow"},
            {"segment", injection.segment ? report.policy.segments[*injection.segment] : ""},
            {"from", injection.from.count() / 1000},
            {"until", std::move(until)}});
    }
    return faults;
}

json::object data_of(const Report& report) {
    const Result& result = report.result;
    const std::vector<Sample> points = points_of(result.samples);
    const auto seconds = [&](TimePoint at) { return (at - result.begin).count() / 1000; };
    json::array from, to, weight, step, harm, hold, moments;
    const bool holds = !claims_of(report.policy, Action::hold).empty();
    for (const Sample& point : points) {
        from.emplace_back(seconds(point.from));
        to.emplace_back(seconds(point.to));
        weight.emplace_back(point.weight.share());
        step.emplace_back(report.policy.steps[point.step].name);
        harm.emplace_back(rounded(harm_of_100(report.policy, point.ln_m)));
        if (holds) hold.emplace_back(rounded(hold_of_100(report.policy, point.hold_ln_m)));
    }
    for (std::size_t i = 0; i < result.moments.size(); ++i) {
        const Moment& moment = result.moments[i];
        moments.push_back(json::object{{"at", seconds(moment.at)},
                                       {"kind", word_of(moment.kind)},
                                       {"tone", tone_of(moment.kind)},
                                       {"row", i},
                                       {"mark", is_marked(moment.kind)},
                                       {"text", moment.text}});
    }
    return {{"begin", result.begin.time_since_epoch().count()},
            {"from", std::move(from)},
            {"to", std::move(to)},
            {"weight", std::move(weight)},
            {"end_weight", result.rollout.applied.value_or(nobody).share()},
            {"step", std::move(step)},
            {"harm", std::move(harm)},
            {"hold", std::move(hold)},
            {"suspicious", rounded(100 * report.policy.suspicious)},
            {"moments", std::move(moments)},
            {"faults", faults_json(report)},
            {"limits", limits_json(report, points)}};
}

}  // namespace

std::string as_html(const Report& report) {
    const Story story = story_of(report);
    const int code = exit_code_of(report);
    std::string notes;
    for (const std::string& note : report.result.notes) notes += "<li>" + html(note) + "</li>\n";
    const std::string word = word_of(report);
    const Filled values{
        {"title", html("Backtest of " + report.policy.name + ": " + word)},
        {"css", std::string(page_css)},
        {"js", std::string(page_js)},
        {"policy", html(report.policy.name)},
        {"word", html(word)},
        {"tone", code == 0   ? "good"
                 : code == 3 ? "bad"
                             : "warn"},
        {"headline", html(story.headline)},
        {"ended", html(story.ended)},
        {"played", html(story.played)},
        {"faults", faults(story)},
        {"false_alarms", html(story.false_alarms)},
        {"steps", steps(report)},
        {"segment", html(report.policy.segment.empty() ? "segment" : report.policy.segment)},
        {"decisions", decisions(report)},
        {"notices", notices(report)},
        {"notes", notes},
        {"footer", html("Seed " + std::to_string(report.plan.seed) + ", policy " +
                        report.policy.hash.substr(0, 12) + ". Times are UTC. Made by canaryctl " +
                        CANARYD_VERSION + " backtest; the page needs no network.")},
        {"data", in_script(data_of(report))}};
    return fill(page_html, values);
}

}  // namespace canaryd::backtest
