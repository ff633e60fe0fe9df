-- Silences: who shall not be told of which alerts for a while. Times are milliseconds since the epoch.
CREATE TABLE silence (
    id         VARCHAR(36)  NOT NULL PRIMARY KEY,
    matchers   MEDIUMTEXT   NOT NULL,
    starts_at  BIGINT       NOT NULL,
    ends_at    BIGINT       NOT NULL,
    updated_at BIGINT       NOT NULL,
    created_by VARCHAR(190) NOT NULL,
    comment    MEDIUMTEXT   NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX silence_end ON silence (ends_at);
CREATE INDEX silence_update ON silence (updated_at);
