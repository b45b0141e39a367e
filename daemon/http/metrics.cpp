#include "daemon/http/metrics.hpp"

#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <map>

#include "canaryd/analysis.hpp"
#include "daemon/codec_words.hpp"

namespace canaryd::http {

namespace {

#ifdef CANARYD_VERSION
constexpr const char* version = CANARYD_VERSION;
#else
constexpr const char* version = "unreleased";
#endif

constexpr std::array<Hold::Kind, 9> hold_kinds{
    Hold::Kind::blind,       Hold::Kind::shared_outage, Hold::Kind::drift,
    Hold::Kind::unproven,    Hold::Kind::trigger,       Hold::Kind::confirmation,
    Hold::Kind::unconfirmed, Hold::Kind::criterion,     Hold::Kind::store_went_back};
constexpr std::array<Status, 5> statuses{Status::pending, Status::progressing, Status::rolled_back,
                                         Status::finishing, Status::finished};

double in_seconds(Duration duration) {
    return static_cast<double>(duration.count()) / 1000.0;
}

using Labels = std::map<std::string, std::string>;

class Page {
public:
    void set(const std::string& name, const std::string& help, double value,
             const Labels& labels = {}) {
        // The registry returns the family that it already has of this name.
        auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(registry_);
        family.Add(labels).Set(value);
    }
    [[nodiscard]] std::string text() const {
        return prometheus::TextSerializer().Serialize(registry_.Collect());
    }

private:
    prometheus::Registry registry_{prometheus::Registry::InsertBehavior::Merge};
};

void add_traffic(Page& page, const View& view, const Labels& labels) {
    const Rollout& rollout = view.rollout;
    page.set("canaryd_weight_desired_ratio", "Share of users ordered to the canary.",
             rollout.desired.share(), labels);
    if (rollout.applied) {
        page.set("canaryd_weight_applied_ratio", "Share of users the router confirmed.",
                 rollout.applied->share(), labels);
    }
    if (view.served) {
        page.set("canaryd_weight_served_ratio", "Share of users at the newest read-back.",
                 view.served->weight.share(), labels);
    }
    page.set("canaryd_router_error", "1 while the newest set or read of the route failed.",
             view.router_error.empty() ? 0 : 1, labels);
}

void add_progress(Page& page, const View& view, const Labels& labels) {
    const Rollout& rollout = view.rollout;
    page.set("canaryd_step", "Index of the step, from 0.", static_cast<double>(rollout.step),
             labels);
    page.set("canaryd_baked_seconds", "Time of this step that counted as bake.",
             in_seconds(rollout.baked), labels);
    page.set("canaryd_bake_wanted_seconds", "Bake that this step asks for.",
             in_seconds(bake_wanted(rollout, view.policy)), labels);
    page.set("canaryd_soaked_seconds", "Time at 100 % that counted as soak.",
             in_seconds(rollout.soaked), labels);
    page.set("canaryd_harm_ratio", "Evidence of harm; at 1 it rolls back.",
             harm_of_100(view.policy, rollout.ln_m) / 100.0, labels);
    if (!rollout.ledger.hold.streams.empty()) {
        page.set("canaryd_hold_harm_ratio", "Evidence of criteria that hold; at 1 it holds.",
                 hold_of_100(view.policy, ln_m_of(rollout.ledger.hold)) / 100.0, labels);
    }
    page.set("canaryd_proven", "1 when every criterion is proven.", rollout.proven ? 1 : 0, labels);
    page.set("canaryd_suspicious", "1 while suspicion stops the promotion.",
             rollout.suspicious ? 1 : 0, labels);
    page.set("canaryd_paused", "1 while a person paused it.", rollout.paused ? 1 : 0, labels);
    page.set("canaryd_journal_revision", "Committed events of this rollout.",
             static_cast<double>(rollout.revision), labels);
    for (const Status status : statuses) {
        Labels with_status = labels;
        with_status["status"] = codec::word(status);
        page.set("canaryd_status", "1 for the status it is in.", rollout.status == status ? 1 : 0,
                 with_status);
    }
    for (const Hold::Kind kind : hold_kinds) {
        Labels with_kind = labels;
        with_kind["kind"] = codec::word(kind);
        page.set("canaryd_held", "1 while it is held for this reason.",
                 rollout.hold(kind) != nullptr ? 1 : 0, with_kind);
    }
}

void add_counts(Page& page, const View& view, const Labels& labels) {
    const std::vector<Signal> signals = signals_of(view.policy);
    for (const Population who : {Population::canary, Population::baseline}) {
        const Seen& seen = who == Population::canary ? view.rollout.canary : view.rollout.baseline;
        Labels with_population = labels;
        with_population["population"] = codec::word(who);
        page.set("canaryd_step_requests", "Requests seen at this step.",
                 static_cast<double>(seen.requests), with_population);
        for (std::size_t i = 0; i < signals.size() && i < seen.events.size(); ++i) {
            if (signals[i].kind != Signal::Kind::failed) continue;
            page.set("canaryd_step_failures", "Failed requests seen at this step.",
                     static_cast<double>(seen.events[i]), with_population);
        }
    }
}

void add_sight(Page& page, const View& view, const Labels& labels) {
    const Rollout& rollout = view.rollout;
    const auto since = [&](TimePoint then) {
        return view.now > then ? in_seconds(view.now - then) : 0.0;
    };
    page.set("canaryd_blind_seconds", "How long there have been no metrics; 0: there are.",
             rollout.blind_since ? since(*rollout.blind_since) : 0.0, labels);
    if (rollout.last_look != TimePoint{}) {
        page.set("canaryd_look_age_seconds", "Time since the end of the newest look.",
                 since(rollout.last_look), labels);
    }
    page.set("canaryd_notices_owed", "Messages that are not sent yet.",
             static_cast<double>(view.owed), labels);
    page.set("canaryd_notify_error", "1 while the newest message could not be sent.",
             view.notify_error.empty() ? 0 : 1, labels);
}

/// The newest rollout of each name: the label is the name.
std::map<std::string, const View*> newest(const std::vector<View>& views) {
    std::map<std::string, const View*> result;
    for (const View& view : views) {
        const View*& known = result[view.rollout.name];
        if (known == nullptr || known->rollout.started < view.rollout.started) known = &view;
    }
    return result;
}

}  // namespace

std::string metrics_page(const std::vector<View>& views, const Health& health,
                         std::uint64_t dropped_log_lines) {
    Page page;
    page.set("canaryd_build_info", "The version, as a label.", 1, {{"version", version}});
    page.set("canaryd_ready", "1 when loaded and deciding.", health.ready ? 1 : 0);
    page.set("canaryd_store_trouble", "1 while the store can be read and not written.",
             health.store_trouble.empty() ? 0 : 1);
    page.set("canaryd_look_lateness_seconds", "Of the look that is most overdue; 0: none.",
             in_seconds(health.latest_lateness));
    page.set("canaryd_busy_seconds", "How long the present message is being worked on.",
             in_seconds(health.busy));
    page.set("canaryd_rollouts", "Rollouts that are not over.",
             static_cast<double>(health.rollouts));
    page.set("canaryd_log_lines_dropped", "Log lines that could not be written.",
             static_cast<double>(dropped_log_lines));
    for (const auto& [name, view] : newest(views)) {
        const Labels labels{{"rollout", name}};
        add_traffic(page, *view, labels);
        add_progress(page, *view, labels);
        add_counts(page, *view, labels);
        add_sight(page, *view, labels);
    }
    return page.text();
}

}  // namespace canaryd::http
