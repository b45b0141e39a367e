// The server, its clock, and what lies between it and us.
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>

#include "canaryd/text.hpp"
#include "daemon/ctl/doctor.hpp"

namespace canaryd::ctl {
namespace {

using WallClock = std::chrono::system_clock;

/// Ends what runs on a connection that does not answer: a pooler lets a client wait for minutes.
class Patience {
public:
    Patience(postgres::Database& database, std::chrono::seconds most)
        : thread_([this, &database, most] {
              std::unique_lock lock(mutex_);
              if (!wake_.wait_for(lock, most, [this] { return over_; })) database.interrupt();
          }) {}
    ~Patience() {
        {
            const std::lock_guard lock(mutex_);
            over_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }
    Patience(const Patience&) = delete;
    Patience& operator=(const Patience&) = delete;

private:
    std::mutex mutex_;
    std::condition_variable wake_;
    bool over_ = false;
    std::thread thread_;
};

enum class Way { direct, session, transaction };

std::int64_t server_pid(postgres::Database& database) {
    return database.read("select pg_backend_pid()").integer(0, 0);
}

/// A pooler answers for the server under a number of its own. One in transaction mode gives each
/// statement any free connection: two clients meet on one, or one client sees two.
Way way_of(postgres::Database& database, const postgres::Target& target) {
    if (server_pid(database) == database.backend_pid()) return Way::direct;
    postgres::Database other([target] { return target; });
    std::set<std::int64_t> ours, theirs;
    try {
        const Patience limit(other, std::chrono::seconds{5});
        for (int round = 0; round < 10; ++round) {
            ours.insert(server_pid(database));
            theirs.insert(server_pid(other));
        }
    } catch (const postgres::Error&) {
        return Way::session;  // it waits for the connection that we hold
    }
    const bool met = theirs.contains(*ours.begin());
    return met || ours.size() > 1 || theirs.size() > 1 ? Way::transaction : Way::session;
}

bool says(const std::string& options, const std::string& word, std::string_view value) {
    return options.find(word + "='" + std::string(value) + "'") != std::string::npos;
}

Finding tls(const postgres::Target& target, bool direct, bool encrypted, bool here) {
    const std::string& words = target.options();
    const bool checked = says(words, "sslmode", "verify-full");
    const bool asked =
        checked || says(words, "sslmode", "verify-ca") || says(words, "sslmode", "require");
    const char* mend =
        "add sslmode=verify-full to the URL, with sslrootcert=FILE (on Supabase from "
        "Settings, Database, SSL)";
    if (here) return {Grade::ok, "TLS", "not needed: the server is on this machine", {}};
    if (checked) return {Grade::ok, "TLS", "used, and the server's certificate is checked", {}};
    if (asked || (direct && encrypted)) {
        return {Grade::note,
                "TLS",
                asked ? "used, but anybody may pretend to be the server"
                      : "used this time; nothing in the URL asks for it",
                {mend}};
    }
    return {direct ? Grade::bad : Grade::note,
            "TLS",
            direct ? "not used: the password and the metrics are readable on the way"
                   : "nothing in the URL asks for it, and a pooler does not tell",
            {mend}};
}

bool is_here(const postgres::Target& target) {
    for (const char* host : {"127.0.0.1", "::1", "localhost"}) {
        if (says(target.options(), "host", host)) return true;
    }
    const std::string& words = target.options();
    if (words.find("host='/") != std::string::npos) return true;
    const char* host = std::getenv("PGHOST");
    return words.find("host='") == std::string::npos && (host == nullptr || *host == '\0');
}

}  // namespace

Findings check_server(postgres::Database& database) {
    const auto row = database.read(
        "select current_setting('server_version'), current_setting('server_version_num')::integer, "
        "pg_encoding_to_char(encoding)::text, pg_is_in_recovery(), "
        "current_setting('default_transaction_read_only') = 'on', "
        "current_setting('max_connections')::integer, "
        "(select count(*) from pg_stat_activity where backend_type = 'client backend') "
        "from pg_database where datname = current_database()");
    const std::string version = row.text(0, 0), encoding = row.text(0, 2);
    Findings all;
    if (row.integer(0, 1) < 140000) {
        all.push_back({Grade::bad,
                       "server",
                       "PostgreSQL " + version + " is too old: deploy/sql needs 14",
                       {"upgrade it"}});
    }
    if (encoding != "UTF8") {
        all.push_back({Grade::bad,
                       "server",
                       "the database is in " + encoding + ", and ids are hashed in UTF8",
                       {"create the database anew with encoding 'UTF8'"}});
    }
    if (row.boolean(0, 3) || row.boolean(0, 4)) {
        all.push_back(
            {Grade::bad,
             "server",
             row.boolean(0, 3) ? "it is a standby, which only reads: no route can be set"
                               : "it is set to read-only: no route can be set",
             {row.boolean(0, 3) ? "connect to the primary, or add "
                                  "target_session_attrs=read-write to a URL with both hosts"
                                : "find out why (providers do that when its disk is "
                                  "full), then ALTER DATABASE … SET "
                                  "default_transaction_read_only = off"}});
    }
    const std::int64_t most = row.integer(0, 5), used = row.integer(0, 6);
    if (used * 10 > most * 9) {
        all.push_back(
            {Grade::note,
             "server",
             std::to_string(used) + " of its " + std::to_string(most) + " connections are taken",
             {"use the pooler's address, or end sessions that nobody needs"}});
    }
    if (all.empty())
        all.push_back({Grade::ok,
                       "server",
                       "PostgreSQL " + version + ", " + encoding + ", takes writes",
                       {}});
    return all;
}

Findings check_clock(postgres::Database& database) {
    double best_trip = 1e9, difference = 0;
    for (int i = 0; i < 5; ++i) {
        const auto before = WallClock::now();
        const double there =
            database.read("select extract(epoch from clock_timestamp())::double precision")
                .real(0, 0);
        const auto after = WallClock::now();
        const double trip = std::chrono::duration<double>(after - before).count();
        const double here =
            std::chrono::duration<double>(before.time_since_epoch()).count() + trip / 2;
        if (trip >= best_trip) continue;
        best_trip = trip;
        difference = there - here;
    }
    const auto off = Duration(std::llround(std::fabs(difference) * 1000));
    const auto trip = Duration(std::llround(best_trip * 1000));
    const std::string seen =
        off <= trip
            ? "no difference that could be measured (answers take " + text::latency(trip) + ")"
            : "the server's is " + text::latency(off) + (difference > 0 ? " ahead of" : " behind") +
                  " this machine's";
    const bool far = off > std::chrono::seconds{10};
    if (off <= std::chrono::seconds{1}) return {{Grade::ok, "clock", seen, {}}};
    return {{far ? Grade::bad : Grade::note,
             "clock",
             seen + "; leases and reports go by the server's, schedules by this one's",
             {"timedatectl set-ntp true, on the one that is wrong"}}};
}

Findings check_connection(postgres::Database& database, const postgres::Target& target) {
    const Way way = way_of(database, target);
    const auto row = database.read(
        "select coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false)");
    Findings all;
    switch (way) {
        case Way::direct:
            all.push_back({Grade::ok,
                           "connection",
                           "direct: canaryd holds two, for looks and for the route, and one more "
                           "while flags follow; three others where its record is kept here",
                           {}});
            break;
        case Way::session:
            all.push_back({Grade::ok,
                           "connection",
                           "a pooler in session mode: of the pool's connections the daemon keeps "
                           "two, one more while flags follow, and three others where its record is "
                           "kept here; transaction mode or direct spares them",
                           {}});
            break;
        case Way::transaction:
            all.push_back({Grade::ok,
                           "connection",
                           "a pooler in transaction mode: canaryd needs no session, so that all of "
                           "it works; limits are the role's, not the session's",
                           {}});
            break;
    }
    all.push_back(tls(target, way == Way::direct, row.boolean(0, 0), is_here(target)));
    return all;
}

}  // namespace canaryd::ctl
