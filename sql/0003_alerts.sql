-- Alerts, their history and their deliveries. Times are milliseconds since the epoch, written by the application.

-- The current state of every alert.
CREATE TABLE alert (
    fingerprint     VARCHAR(16)  NOT NULL PRIMARY KEY,
    status          VARCHAR(16)  NOT NULL,
    priority        INTEGER      NOT NULL,
    starts_at       BIGINT       NOT NULL,
    ends_at         BIGINT       NOT NULL,
    ends_by_timeout INTEGER      NOT NULL,
    updated_at      BIGINT       NOT NULL,
    labels          MEDIUMTEXT   NOT NULL,
    annotations     MEDIUMTEXT   NOT NULL,
    generator_url   LONGTEXT     NOT NULL,
    search_text     MEDIUMTEXT   NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX alert_order ON alert (status, priority, starts_at);
CREATE INDEX alert_lease ON alert (status, ends_at);
CREATE INDEX alert_updated ON alert (updated_at);

-- What happened to alerts. An event with queued = 0 is not yet on the queues of the receivers.
CREATE TABLE event (
    id          VARCHAR(190) NOT NULL PRIMARY KEY,
    fingerprint VARCHAR(16)  NOT NULL,
    kind        VARCHAR(16)  NOT NULL,
    priority    INTEGER      NOT NULL,
    happened_at BIGINT       NOT NULL,
    value       VARCHAR(190) NOT NULL,
    queued      INTEGER      NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX event_queued ON event (queued, priority, happened_at);
CREATE INDEX event_alert ON event (fingerprint, happened_at);
CREATE INDEX event_time ON event (happened_at);

-- The notification log: what each receiver was told last about each alert, and how the latest attempt went.
CREATE TABLE notification_log (
    fingerprint    VARCHAR(16)  NOT NULL,
    receiver       VARCHAR(64)  NOT NULL,
    sent_status    VARCHAR(16)  NOT NULL,
    sent_starts_at BIGINT       NOT NULL,
    sent_at        BIGINT       NOT NULL,
    result         VARCHAR(16)  NOT NULL,
    tried_at       BIGINT       NOT NULL,
    attempts       INTEGER      NOT NULL,
    code           INTEGER      NOT NULL,
    detail         VARCHAR(190) NOT NULL,
    PRIMARY KEY (fingerprint, receiver)
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX notification_log_result ON notification_log (receiver, result, tried_at);

-- Every attempt to tell somebody.
CREATE TABLE delivery (
    id          VARCHAR(190) NOT NULL PRIMARY KEY,
    fingerprint VARCHAR(16)  NOT NULL,
    receiver    VARCHAR(64)  NOT NULL,
    status      VARCHAR(16)  NOT NULL,
    tried_at    BIGINT       NOT NULL,
    result      VARCHAR(16)  NOT NULL,
    attempt     INTEGER      NOT NULL,
    code        INTEGER      NOT NULL,
    duration_ms BIGINT       NOT NULL,
    detail      VARCHAR(190) NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX delivery_alert ON delivery (fingerprint, tried_at);
CREATE INDEX delivery_time ON delivery (tried_at);
