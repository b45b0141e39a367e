// The Slack notifier against servers whose certificates are right and wrong.
#include <doctest/doctest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "daemon/async.hpp"
#include "daemon/notifiers/notifiers.hpp"

namespace {

namespace asio = boost::asio;
namespace ssl = asio::ssl;
using asio::ip::tcp;

template <class T, void (*free)(T*)>
struct Freed {
    void operator()(T* pointer) const { free(pointer); }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY, EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509, X509_free>>;

/// A certificate signed by its own key, for one name, that begins now and lasts `seconds`.
Certificate certificate_for(const Key& key, const std::string& name, long seconds) {
    Certificate certificate(X509_new());
    X509* const x = certificate.get();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -7200);
    X509_gmtime_adj(X509_getm_notAfter(x), seconds);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key.get());
    const std::string names = "DNS:" + name;
    X509_EXTENSION* const extension =
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
    X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
    X509_sign(x, key.get(), EVP_sha256());
    return certificate;
}

struct Site {
    std::string name = "localhost";
    long lasts = 3600;
    bool trusted = true;
    int newest_protocol = TLS1_3_VERSION;
};

/// Sends one notice to a server of this kind; "delivered" or what was thrown.
std::string sent_to(const Site& site) {
    const Key key(EVP_EC_gen("P-256"));
    const Certificate certificate = certificate_for(key, site.name, site.lasts);
    const auto file = std::filesystem::temp_directory_path() /
                      ("canaryd-tls-test." + std::to_string(getpid()) + ".pem");
    std::FILE* const pem = std::fopen(file.c_str(), "w");
    REQUIRE(pem != nullptr);
    if (site.trusted) PEM_write_X509(pem, certificate.get());
    std::fclose(pem);
    setenv("SSL_CERT_FILE", file.c_str(), 1);

    asio::io_context io;
    tcp::acceptor acceptor(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    std::thread server([&] {
        ssl::context context(ssl::context::tls_server);
        SSL_CTX_set_security_level(context.native_handle(), 0);
        SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_VERSION);
        SSL_CTX_set_max_proto_version(context.native_handle(), site.newest_protocol);
        SSL_CTX_use_certificate(context.native_handle(), certificate.get());
        SSL_CTX_use_PrivateKey(context.native_handle(), key.get());
        ssl::stream<tcp::socket> stream(acceptor.accept(), context);
        boost::system::error_code gone;
        std::string request;
        stream.handshake(ssl::stream_base::server, gone);
        if (gone) return;
        asio::read_until(stream, asio::dynamic_buffer(request), "]}", gone);
        const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if (!gone) asio::write(stream, asio::buffer(answer), gone);
        stream.shutdown(gone);
    });

    asio::io_context loop{1};
    asio::io_context deciding{1};
    const canaryd::Connection ops{
        "ops", "slack", "", "",
        "https://localhost:" + std::to_string(acceptor.local_endpoint().port()) + "/hook"};
    const auto notifier =
        canaryd::make_slack_notifier({"slack", "ops", ""}, ops, loop.get_executor());
    std::string outcome;
    asio::co_spawn(
        deciding, notifier->send({}), [&](const std::exception_ptr& error, canaryd::Sent sent) {
            try {
                if (error) std::rethrow_exception(error);
                outcome = sent.kind == canaryd::Sent::Kind::delivered ? "delivered" : sent.why;
            } catch (const std::exception& thrown) {
                outcome = thrown.what();
            }
        });
    const auto waiting = asio::make_work_guard(deciding);
    const auto working = asio::make_work_guard(loop);
    std::thread notifiers([&] { loop.run(); });
    while (outcome.empty()) deciding.run_one();
    loop.stop();
    notifiers.join();
    server.join();
    unsetenv("SSL_CERT_FILE");
    std::filesystem::remove(file);
    return outcome;
}

}  // namespace

TEST_SUITE("notifier") {
    TEST_CASE("a Slack whose certificate is trusted and names the host gets the message") {
        CHECK(sent_to({}) == "delivered");
        CHECK(sent_to({"localhost", 3600, true, TLS1_2_VERSION}) == "delivered");
    }
    TEST_CASE("a certificate that nobody trusts, of another host or of last year, gets nothing") {
        const Site sites[] = {{"localhost", 3600, false, TLS1_3_VERSION},
                              {"hooks.slack.com", 3600, true, TLS1_3_VERSION},
                              {"localhost", -3600, true, TLS1_3_VERSION}};
        for (const Site& site : sites) {
            const std::string outcome = sent_to(site);
            CAPTURE(outcome);
            CHECK(outcome.starts_with("slack localhost: TLS: "));
            CHECK(outcome.find("certificate verify failed") != std::string::npos);
        }
    }
    TEST_CASE("TLS 1.1 is not spoken") {
        const std::string outcome = sent_to({"localhost", 3600, true, TLS1_1_VERSION});
        CAPTURE(outcome);
        CHECK(outcome.starts_with("slack localhost: TLS: "));
    }
}
