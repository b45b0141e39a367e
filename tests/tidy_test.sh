#!/usr/bin/env bash
# Form and the cheap part of clang-tidy: every file as clang-format wants it, the pure core clean;
# and the benches, which no test builds, are C++ that compiles.
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." || exit 1
for tool in clang-format clang-tidy; do
    if ! command -v "$tool" >/dev/null; then
        echo "skipped: $tool is not installed"
        echo "0 passed, 0 failed, 1 skipped"
        exit 0
    fi
done
passed=0 failed=0
count() { if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }

mapfile -t sources < <(find include daemon tests -name '*.hpp' -o -name '*.cpp' | sort)
for file in "${sources[@]}"; do
    clang-format --dry-run -Werror "$file"
    count $?
done
for file in daemon/core/*.cpp; do
    clang-tidy --quiet --warnings-as-errors='*' "$file" -- -std=c++20 -I. -Iinclude 2>/dev/null
    count $?
done
for file in tests/bench/*.cpp tests/bench/evidence/*.cpp; do
    "${CXX:-c++}" -std=c++20 -fsyntax-only -DCANARYD_SOURCE_DIR='""' -I. -Iinclude "$file"
    count $?
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
