// The table of source kinds. To add one: a file with a class and its factory, a line in the table.
#pragma once

#include <memory>

#include "canaryd/ports.hpp"
#include "canaryd/settings.hpp"
#include "daemon/async.hpp"

namespace canaryd {

/// A source for this policy. Opens nothing yet: an unreachable source is no evidence, not a crash.
/// Throws std::invalid_argument when the policy names an unknown kind or connection.
std::shared_ptr<MetricSource> make_source(const Policy& policy, const Settings& settings, Pool pool,
                                          Clock& clock);

std::shared_ptr<MetricSource> make_sqlite_source(const Policy& policy, const Connection& connection,
                                                 Pool pool, Clock& clock);
std::shared_ptr<MetricSource> make_postgres_source(const Policy& policy,
                                                   const Connection& connection, Pool pool,
                                                   Clock& clock);

}  // namespace canaryd
