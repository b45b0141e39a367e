#include "daemon/stores/stores.hpp"

#include <array>
#include <string_view>

namespace canaryd {

namespace {

OpenedStore open_sqlite(const Settings& settings, const StorePools& pools) {
    OpenedStore opened;
    opened.store = make_sqlite_store(settings.store_path, pools.record);
    return opened;
}

struct Kind {
    std::string_view name;
    OpenedStore (*make)(const Settings& settings, const StorePools& pools);
};

constexpr std::array kinds{
    Kind{"sqlite", open_sqlite},
    Kind{"postgres", make_postgres_store},
};

}  // namespace

OpenedStore make_store(const Settings& settings, const StorePools& pools) {
    std::string known;
    for (const Kind& kind : kinds) {
        if (kind.name == settings.store_kind) return kind.make(settings, pools);
        known += (known.empty() ? "" : ", ") + std::string(kind.name);
    }
    throw StoreUnusable("store.kind: \"" + settings.store_kind +
                        "\" is not known; known: " + known);
}

}  // namespace canaryd
