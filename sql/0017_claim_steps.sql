-- What was done with the claims on an alert: its page tells, also when a later claim took the place of an earlier one.
CREATE TABLE claim_step (
    id          VARCHAR(96)  NOT NULL PRIMARY KEY,
    fingerprint VARCHAR(16)  NOT NULL,
    kind        VARCHAR(16)  NOT NULL,
    act         VARCHAR(16)  NOT NULL,
    done_by     VARCHAR(190) NOT NULL,
    done_at     BIGINT       NOT NULL,
    owner       VARCHAR(190) NOT NULL,
    note        LONGTEXT     NOT NULL,
    made_at     BIGINT       NOT NULL,
    until       BIGINT       NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX claim_step_alert ON claim_step (fingerprint, done_at);
CREATE INDEX claim_step_time ON claim_step (done_at);
