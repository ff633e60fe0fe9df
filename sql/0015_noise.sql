-- Who took which alert, and when: the latest claim of an alert replaces the one before, this stays for statistics.
CREATE TABLE ack_log (
    id          VARCHAR(64) NOT NULL PRIMARY KEY,
    fingerprint VARCHAR(16) NOT NULL,
    began_at    BIGINT      NOT NULL,
    made_at     BIGINT      NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX ack_log_time ON ack_log (made_at);
