-- Hosts as their heartbeats describe them. Times are milliseconds since the epoch, written by the application.
CREATE TABLE host (
    name           VARCHAR(255) NOT NULL PRIMARY KEY,
    ip             VARCHAR(64)  NOT NULL,
    agent_version  VARCHAR(64)  NOT NULL,
    plugin_version VARCHAR(64)  NOT NULL,
    facts          LONGTEXT     NOT NULL,
    first_seen_at  BIGINT       NOT NULL,
    seen_at        BIGINT       NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;
