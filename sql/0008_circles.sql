-- Circles: members that share out work among themselves, as judges do rule groups. Times are milliseconds since the
-- epoch.
CREATE TABLE state_circle (
    circle        VARCHAR(64) NOT NULL PRIMARY KEY,
    version       BIGINT      NOT NULL,
    fencing       BIGINT      NOT NULL,
    looked        BIGINT      NOT NULL,
    settled_after BIGINT      NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE TABLE state_member (
    circle      VARCHAR(64)  NOT NULL,
    name        VARCHAR(190) NOT NULL,
    incarnation BIGINT       NOT NULL,
    until       BIGINT       NOT NULL,
    report      MEDIUMTEXT   NOT NULL,
    PRIMARY KEY (circle, name)
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE TABLE state_share (
    circle      VARCHAR(64)  NOT NULL,
    name        VARCHAR(190) NOT NULL,
    holder      VARCHAR(190) NOT NULL,
    incarnation BIGINT       NOT NULL,
    fencing     BIGINT       NOT NULL,
    slot        BIGINT       NOT NULL,
    known       BIGINT       NOT NULL,
    cost        BIGINT       NOT NULL,
    PRIMARY KEY (circle, name)
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;
