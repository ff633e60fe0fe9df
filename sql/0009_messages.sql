-- What is sent to whom, how it went, and who shall not hear of what. Times are milliseconds since the epoch.

-- One message to one recipient. stage: waiting, parked (the failed queue), sent, digested, muted, failed.
CREATE TABLE message (
    id         VARCHAR(64)  NOT NULL PRIMARY KEY,
    receiver   VARCHAR(64)  NOT NULL,
    recipient  VARCHAR(190) NOT NULL,
    thread     VARCHAR(64)  NOT NULL,
    kind       VARCHAR(16)  NOT NULL,
    urgency    INTEGER      NOT NULL,
    stage      VARCHAR(16)  NOT NULL,
    next_at    BIGINT       NOT NULL,
    created_at BIGINT       NOT NULL,
    done_at    BIGINT       NOT NULL,
    code       VARCHAR(64)  NOT NULL,
    detail     VARCHAR(190) NOT NULL,
    progress   MEDIUMTEXT   NOT NULL,
    body       MEDIUMTEXT   NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX message_open ON message (receiver, stage, urgency, created_at);
CREATE INDEX message_thread ON message (thread, recipient, stage);
CREATE INDEX message_done ON message (stage, done_at);

-- Which alerts a message is about.
CREATE TABLE message_alert (
    id          VARCHAR(96) NOT NULL PRIMARY KEY,
    fingerprint VARCHAR(16) NOT NULL,
    message_id  VARCHAR(64) NOT NULL,
    created_at  BIGINT      NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX message_alert_fingerprint ON message_alert (fingerprint, created_at);
CREATE INDEX message_alert_time ON message_alert (created_at);

-- Every attempt to send a message.
CREATE TABLE message_attempt (
    id          VARCHAR(96)  NOT NULL PRIMARY KEY,
    message_id  VARCHAR(64)  NOT NULL,
    channel     VARCHAR(32)  NOT NULL,
    bot         VARCHAR(64)  NOT NULL,
    account     VARCHAR(16)  NOT NULL,
    tried_at    BIGINT       NOT NULL,
    duration_ms BIGINT       NOT NULL,
    result      VARCHAR(16)  NOT NULL,
    code        VARCHAR(64)  NOT NULL,
    detail      VARCHAR(190) NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX message_attempt_message ON message_attempt (message_id, tried_at);
CREATE INDEX message_attempt_time ON message_attempt (tried_at);

-- Mutes of persons, where the shared state is embedded. joined is `<user>_<counter>`.
CREATE TABLE mute (
    id       VARCHAR(64)  NOT NULL PRIMARY KEY,
    joined   MEDIUMTEXT   NOT NULL,
    ends_at  BIGINT       NOT NULL,
    body     MEDIUMTEXT   NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX mute_end ON mute (ends_at);

-- What may happen once: links that were used, events of callbacks that were seen, handles of buttons.
CREATE TABLE claim (
    name    VARCHAR(128) NOT NULL PRIMARY KEY,
    ends_at BIGINT       NOT NULL,
    body    MEDIUMTEXT   NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

CREATE INDEX claim_end ON claim (ends_at);
