// What this machine remembers of the store: one small file that only grows, in the state folder.
#pragma once

#include <memory>
#include <string>

#include "canaryd/lease.hpp"

namespace canaryd {

/// PATH is made when it is first written. One that cannot be read is as good as none.
std::unique_ptr<Marks> make_marks(const std::string& path);

}  // namespace canaryd
