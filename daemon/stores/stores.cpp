#include "daemon/stores/stores.hpp"

#include <array>
#include <string_view>

namespace canaryd {

namespace {

struct Kind {
    std::string_view name;
    std::unique_ptr<Store> (*make)(const std::string& path, Pool pool);
};

constexpr std::array kinds{
    Kind{"sqlite", make_sqlite_store},
};

}  // namespace

std::unique_ptr<Store> make_store(const Settings& settings, Pool pool) {
    std::string known;
    for (const Kind& kind : kinds) {
        if (kind.name == settings.store_kind)
            return kind.make(settings.store_path, std::move(pool));
        known += (known.empty() ? "" : ", ") + std::string(kind.name);
    }
    throw StoreUnusable("store.kind: \"" + settings.store_kind +
                        "\" is not known; known: " + known);
}

}  // namespace canaryd
