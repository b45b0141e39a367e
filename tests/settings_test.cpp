#include "canaryd/settings.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

using namespace canaryd;
namespace fs = std::filesystem;

namespace {

Settings settings_of(const std::string& text, const std::string& state_dir = "") {
    const auto parsed = parse_settings(text, "canaryd.yaml", state_dir);
    for (const Problem& problem : parsed.problems) INFO(to_string(problem));
    REQUIRE(parsed.settings);
    return *parsed.settings;
}

std::string problems_of(const std::string& text) {
    const auto parsed = parse_settings(text, "canaryd.yaml");
    CHECK(!parsed.settings);
    std::string all;
    for (const Problem& problem : parsed.problems) all += to_string(problem) + "\n";
    return all;
}

std::string error_of(const std::string& credential) {
    try {
        read_credential(credential);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "no error";
}

/// Sets a variable for one test.
class Variable {
public:
    Variable(const char* name, const std::string& value) : name_(name) {
        setenv(name, value.c_str(), 1);
    }
    ~Variable() { unsetenv(name_); }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;

private:
    const char* name_;
};

/// An empty folder that goes with the test.
class Folder {
public:
    Folder() {
        std::string pattern = (fs::temp_directory_path() / "canaryd-settings-XXXXXX").string();
        REQUIRE(mkdtemp(pattern.data()) != nullptr);
        path = pattern;
    }
    ~Folder() { fs::remove_all(path); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    fs::path path;
};

}  // namespace

TEST_SUITE("settings") {
    TEST_CASE("an empty canaryd.yaml is all defaults") {
        for (const char* text : {"", "# nothing yet\n", "---\n", "~\n"}) {
            const Settings settings = settings_of(text);
            CHECK(settings.store_kind == "sqlite");
            CHECK(settings.store_path == "/var/lib/canaryd/canaryd.db");
            CHECK(settings.policies == "/etc/canaryd/policies");
            CHECK(settings.listen_address == "127.0.0.1");
            CHECK(settings.listen_port == 9810);
            CHECK(settings.socket == "/run/canaryd/canaryd.sock");
            CHECK(settings.connections.empty());
            CHECK(settings.log_level == "info");
        }
    }

    TEST_CASE("a state folder moves store and socket, unless the file places them") {
        for (const char* folder : {"/srv/state", "/srv/state/"}) {
            const Settings moved = settings_of("", folder);
            CHECK(moved.store_path == "/srv/state/canaryd.db");
            CHECK(moved.socket == "/srv/state/canaryd.sock");
            CHECK(moved.policies == "/etc/canaryd/policies");
        }
        const Settings placed =
            settings_of("store: {path: /a/b.db}\nsocket: /a/b.sock\n", "/srv/state");
        CHECK(placed.store_path == "/a/b.db");
        CHECK(placed.socket == "/a/b.sock");
    }

    TEST_CASE("every setting that is written is kept") {
        const Settings settings = settings_of(
            "store: {kind: sqlite, path: /data/c.db}\n"
            "policies: ./policies\n"
            "listen: \"[::1]:80\"\n"
            "socket: /tmp/c.sock\n"
            "connections:\n"
            "  metrics: {kind: sqlite, path: /data/metrics.db}\n"
            "  ops: {kind: slack, webhook: {credential: slack_webhook}}\n"
            "  trial: {kind: slack, webhook: \"http://127.0.0.1:8065/hook?x=1\"}\n"
            "log: {level: debug}\n");
        CHECK(settings.store_path == "/data/c.db");
        CHECK(settings.policies == "./policies");
        CHECK(settings.listen_address == "::1");
        CHECK(settings.listen_port == 80);
        CHECK(settings.socket == "/tmp/c.sock");
        CHECK(settings.log_level == "debug");
        REQUIRE(settings.connections.size() == 3);
        const Connection& metrics = settings.connections.at("metrics");
        CHECK(metrics.name == "metrics");
        CHECK(metrics.kind == "sqlite");
        CHECK(metrics.path == "/data/metrics.db");
        CHECK(settings.connections.at("ops").credential == "slack_webhook");
        CHECK(settings.connections.at("ops").url.empty());
        CHECK(settings.connections.at("trial").url == "http://127.0.0.1:8065/hook?x=1");
    }

    TEST_CASE("the page is served on loopback or nowhere") {
        CHECK(settings_of("listen: off\n").listen_port == 0);
        CHECK(settings_of("listen: 127.0.0.2:8080\n").listen_address == "127.0.0.2");
        for (const std::string open :
             {"0.0.0.0:9810", "192.168.0.7:9810", "\"[::]:9810\"", "8.8.8.8:9810"}) {
            const std::string problems = problems_of("listen: " + open + "\n");
            CHECK_MESSAGE(problems.find("reached from other machines") != std::string::npos, open);
            CHECK_MESSAGE(problems.find("write 127.0.0.1:9810") != std::string::npos, open);
        }
        for (const std::string none : {"9810", "127.0.0.1", "'127.0.0.1:'", "127.0.0.1:0",
                                       "127.0.0.1:65536", "127.0.0.1:099", "localhost:9810",
                                       "::1:9810", "\"[::1]\"", "':80'", "127.0.0.1:80x", "on"}) {
            const std::string problems = problems_of("listen: " + none + "\n");
            CHECK_MESSAGE(problems.find("no address with a port") != std::string::npos, none);
        }
    }

    TEST_CASE("a secret written into the file is refused and never repeated") {
        const std::string secret = "T0000/B0000/XyZsEcReT";
        for (const std::string& webhook :
             {"\"https://hooks.slack.com/services/" + secret + "\"",
              "{credential: \"https://hooks.slack.com/services/" + secret + "\"}",
              "{credential: [\"https://hooks.slack.com/services/" + secret + "\"]}",
              "{credential: " + secret + "}",
              "[\"https://hooks.slack.com/services/" + secret + "\"]",
              "\"http://127.0.0.1:80@hooks.slack.com/" + secret + "\"",
              "\"http://127.0.0.1/" + secret + "\"", "\"http://127.0.0.1:8080 /" + secret + "\"",
              "\"http://hooks.slack.com/" + secret + "\""}) {
            const std::string problems =
                problems_of("connections: {ops: {kind: slack, webhook: " + webhook + "}}\n");
            CHECK_MESSAGE(problems.find("webhook") != std::string::npos, webhook);
            CHECK_MESSAGE(problems.find("XyZ") == std::string::npos, webhook);
        }
    }

    TEST_CASE("a PostgreSQL connection is a URL without a password, or a credential") {
        const auto connection = [](const std::string& dsn) {
            return settings_of("connections: {db: {kind: postgres, dsn: " + dsn + "}}\n")
                .connections.at("db");
        };
        CHECK(connection("{credential: supabase_dsn}").credential == "supabase_dsn");
        for (const std::string open :
             {"\"postgresql://canaryd@db:5432/shop?sslmode=verify-full\"", "postgres:///shop",
              "\"host=/run/postgresql dbname=shop user=canaryd\""}) {
            CHECK_FALSE(connection(open).url.empty());
        }
        for (const std::string bad :
             {"\"postgres://canaryd:XyZsecret@db/prod\"", "\"host=db password=XyZsecret\"",
              "\"host=db passwort=XyZsecret\"", "\"postgres://canaryd:XyZ@secret@db/prod\"",
              "\"postgres://canaryd:XyZ/secret@db/prod\"",
              "\"postgres://canaryd:12/XyZsecret@db/prod\"", "{credential: XyZsecret}",
              "[XyZsecret]", "XyZsecret"}) {
            const std::string problems =
                problems_of("connections: {db: {kind: postgres, dsn: " + bad + "}}\n");
            CHECK_MESSAGE(problems.find("connections.db.dsn") != std::string::npos, bad);
            CHECK_MESSAGE(problems.find("XyZ") == std::string::npos, bad);
        }
        CHECK(problems_of("connections:\n"
                          "  a: {kind: postgres, path: /a}\n"
                          "  b: {kind: sqlite, path: /a, dsn: \"postgres:///a\"}\n") ==
              "canaryd.yaml:2:6: connections.a.dsn: is missing and has no default; add it\n"
              "canaryd.yaml:2:29: connections.a.path: belongs to kind sqlite; remove it\n"
              "canaryd.yaml:3:36: connections.b.dsn: belongs to kind postgres; remove it\n");
    }

    TEST_CASE("a store is a file of its own or a connection of kind postgres") {
        const std::string connections =
            "connections:\n"
            "  shop: {kind: postgres, dsn: \"postgresql:///shop\"}\n"
            "  file: {kind: sqlite, path: /a}\n";
        const Settings settings =
            settings_of("store: {kind: postgres, connection: shop}\n" + connections, "/srv/state");
        CHECK(settings.store_kind == "postgres");
        CHECK(settings.store_connection == "shop");
        CHECK(settings.store_path == "/srv/state/canaryd.db");
        CHECK(problems_of("store: {kind: postgres}\n") ==
              "canaryd.yaml:1:8: store.connection: is missing and has no default; add it\n");
        CHECK(
            problems_of("store: {kind: postgres, connection: file}\n" + connections) ==
            "canaryd.yaml:1:37: store.connection: \"file\" is of kind sqlite; a store needs one of "
            "kind postgres\n");
        CHECK(problems_of("store: {kind: postgres, connection: shop, path: /b}\n" + connections) ==
              "canaryd.yaml:1:49: store.path: belongs to kind sqlite; remove it\n");
        CHECK(problems_of("store: {connection: shop}\n" + connections) ==
              "canaryd.yaml:1:21: store.connection: belongs to kind postgres; remove it\n");
    }

    TEST_CASE("all mistakes of canaryd.yaml are named at once, with their places") {
        CHECK(
            problems_of("store: {kind: postgres, connection: supabase}\n"
                        "listn: off\n"
                        "connections:\n"
                        "  metrics: {kind: sqlite}\n"
                        "  ops: {kind: slack, path: /a}\n"
                        "  \"a b\": {kind: sqlite, path: /a}\n"
                        "log: {level: verbose}\n"
                        "policies:\n") ==
            "canaryd.yaml:1:37: store.connection: \"supabase\" is not among the connections; write "
            "the name of one of kind postgres\n"
            "canaryd.yaml:2:1: listn: unknown field; did you mean \"listen\"?\n"
            "canaryd.yaml:4:12: connections.metrics.path: is missing and has no default; add it\n"
            "canaryd.yaml:5:8: connections.ops.webhook: is missing and has no default; add it\n"
            "canaryd.yaml:5:28: connections.ops.path: belongs to kind sqlite; remove it\n"
            "canaryd.yaml:6:3: connections.a b: \"a b\" is no connection's name; write letters, "
            "digits, '-' and '_'\n"
            "canaryd.yaml:7:14: log.level: \"verbose\" is not known here; write debug, info, "
            "notice, "
            "warning or error\n"
            "canaryd.yaml:8:1: policies: has no value; write one or remove the line\n");
        CHECK(problems_of("a: 1\na: 2\n---\nb: 1\n").find("written twice") != std::string::npos);
        CHECK(problems_of("- a\n").find("1:1: a list where fields are due") != std::string::npos);
        CHECK(problems_of("socket: /" + std::string(107, 'x') + "\n").find("longer than 107") !=
              std::string::npos);
    }

    TEST_CASE("a credential is a file of systemd's folder, else a variable") {
        const Folder folder;
        const Variable variable("CANARYD_CRED_SLACK_WEBHOOK", "from the variable\n");
        CHECK(read_credential("slack_webhook") == "from the variable");
        const Variable directory("CREDENTIALS_DIRECTORY", folder.path.string());
        CHECK(read_credential("slack_webhook") == "from the variable");
        std::ofstream(folder.path / "slack_webhook") << "from the file\r\n\n";
        CHECK(read_credential("slack_webhook") == "from the file");
    }

    TEST_CASE("a missing credential says the two places where it was looked for") {
        CHECK(error_of("slack_webhook") ==
              "credential \"slack_webhook\": neither $CREDENTIALS_DIRECTORY/slack_webhook (the "
              "variable "
              "is not set) nor $CANARYD_CRED_SLACK_WEBHOOK is there");
        const Folder folder;
        const Variable directory("CREDENTIALS_DIRECTORY", folder.path.string());
        CHECK(error_of("slack_webhook") ==
              "credential \"slack_webhook\": neither " + (folder.path / "slack_webhook").string() +
                  " (No such file or directory) nor $CANARYD_CRED_SLACK_WEBHOOK is there");
        std::ofstream(folder.path / "slack_webhook") << "\n";
        CHECK(error_of("slack_webhook") ==
              "credential \"slack_webhook\": " + (folder.path / "slack_webhook").string() +
                  " is empty");
    }

    TEST_CASE("a credential's name leads nowhere else") {
        for (const std::string name : {"", "../passwd", "/etc/passwd", "A", "a b", "a/b", "a.b"}) {
            CHECK_MESSAGE(error_of(name).find("not a credential's name") != std::string::npos,
                          name);
        }
    }
}
