-- Rule groups created by API. The body is the group as it was given, YAML or JSON in Prometheus' format.
CREATE TABLE rule_group (
    name       VARCHAR(190) NOT NULL PRIMARY KEY,
    body       TEXT         NOT NULL,
    version    BIGINT       NOT NULL,
    created_at BIGINT       NOT NULL,
    updated_at BIGINT       NOT NULL
);
