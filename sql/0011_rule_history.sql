-- Rule groups have an owner, can be switched off, and every version of them is kept.
ALTER TABLE rule_group ADD COLUMN owner VARCHAR(190) NOT NULL DEFAULT '';
ALTER TABLE rule_group ADD COLUMN enabled INTEGER NOT NULL DEFAULT 1;

-- One row a change. A removal has a version too, with an empty body, so that no version is ever used twice.
CREATE TABLE rule_group_version (
    name       VARCHAR(190) NOT NULL,
    version    BIGINT       NOT NULL,
    changed_at BIGINT       NOT NULL,
    actor      VARCHAR(190) NOT NULL,
    peer       VARCHAR(64)  NOT NULL,
    action     VARCHAR(64)  NOT NULL,
    body       LONGTEXT     NOT NULL,
    owner      VARCHAR(190) NOT NULL,
    enabled    INTEGER      NOT NULL,
    PRIMARY KEY (name, version)
) /*!50000 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 */ /*!80017 COLLATE=utf8mb4_0900_bin */ /*M! COLLATE=utf8mb4_nopad_bin */;

INSERT INTO rule_group_version (name, version, changed_at, actor, peer, action, body, owner, enabled)
SELECT name, version, updated_at, '', '', 'rule_group.put', body, '', 1 FROM rule_group;
