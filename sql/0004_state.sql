-- Shared state for one machine: leases, documents and queues. With several machines Redis takes this part.
CREATE TABLE state_lease (
    name    VARCHAR(190) NOT NULL PRIMARY KEY,
    owner   VARCHAR(190) NOT NULL,
    fencing BIGINT       NOT NULL,
    until   BIGINT       NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE TABLE state_document (
    kind    VARCHAR(64)  NOT NULL,
    name    VARCHAR(190) NOT NULL,
    fencing BIGINT       NOT NULL,
    body    LONGBLOB     NOT NULL,
    PRIMARY KEY (kind, name)
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE TABLE state_event (
    queue      VARCHAR(64)  NOT NULL,
    name       VARCHAR(190) NOT NULL,
    priority   INTEGER      NOT NULL,
    pushed_at  BIGINT       NOT NULL,
    visible_at BIGINT       NOT NULL,
    attempts   INTEGER      NOT NULL,
    body       LONGBLOB     NOT NULL,
    PRIMARY KEY (queue, name)
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX state_event_order ON state_event (queue, priority, pushed_at);
