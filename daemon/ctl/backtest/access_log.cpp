// Logs of web servers in combined format: a line is a request, an address is a user.
//
//   ADDRESS IDENT USER [11/Jan/2026:09:00:00 +0200] "POST /jobs/apply HTTP/1.1" 200 512 "REFERER"
//   "AGENT" TIME
//
// TIME is not part of the format but most servers can log it behind: nginx's $request_time is
// seconds with a point ("0.123"), Apache's %D whole microseconds ("123000").
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>

#include "canaryd/text.hpp"
#include "daemon/ctl/backtest/csv.hpp"
#include "daemon/ctl/backtest/history.hpp"
#include "daemon/log.hpp"
#include "daemon/units.hpp"

namespace canaryd::backtest {
namespace {

/// One line, read from the front.
class Fields {
public:
    explicit Fields(std::string_view line) : rest_(line) {}

    /// Up to the next space.
    std::string_view word() {
        skip_spaces();
        const std::size_t end = std::min(rest_.find(' '), rest_.size());
        return taken(end);
    }
    /// In brackets or quotes; nullopt when it does not begin with `open` or never ends.
    std::optional<std::string_view> enclosed(char open, char close) {
        skip_spaces();
        if (rest_.empty() || rest_.front() != open) return std::nullopt;
        for (std::size_t i = 1; i < rest_.size(); ++i) {
            if (rest_[i] == '\\') {
                ++i;
            } else if (rest_[i] == close) {
                const std::string_view text = rest_.substr(1, i - 1);
                rest_.remove_prefix(i + 1);
                return text;
            }
        }
        return std::nullopt;
    }

private:
    void skip_spaces() {
        while (rest_.starts_with(' ')) rest_.remove_prefix(1);
    }
    std::string_view taken(std::size_t bytes) {
        const std::string_view text = rest_.substr(0, bytes);
        rest_.remove_prefix(bytes);
        return text;
    }
    std::string_view rest_;
};

std::optional<int> whole(std::string_view digits) {
    int value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    return error == std::errc{} && stop == end && value >= 0 ? std::optional(value) : std::nullopt;
}

/// "11/Jan/2026:09:00:00 +0200", in milliseconds.
std::optional<std::int64_t> log_time(std::string_view text) {
    static constexpr std::array<std::string_view, 12> months{
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    if (text.size() != 26 || text[2] != '/' || text[6] != '/' || text[11] != ':') {
        return std::nullopt;
    }
    const auto month = std::find(months.begin(), months.end(), text.substr(3, 3));
    if (month == months.end()) return std::nullopt;
    const auto number = static_cast<int>(month - months.begin()) + 1;
    // The same in the form that databases export.
    std::string iso(text.substr(7, 4));
    iso += (number < 10 ? "-0" : "-") + std::to_string(number) + "-";
    iso.append(text.substr(0, 2)).append("T").append(text.substr(12, 8)).append(text.substr(21));
    return read_time(iso);
}

/// Milliseconds, fractions begun; nullopt: none is logged.
std::optional<std::int64_t> latency(std::string_view text) {
    const std::size_t name = text.find('=');  // rt=0.123
    if (name != std::string_view::npos) text.remove_prefix(name + 1);
    double value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || !std::isfinite(value) || value < 0) {
        return std::nullopt;
    }
    const bool seconds = text.find('.') != std::string_view::npos;
    const double milliseconds = std::ceil(seconds ? value * 1000 - 1e-6 : value / 1000);
    return milliseconds <= static_cast<double>(rows::longest_ms)
               ? std::optional(static_cast<std::int64_t>(milliseconds))
               : std::nullopt;
}

/// A server's answer that is the client's own mistake is no failure of the server's.
std::string_view status_word(int status) {
    if (status == 408 || status == 499 || status == 504) return "timeout";
    return status >= 500 ? "error" : "success";
}

rows::Cell text_cell(std::string_view text) {
    rows::Cell cell;
    cell.kind = rows::Cell::Kind::text;
    cell.text = text;
    return cell;
}
rows::Cell number_cell(std::int64_t number) {
    rows::Cell cell;
    cell.kind = rows::Cell::Kind::integer;
    cell.integer = number;
    return cell;
}

bool judges_latency(const Policy& policy) {
    const std::vector<Signal> signals = replayed_signals(policy);
    return std::any_of(signals.begin(), signals.end(),
                       [](const Signal& signal) { return signal.kind == Signal::Kind::slower; });
}

class LogReader {
public:
    LogReader(const Policy& policy, const Reading& reading)
        : policy_(policy),
          rules_(reading.log),
          lines_(reading.from),
          service_(policy.baseline.empty() ? policy.canary : policy.baseline.front()),
          needs_latency_(judges_latency(policy)),
          recorder_(policy) {}

    History read() && {
        for (std::string line; lines_.next(line);) {
            if (!line.empty()) take(line);
        }
        const std::string what = lines_.file() + ", a log in combined format";
        History history = std::move(recorder_).finish(what);
        const auto note = [&](std::int64_t n, const std::string& of) {
            if (n > 0) history.notes.push_back(text::counted(n, "line ", "lines ") + of);
        };
        note(elsewhere_, "of other paths left out");
        note(broken_, "without a request (a client that said nothing or broke off) left out");
        history.notes.push_back(
            "an address is a user; answers from 500 on have failed, and 408, 499 and 504 are "
            "timeouts");
        return history;
    }

private:
    [[noreturn]] void bad(const std::string& fault) const {
        throw BadFile(lines_.where() + ": " + fault);
    }

    void take(std::string_view line) {
        Fields fields(line);
        const std::string_view address = fields.word();
        fields.word();
        fields.word();
        const auto time = fields.enclosed('[', ']');
        if (!time) bad("no [time] behind address, ident and user; is the log in combined format?");
        const auto at = log_time(*time);
        if (!at) bad(as_written(*time) + " is no time such as 11/Jan/2026:09:00:00 +0000");
        const auto request = fields.enclosed('"', '"');
        if (!request) bad("no \"request\" behind the time; is the log in combined format?");
        const std::string_view answer = fields.word();
        const auto status = whole(answer);
        if (!status || *status > 999) bad(as_written(answer) + " is no status such as 200");
        const std::size_t begin = request->find(' ');
        if (begin == std::string_view::npos) {
            ++broken_;
            return;
        }
        std::string_view path = request->substr(begin + 1);
        path = path.substr(0, std::min({path.find(' '), path.find('?'), path.size()}));
        if (!path.starts_with(rules_.only)) {
            ++elsewhere_;
            return;
        }
        fields.word();  // bytes
        fields.enclosed('"', '"');
        fields.enclosed('"', '"');
        add(address, *at, *status, path, latency(fields.word()));
    }

    void add(std::string_view address, std::int64_t at, int status, std::string_view path,
             std::optional<std::int64_t> took) {
        if (!took && needs_latency_) {
            bad("no time behind the user agent, and the policy judges latency; log nginx's "
                "$request_time or Apache's %D there, or leave latency out with --ignore-latency");
        }
        rows::Row row;
        row.webhook = text_cell(service_);
        row.user = text_cell(address);
        const std::string_view segment = segment_of(path);
        if (!segment.empty()) row.segment = text_cell(segment);
        row.status = text_cell(status_word(status));
        row.created_at = number_cell(at);
        row.duration_ms = number_cell(took.value_or(0));
        recorder_.add(row, lines_.where());
    }

    /// The longest prefix that was given; without any, the first part of the path that is a
    /// segment's name.
    [[nodiscard]] std::string_view segment_of(std::string_view path) const {
        std::string_view found;
        std::size_t longest = 0;
        for (const auto& [prefix, segment] : rules_.segments) {
            if (path.starts_with(prefix) && prefix.size() >= longest) {
                longest = prefix.size();
                found = segment;
            }
        }
        if (!rules_.segments.empty()) return found;
        while (!path.empty()) {
            const std::size_t end = std::min(path.find('/'), path.size());
            const std::string_view part = path.substr(0, end);
            if (std::find(policy_.segments.begin(), policy_.segments.end(), part) !=
                policy_.segments.end()) {
                return part;
            }
            path.remove_prefix(std::min(end + 1, path.size()));
        }
        return {};
    }

    const Policy& policy_;
    LogRules rules_;
    Lines lines_;
    std::string service_;
    bool needs_latency_;
    Recorder recorder_;
    std::int64_t elsewhere_ = 0, broken_ = 0;
};

}  // namespace

History read_access_log(const Policy& policy, const Reading& reading) {
    return LogReader(policy, reading).read();
}

}  // namespace canaryd::backtest
