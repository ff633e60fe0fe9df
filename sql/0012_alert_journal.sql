-- What happened to alerts and notifications and is not yet in their tables, in the order of id. Only where one process
-- on SQLite keeps alerts; empty elsewhere. Packed by crates/db/src/alerts/packed.rs.
CREATE TABLE alert_journal (
    id   INTEGER  NOT NULL PRIMARY KEY,
    body LONGBLOB NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

-- Of what waits on a queue, who waits longest.
CREATE INDEX state_event_age ON state_event (queue, pushed_at);
