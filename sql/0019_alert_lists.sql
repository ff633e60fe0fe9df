-- The alerts that a message about many leads to: its link names the list. `fingerprints` has a space between them. Times are
-- milliseconds since the epoch.
CREATE TABLE alert_list (
    id           VARCHAR(64) NOT NULL PRIMARY KEY,
    created_at   BIGINT      NOT NULL,
    fingerprints MEDIUMTEXT  NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX alert_list_time ON alert_list (created_at);
