// The SQLite store's tables. Version n is made from n - 1 by migrations[n - 1], all in one
// transaction; a step that was released is never edited.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace canaryd::store_schema {

/// "cany": what `file` and PRAGMA application_id show.
inline constexpr std::int64_t application_id = 0x63616E79;

inline constexpr std::string_view version_1 = R"sql(
CREATE TABLE rollout (
    id          TEXT PRIMARY KEY NOT NULL CHECK (id <> ''),
    name        TEXT NOT NULL CHECK (name <> ''),
    number      INTEGER NOT NULL,
    status      TEXT NOT NULL,
    revision    INTEGER NOT NULL CHECK (revision > 0),
    state       TEXT NOT NULL,
    policy_text TEXT NOT NULL,
    policy_file TEXT NOT NULL,
    policy_hash TEXT NOT NULL,
    UNIQUE (name, number)
) STRICT;

CREATE TABLE journal (
    seq        INTEGER PRIMARY KEY,
    rollout    TEXT NOT NULL REFERENCES rollout (id),
    revision   INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    by         TEXT NOT NULL CHECK (by <> ''),
    role       TEXT NOT NULL CHECK (role <> ''),
    event      TEXT NOT NULL,
    reason     TEXT NOT NULL CHECK (reason <> ''),
    refused    INTEGER NOT NULL CHECK (refused IN (0, 1)),
    state_hash TEXT NOT NULL,
    previous   TEXT NOT NULL,
    hash       TEXT NOT NULL,
    UNIQUE (rollout, revision)
) STRICT;

CREATE TRIGGER journal_is_never_changed BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER journal_is_never_cut BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE CHECK (id <> ''),
    rollout    TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    channel    TEXT NOT NULL,
    notice     TEXT NOT NULL,
    at_ms      INTEGER NOT NULL,
    settled_at INTEGER,
    why        TEXT,
    FOREIGN KEY (rollout, revision) REFERENCES journal (rollout, revision)
) STRICT;

CREATE INDEX outbox_owed ON outbox (seq) WHERE settled_at IS NULL;
)sql";

inline constexpr std::array migrations{version_1};
inline constexpr std::int64_t version = static_cast<std::int64_t>(migrations.size());

}  // namespace canaryd::store_schema
