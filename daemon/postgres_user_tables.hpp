// migration_status and migration_rollbacks, the first user's own tables: what a decision leaves in
// them for people. Where the store is in the same database it writes them in the decision's own
// transaction, else the router does so after the route has moved; the words are the same.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "canaryd/rollout.hpp"
#include "daemon/postgres.hpp"

namespace canaryd::user_tables {

/// The one route that the two tables are about, and that get_webhook_route() and the users' flag
/// column follow: deploy/sql.
inline constexpr std::string_view flagged_route = "unified-webhook";

/// What of a policy is needed for it.
struct Migration {
    std::vector<std::string> phases;  // of each step, and last of the soak after the last bake
    std::vector<Weight> weights;      // of each step
    std::string canary;
    // The policy's first limit of each kind, by which the begin of a fault is looked for.
    std::optional<double> failed;    // share of requests
    std::optional<Duration> slower;  // than this,
    std::optional<double> too_slow;  // share of requests
};
Migration migration_of(const Policy& policy);

/// Whether this decision leaves something in the tables.
bool concerned(const Event& event, const Transition& transition);
/// What canaryd.record_decided() takes.
boost::json::object after(const Event& event, const Transition& transition,
                          const Migration& migration);
/// The exact figures of a rollback whose row has this id, since the estimated begin of its fault:
/// canaryd.fault_began(), or where that takes longer than `limit` the begin of what the decision
/// has looked at. They take as long as the metrics are many, so they come last and have the same
/// limit. Throws postgres::Error.
void complete(postgres::Database& database, std::int64_t rollback, const Event& event,
              const Transition& transition, const Migration& migration, Duration limit);
/// Both as one, in transactions of their own: the tables, and then the figures. Twice is once.
/// Throws postgres::Error when the tables could not be written.
void record(postgres::Database& database, const Event& event, const Transition& transition,
            const Migration& migration);

/// PostgreSQL's text has no NUL: people see U+2400 in its place.
std::string without_nul(const std::string& text);

}  // namespace canaryd::user_tables
