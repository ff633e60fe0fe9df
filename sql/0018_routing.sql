-- Routes, receivers, inhibitions, time intervals and templates that were set by API, one document each: `kind` is `route`,
-- `receiver`, `inhibition`, `time_interval` or `template`, `body` JSON or YAML (of a template its text). What has a default may be
-- left out by who writes a row by hand. Times are milliseconds since the epoch.
CREATE TABLE routing_object (
    kind       VARCHAR(16)  NOT NULL,
    name       VARCHAR(160) NOT NULL,
    body       LONGTEXT     NOT NULL,
    version    BIGINT       NOT NULL DEFAULT 0,
    changed_at BIGINT       NOT NULL DEFAULT 0,
    changed_by VARCHAR(190) NOT NULL DEFAULT '',
    PRIMARY KEY (kind, name)
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

-- One row, which grows with every change: of two changes that were checked against the same objects only one is made.
CREATE TABLE routing_revision (
    id       BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

INSERT INTO routing_revision (id, revision) VALUES (1, 0);
