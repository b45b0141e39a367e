// What a machine remembers of its store: an older copy is noticed before any raise.
#include "daemon/marks.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

using namespace canaryd;
namespace fs = std::filesystem;

namespace {

class File {
public:
    File() : path_(fs::temp_directory_path() / ("canaryd-marks-" + std::to_string(::getpid()))) {
        fs::remove(path_);
    }
    ~File() { fs::remove(path_); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    [[nodiscard]] std::string path() const { return path_.string(); }

private:
    fs::path path_;
};

Rollout rollout(const std::string& id, std::uint64_t revision, int weight) {
    Rollout made;
    made.id = id;
    made.revision = revision;
    made.desired = Weight{weight};
    return made;
}

}  // namespace

TEST_SUITE("marks") {
    TEST_CASE("the newest revision of each rollout is remembered across starts") {
        const File file;
        {
            const auto marks = make_marks(file.path());
            CHECK(marks->read().empty());
            marks->write(rollout("webhook-1", 1, 1'000));
            marks->write(rollout("checkout-1", 1, 500));
            marks->write(rollout("webhook-1", 2, 1'000));
            Rollout over = rollout("checkout-1", 2, 0);
            over.status = Status::rolled_back;
            marks->write(over);
        }
        const auto marks = make_marks(file.path())->read();
        REQUIRE(marks.size() == 2);
        CHECK(marks.at("webhook-1").revision == 2);
        CHECK(marks.at("webhook-1").weight == Weight{1'000});
        CHECK_FALSE(marks.at("webhook-1").rolled_back);
        CHECK(marks.at("checkout-1").rolled_back);
    }

    TEST_CASE("a store that was found to have gone back is followed again from where it is") {
        const File file;
        make_marks(file.path())->write(rollout("webhook-1", 40, 5'000));
        make_marks(file.path())->write(rollout("webhook-1", 31, 1'000));
        CHECK(make_marks(file.path())->read().at("webhook-1").revision == 31);
    }

    TEST_CASE("a line that a power cut has torn, and nonsense, are passed over") {
        const File file;
        make_marks(file.path())->write(rollout("webhook-1", 7, 5'000));
        std::ofstream(file.path(), std::ios::app) << "webhook-1 8 60000 -\nwebhook-1 nine 1000 "
                                                     "-\n\nwebhook-1 8 1000 maybe\nwebhook-1 8 10";
        const auto marks = make_marks(file.path())->read();
        REQUIRE(marks.size() == 1);
        CHECK(marks.at("webhook-1").revision == 7);
        make_marks(file.path())->write(rollout("webhook-1", 8, 5'000));
        CHECK(make_marks(file.path())->read().at("webhook-1").revision == 8);
    }

    TEST_CASE("it does not grow for ever") {
        const File file;
        const auto marks = make_marks(file.path());
        for (std::uint64_t i = 1; i <= 25'000; ++i) marks->write(rollout("webhook-1", i, 1'000));
        CHECK(fs::file_size(file.path()) < 400'000);
        CHECK(make_marks(file.path())->read().at("webhook-1").revision == 25'000);
    }

    TEST_CASE("a folder that cannot be written is no reason to stop") {
        const auto marks = make_marks("/nonexistent/canaryd/marks");
        marks->write(rollout("webhook-1", 1, 1'000));
        CHECK(marks->read().at("webhook-1").revision == 1);
    }
}
