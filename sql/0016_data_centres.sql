-- The data centres that apiproxy asks, beside those of its configuration.
CREATE TABLE data_centre (
    name       VARCHAR(190) NOT NULL,
    body       LONGTEXT     NOT NULL,
    updated_at BIGINT       NOT NULL,
    PRIMARY KEY (name)
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;
