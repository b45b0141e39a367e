// The files of the folder page/, inside the program: a page needs nothing but itself.
#pragma once

#include <string_view>

namespace canaryd::backtest {

/// With {{name}} where html.cpp puts something.
extern const std::string_view page_html;
extern const std::string_view page_css;
extern const std::string_view page_js;

}  // namespace canaryd::backtest
