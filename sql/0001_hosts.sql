-- Hosts as their heartbeats describe them. Times are milliseconds since the epoch, written by the application.
CREATE TABLE host (
    name           VARCHAR(255) NOT NULL PRIMARY KEY,
    ip             VARCHAR(64)  NOT NULL,
    agent_version  VARCHAR(64)  NOT NULL,
    plugin_version VARCHAR(64)  NOT NULL,
    facts          TEXT         NOT NULL,
    first_seen_at  BIGINT       NOT NULL,
    seen_at        BIGINT       NOT NULL
);
