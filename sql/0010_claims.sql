-- Who took which alert, and what was put off: one row an alert and kind. Times are milliseconds since the epoch.
CREATE TABLE alert_claim (
    id          VARCHAR(40)  NOT NULL PRIMARY KEY,
    fingerprint VARCHAR(16)  NOT NULL,
    kind        VARCHAR(16)  NOT NULL,
    owner       VARCHAR(190) NOT NULL,
    note        MEDIUMTEXT   NOT NULL,
    made_at     BIGINT       NOT NULL,
    until       BIGINT       NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX alert_claim_until ON alert_claim (until);
CREATE INDEX alert_claim_made ON alert_claim (made_at);
