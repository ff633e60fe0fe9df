-- A silence may end by itself, so many milliseconds after the last alert it held for was resolved; 0 for those that do not.
ALTER TABLE silence ADD COLUMN ends_after BIGINT NOT NULL DEFAULT 0;
