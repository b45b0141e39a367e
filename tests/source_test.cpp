// The promises of every source, kept on a SQLite file.
#include <doctest/doctest.h>

#include "tests/source_contract.hpp"

namespace canaryd::testing {
namespace {

/// A file in a folder of its own.
class NewFile : private Folder, public MetricsFile {
public:
    NewFile() : MetricsFile(Folder::file("m.db")) {}
};

std::unique_ptr<MetricsTable> make() {
    return std::make_unique<NewFile>();
}

}  // namespace

TEST_SUITE("source") {
    TEST_CASE("a SQLite file's rows count exactly once") {
        contract::each_row_counts_once(make);
    }

    TEST_CASE("windows, errors and remarks of a SQLite file are what a person would find") {
        contract::windows_and_remarks(make);
    }
}

}  // namespace canaryd::testing
