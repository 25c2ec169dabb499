//! The schemas and their history. A published migration is never edited: add one to the list.
//!
//! Only types and clauses that PostgreSQL understands as well are used. Moments are milliseconds
//! since the Unix epoch, digests are 64 lower-case hexadecimal digits, bodies are JSON text.

use super::migrate::Migration;

/// The registry's schema version.
pub const REGISTRY_SCHEMA: u64 = REGISTRY.len() as u64;

/// The traces' schema version.
pub const TRACES_SCHEMA: u64 = TRACES.len() as u64;

pub(super) const REGISTRY: &[Migration] = &[
    Migration {
        name: "versions and aliases",
        sql: "
            CREATE TABLE versions (
                task    TEXT NOT NULL,
                number  BIGINT NOT NULL,
                digest  TEXT NOT NULL,
                parent  TEXT,
                created BIGINT NOT NULL,
                body    TEXT NOT NULL,
                PRIMARY KEY (task, number),
                UNIQUE (task, digest)
            );
            CREATE TABLE version_blobs (
                task    TEXT NOT NULL,
                number  BIGINT NOT NULL,
                digest  TEXT NOT NULL,
                PRIMARY KEY (task, number, digest),
                FOREIGN KEY (task, number) REFERENCES versions (task, number)
            );
            CREATE TABLE aliases (
                task     TEXT NOT NULL,
                name     TEXT NOT NULL,
                version  BIGINT NOT NULL,
                revision BIGINT NOT NULL,
                moved    BIGINT NOT NULL,
                PRIMARY KEY (task, name),
                FOREIGN KEY (task, version) REFERENCES versions (task, number)
            );
            CREATE TABLE alias_moves (
                task         TEXT NOT NULL,
                alias        TEXT NOT NULL,
                revision     BIGINT NOT NULL,
                from_version BIGINT,
                to_version   BIGINT NOT NULL,
                kind         TEXT NOT NULL,
                who          TEXT NOT NULL,
                why          TEXT NOT NULL,
                at           BIGINT NOT NULL,
                PRIMARY KEY (task, alias, revision),
                FOREIGN KEY (task, to_version) REFERENCES versions (task, number)
            );",
    },
    Migration {
        name: "steps and journal",
        sql: "
            CREATE TABLE steps (
                step    TEXT NOT NULL,
                inputs  TEXT NOT NULL,
                outputs TEXT NOT NULL,
                summary TEXT NOT NULL,
                at      BIGINT NOT NULL,
                PRIMARY KEY (step, inputs)
            );
            CREATE TABLE openings (
                id      BIGINT NOT NULL PRIMARY KEY,
                task    TEXT NOT NULL,
                split   TEXT NOT NULL,
                purpose TEXT NOT NULL,
                who     TEXT NOT NULL,
                at      BIGINT NOT NULL
            );
            CREATE TABLE events (
                id    BIGINT NOT NULL PRIMARY KEY,
                task  TEXT NOT NULL,
                label TEXT NOT NULL,
                body  TEXT NOT NULL,
                at    BIGINT NOT NULL
            );",
    },
];

pub(super) const TRACES: &[Migration] = &[
    Migration {
        name: "traces",
        sql: "
            CREATE TABLE traces (
                position          BIGINT NOT NULL PRIMARY KEY,
                id                TEXT NOT NULL,
                at                BIGINT NOT NULL,
                task              TEXT NOT NULL,
                version           TEXT NOT NULL,
                text              TEXT,
                text_hash         TEXT,
                label             TEXT,
                confidence        DOUBLE PRECISION,
                scores            TEXT NOT NULL,
                latency_ms        DOUBLE PRECISION NOT NULL,
                prompt_tokens     BIGINT NOT NULL,
                completion_tokens BIGINT NOT NULL,
                status            BIGINT NOT NULL,
                route             TEXT
            );
            CREATE INDEX traces_at ON traces (at);
            CREATE INDEX traces_task_at ON traces (task, at);",
    },
    Migration {
        name: "costs, validity, answers, sketches and feedback",
        // `trace_positions` has one row: a position is never given twice, also when every row was
        // removed, so that whoever reads in pages never misses one.
        sql: "
            ALTER TABLE traces ADD COLUMN usd DOUBLE PRECISION;
            ALTER TABLE traces ADD COLUMN valid BIGINT;
            ALTER TABLE traces ADD COLUMN output TEXT;
            ALTER TABLE traces ADD COLUMN sketch BYTEA;
            CREATE INDEX traces_id ON traces (id);
            CREATE TABLE trace_positions (last BIGINT NOT NULL, feedback BIGINT NOT NULL);
            INSERT INTO trace_positions (last, feedback)
                SELECT COALESCE(MAX(position), 0), 0 FROM traces;
            CREATE TABLE feedback (
                position BIGINT NOT NULL PRIMARY KEY,
                trace    BIGINT NOT NULL,
                author   TEXT NOT NULL,
                good     BIGINT NOT NULL,
                label    TEXT,
                output   TEXT,
                at       BIGINT NOT NULL,
                UNIQUE (trace, author)
            );",
    },
];
