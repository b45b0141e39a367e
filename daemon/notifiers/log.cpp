// Notices as log lines: for machines without a chat, and for trying out.
#include "daemon/log.hpp"

#include "canaryd/text.hpp"
#include "daemon/notifiers/notifiers.hpp"

namespace canaryd {
namespace {

Level level_of(Severity severity) {
    switch (severity) {
        case Severity::info:
            return Level::notice;
        case Severity::warning:
            return Level::warning;
        case Severity::critical:
            return Level::error;
    }
    return Level::error;
}

class LogNotifier : public Notifier {
public:
    Async<Sent> send(Message message) override {
        log(level_of(message.notice.severity), text::one_line(message.notice.text),
            {{"CANARYD_ROLLOUT", message.rollout},
             {"CANARYD_REV", std::to_string(message.revision)},
             {"CANARYD_NOTICE", std::string(text::name(message.notice.kind))}});
        co_return Sent{};
    }
};

}  // namespace

std::shared_ptr<Notifier> make_log_notifier() {
    return std::make_shared<LogNotifier>();
}

}  // namespace canaryd
