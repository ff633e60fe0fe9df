-- Shared state for one machine: leases, documents and queues. With several machines Redis takes this part.
CREATE TABLE state_lease (
    name    VARCHAR(190) NOT NULL PRIMARY KEY,
    owner   VARCHAR(190) NOT NULL,
    fencing BIGINT       NOT NULL,
    until   BIGINT       NOT NULL
);

CREATE TABLE state_document (
    kind    VARCHAR(64)  NOT NULL,
    name    VARCHAR(190) NOT NULL,
    fencing BIGINT       NOT NULL,
    body    BLOB         NOT NULL,
    PRIMARY KEY (kind, name)
);

CREATE TABLE state_event (
    queue      VARCHAR(64)  NOT NULL,
    name       VARCHAR(190) NOT NULL,
    priority   INTEGER      NOT NULL,
    pushed_at  BIGINT       NOT NULL,
    visible_at BIGINT       NOT NULL,
    attempts   INTEGER      NOT NULL,
    body       BLOB         NOT NULL,
    PRIMARY KEY (queue, name)
);

CREATE INDEX state_event_order ON state_event (queue, priority, pushed_at);
