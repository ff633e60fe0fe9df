-- Users, teams and stand-ins of the on-call rotation, one document each; `kind` says which. `ends_at` is the end of a stand-in,
-- and the greatest number for what has no end. Times are milliseconds since the epoch.
CREATE TABLE directory_entry (
    id         VARCHAR(190) NOT NULL PRIMARY KEY,
    kind       VARCHAR(16)  NOT NULL,
    name       VARCHAR(160) NOT NULL,
    body       MEDIUMTEXT   NOT NULL,
    version    BIGINT       NOT NULL,
    changed_at BIGINT       NOT NULL,
    changed_by VARCHAR(190) NOT NULL,
    ends_at    BIGINT       NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX directory_entry_end ON directory_entry (ends_at);
