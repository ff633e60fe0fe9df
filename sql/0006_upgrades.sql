-- The rollout of an agent version, for one machine. With several machines Redis takes this part.
CREATE TABLE upgrade_plan (
    name     VARCHAR(16) NOT NULL PRIMARY KEY,
    revision BIGINT      NOT NULL,
    rollout  VARCHAR(64) NOT NULL,
    looked_at BIGINT     NOT NULL,
    body     LONGBLOB    NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

-- Hosts that are upgraded now: each holds a place until a moment.
CREATE TABLE upgrade_place (
    host  VARCHAR(255) NOT NULL PRIMARY KEY,
    until BIGINT       NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

-- The same by group of hosts.
CREATE TABLE upgrade_group_place (
    host_group VARCHAR(255) NOT NULL,
    host       VARCHAR(255) NOT NULL,
    until      BIGINT       NOT NULL,
    PRIMARY KEY (host_group, host)
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

-- How far each host of the rollout has come.
CREATE TABLE upgrade_host (
    host       VARCHAR(255) NOT NULL PRIMARY KEY,
    phase      VARCHAR(16)  NOT NULL,
    attempts   INTEGER      NOT NULL,
    wave       INTEGER      NOT NULL,
    started_at BIGINT       NOT NULL,
    changed_at BIGINT       NOT NULL,
    reason     VARCHAR(255) NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;
