-- A small portal and graph database with the tables and columns that an import reads, and some that it does not.
USE falcon_portal;
CREATE TABLE host (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, hostname VARCHAR(255) NOT NULL DEFAULT '',
  ip VARCHAR(16) NOT NULL DEFAULT '', agent_version VARCHAR(16) NOT NULL DEFAULT '',
  maintain_begin INT UNSIGNED NOT NULL DEFAULT 0, maintain_end INT UNSIGNED NOT NULL DEFAULT 0);
CREATE TABLE grp (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, grp_name VARCHAR(255) NOT NULL DEFAULT '',
  create_user VARCHAR(64) NOT NULL DEFAULT '', create_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE grp_host (grp_id INT UNSIGNED NOT NULL, host_id INT UNSIGNED NOT NULL, KEY (grp_id), KEY (host_id));
CREATE TABLE grp_tpl (grp_id INT UNSIGNED NOT NULL, tpl_id INT UNSIGNED NOT NULL, bind_user VARCHAR(64), KEY (grp_id));
CREATE TABLE tpl (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, tpl_name VARCHAR(255) NOT NULL DEFAULT '',
  parent_id INT UNSIGNED NOT NULL DEFAULT 0, action_id INT UNSIGNED NOT NULL DEFAULT 0, create_user VARCHAR(64));
CREATE TABLE strategy (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, metric VARCHAR(128) NOT NULL DEFAULT '',
  tags VARCHAR(256) NOT NULL DEFAULT '', max_step INT NOT NULL DEFAULT 1, priority TINYINT NOT NULL DEFAULT 0,
  func VARCHAR(16) NOT NULL DEFAULT 'all(#1)', op VARCHAR(8) NOT NULL DEFAULT '', right_value VARCHAR(64) NOT NULL,
  note VARCHAR(128) NOT NULL DEFAULT '', run_begin VARCHAR(16) NOT NULL DEFAULT '', run_end VARCHAR(16) NOT NULL DEFAULT '',
  tpl_id INT UNSIGNED NOT NULL DEFAULT 0, KEY (tpl_id));
CREATE TABLE expression (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, expression VARCHAR(1024) NOT NULL,
  func VARCHAR(16) NOT NULL, op VARCHAR(8) NOT NULL, right_value VARCHAR(16) NOT NULL, max_step INT NOT NULL DEFAULT 1,
  priority TINYINT NOT NULL DEFAULT 0, note VARCHAR(1024) NOT NULL DEFAULT '', action_id INT UNSIGNED NOT NULL DEFAULT 0,
  pause TINYINT(1) NOT NULL DEFAULT 0);
CREATE TABLE action (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, uic VARCHAR(255) NOT NULL DEFAULT '',
  url VARCHAR(255) NOT NULL DEFAULT '', callback TINYINT NOT NULL DEFAULT 0);
CREATE TABLE mockcfg (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(255) NOT NULL DEFAULT '',
  obj VARCHAR(10240) NOT NULL DEFAULT '', obj_type VARCHAR(255) NOT NULL DEFAULT '', metric VARCHAR(128) NOT NULL DEFAULT '',
  tags VARCHAR(1024) NOT NULL DEFAULT '', dstype VARCHAR(32) NOT NULL DEFAULT 'GAUGE', step INT UNSIGNED NOT NULL DEFAULT 60,
  mock DOUBLE NOT NULL DEFAULT 0);
CREATE TABLE cluster (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, grp_id INT NOT NULL, numerator VARCHAR(10240) NOT NULL,
  denominator VARCHAR(10240) NOT NULL, endpoint VARCHAR(255) NOT NULL, metric VARCHAR(255) NOT NULL, tags VARCHAR(255) NOT NULL,
  ds_type VARCHAR(255) NOT NULL, step INT NOT NULL);
INSERT INTO host (id, hostname) VALUES (1, 'web-1.bj'), (2, 'web-2.bj'), (3, 'other');
INSERT INTO grp (id, grp_name) VALUES (1, 'corp.web');
INSERT INTO grp_host VALUES (1, 1), (1, 2);
INSERT INTO tpl VALUES (1, 'base', 0, 1, 'ops'), (2, 'base.web', 1, 1, 'ops');
INSERT INTO grp_tpl VALUES (1, 2, 'ops');
INSERT INTO action VALUES (1, 'ops', 'http://127.0.0.1:9/hook', 0);
INSERT INTO strategy (id, metric, tags, max_step, priority, func, op, right_value, note, tpl_id) VALUES
  (1, 'mem.memused.percent', '', 3, 2, 'all(#1)', '>', '90', 'memory is short', 1),
  (2, 'net.if.in.bytes', 'iface=eth0', 3, 3, 'avg(#3)', '>', '1e8', '', 1),
  (3, 'net.port.listen', 'port=80', 3, 0, 'all(#3)', '==', '0', 'nginx is down', 2),
  (4, 'cpu.idle', '', 3, 0, 'every(#3)', '<', '5', '', 2),
  (5, 'cpu.busy', '', 0, 0, 'all(#3)', '>', '95', '', 2),
  (6, 'cpu.busy', '', 1, 0, 'all(#3)', '>', 'ninety', '', 2);
INSERT INTO expression (id, expression, func, op, right_value, action_id) VALUES
  (1, 'each(metric=latency project=pay)', 'max(#2)', '>', '100', 1);
INSERT INTO mockcfg (name, obj, obj_type, metric, step, mock) VALUES ('port', 'corp.web', 'group', 'cpu.temperature', 60, -1);
INSERT INTO cluster VALUES (1, 1, '$(mem.memused.percent)', '$#', 'corp.web', 'mem.memused.percent.avg', '', 'GAUGE', 10);
USE graph;
CREATE TABLE endpoint_counter (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, endpoint_id INT UNSIGNED NOT NULL,
  counter VARCHAR(255) NOT NULL, step INT NOT NULL DEFAULT 60, type VARCHAR(16) NOT NULL);
INSERT INTO endpoint_counter (endpoint_id, counter, step, type) VALUES
  (1, 'mem.memused.percent', 20, 'GAUGE'), (1, 'latency/project=pay', 60, 'GAUGE'),
  (1, 'net.if.in.bytes/iface=eth0', 60, 'COUNTER'), (2, 'net.if.in.bytes/iface=eth0', 60, 'COUNTER');
