// A line a commit, "ID REVISION WEIGHT FLAG": the last line of a rollout counts, so that a store
// which was found to have gone back, and told so, is followed again from where it is.
#include "daemon/marks.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "daemon/log.hpp"

namespace canaryd {

namespace {

constexpr std::size_t lines_before_it_is_written_anew = 10'000;

std::string line_of(const std::string& id, const Mark& mark) {
    return id + " " + std::to_string(mark.revision) + " " +
           std::to_string(mark.weight.basis_points) + (mark.rolled_back ? " rolled_back" : " -") +
           "\n";
}

class FileMarks : public Marks {
public:
    explicit FileMarks(std::string path) : path_(std::move(path)) { load(); }
    ~FileMarks() override { close(); }
    FileMarks(const FileMarks&) = delete;
    FileMarks& operator=(const FileMarks&) = delete;

    [[nodiscard]] std::map<std::string, Mark> read() const override { return marks_; }
    [[nodiscard]] std::string name() const override { return path_; }

    void write(const Rollout& rollout) noexcept override {
        try {
            const Mark mark{rollout.revision, rollout.desired,
                            rollout.status == Status::rolled_back};
            const auto known = marks_.find(rollout.id);
            if (known != marks_.end() && known->second.revision == mark.revision) return;
            // What was ordered must outlive a power cut, the rest only this process.
            const bool ordered = known == marks_.end() || known->second.weight != mark.weight ||
                                 known->second.rolled_back != mark.rolled_back;
            marks_[rollout.id] = mark;
            if (lines_ >= lines_before_it_is_written_anew) compact();
            append(line_of(rollout.id, mark), ordered);
            failing_ = false;
        } catch (const std::exception& error) {
            if (!failing_) log(Level::warning, error.what());
            failing_ = true;
            close();
        }
    }

private:
    void load() {
        std::ifstream file(path_, std::ios::binary);
        for (std::string line; std::getline(file, line);) {
            std::istringstream fields(line);
            std::string id, flag, more;
            Mark mark;
            fields >> id >> mark.revision >> mark.weight.basis_points >> flag;
            const bool whole = !fields.fail() && !(fields >> more) &&
                               (flag == "-" || flag == "rolled_back") && mark.weight >= nobody &&
                               mark.weight <= everybody;
            ++lines_;
            torn_ = file.eof();
            if (!whole || torn_) continue;  // cut by a power failure
            mark.rolled_back = flag == "rolled_back";
            marks_[id] = mark;
        }
    }

    [[noreturn]] void fail(const std::string& tried) const {
        throw std::runtime_error("marks " + path_ + ": " + tried + ": " + std::strerror(errno) +
                                 "; an older copy of the store would not be noticed by them");
    }

    void append(std::string text, bool durable) {
        if (std::exchange(torn_, false)) text.insert(0, 1, '\n');
        if (file_ < 0) {
            file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            if (file_ < 0) fail("open");
        }
        const auto size = static_cast<ssize_t>(text.size());
        if (::write(file_, text.data(), text.size()) != size) fail("write");
        ++lines_;
        if (durable && ::fsync(file_) != 0) fail("fsync");
    }

    void compact() {
        close();
        torn_ = false;
        const std::string fresh = path_ + ".new";
        std::string text;
        for (const auto& [id, mark] : marks_) text += line_of(id, mark);
        file_ = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        if (file_ < 0) fail("open .new");
        append(text, true);
        if (::rename(fresh.c_str(), path_.c_str()) != 0) fail("rename");
        lines_ = marks_.size();
    }

    void close() {
        if (file_ >= 0) ::close(file_);
        file_ = -1;
    }

    std::string path_;
    std::map<std::string, Mark> marks_;
    std::size_t lines_ = 0;
    int file_ = -1;
    bool torn_ = false;  // its last line has no end
    bool failing_ = false;
};

}  // namespace

std::unique_ptr<Marks> make_marks(const std::string& path) {
    return std::make_unique<FileMarks>(path);
}

}  // namespace canaryd
