-- The service tree of hosts and what hbs hands out by it. Times are milliseconds since the epoch, written by the application.

-- A group, with what its hosts are to do as JSON.
CREATE TABLE host_group (
    name       VARCHAR(190) NOT NULL PRIMARY KEY,
    body       LONGTEXT     NOT NULL,
    version    BIGINT       NOT NULL,
    created_at BIGINT       NOT NULL,
    updated_at BIGINT       NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

-- Which hosts are in a group itself: by hand, or because its rules match them.
CREATE TABLE group_member (
    group_name VARCHAR(190) NOT NULL,
    host       VARCHAR(255) NOT NULL,
    how        VARCHAR(8)   NOT NULL,
    PRIMARY KEY (group_name, host, how)
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX group_member_host ON group_member (host);
CREATE INDEX group_member_how ON group_member (how, group_name);

-- Sets of plugin files, as JSON, and the bytes of the files.
CREATE TABLE plugin_bundle (
    name       VARCHAR(64)  NOT NULL PRIMARY KEY,
    body       LONGTEXT     NOT NULL,
    updated_at BIGINT       NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE TABLE plugin_file (
    sha256    VARCHAR(64) NOT NULL PRIMARY KEY,
    body      LONGBLOB    NOT NULL,
    stored_at BIGINT      NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

-- Times in which a host or a group is worked on.
CREATE TABLE maintenance (
    id         VARCHAR(64)  NOT NULL PRIMARY KEY,
    kind       VARCHAR(8)   NOT NULL,
    target     VARCHAR(255) NOT NULL,
    starts_at  BIGINT       NOT NULL,
    ends_at    BIGINT       NOT NULL,
    reason     LONGTEXT     NOT NULL,
    created_by VARCHAR(190) NOT NULL,
    created_at BIGINT       NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX maintenance_end ON maintenance (ends_at);

-- A number that grows with every change of what hbs hands out, so that a look at one row tells whether to read it all.
CREATE TABLE generation (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    step BIGINT      NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

-- Who changed what. Identifiers sort by time.
CREATE TABLE audit (
    id          VARCHAR(64)  NOT NULL PRIMARY KEY,
    happened_at BIGINT       NOT NULL,
    actor       VARCHAR(190) NOT NULL,
    peer        VARCHAR(64)  NOT NULL,
    action      VARCHAR(64)  NOT NULL,
    target      VARCHAR(255) NOT NULL,
    detail      LONGTEXT     NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX host_seen ON host (seen_at);
