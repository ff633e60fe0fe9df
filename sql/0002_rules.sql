-- Rule groups created by API. The body is the group as it was given, YAML or JSON in Prometheus' format.
CREATE TABLE rule_group (
    name       VARCHAR(190) NOT NULL PRIMARY KEY,
    body       LONGTEXT     NOT NULL,
    version    BIGINT       NOT NULL,
    created_at BIGINT       NOT NULL,
    updated_at BIGINT       NOT NULL
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;
