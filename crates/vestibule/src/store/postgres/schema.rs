//! The table and the statements. Keys are compared bytewise (collation "C"), as everywhere else.

pub(super) const TABLE: &str = "vestibule_entries";

/// What an operator runs if Vestibule's user may not.
pub(super) const CREATE: &str = "\
CREATE TABLE IF NOT EXISTS vestibule_entries (
  key text COLLATE \"C\" PRIMARY KEY,
  value bytea NOT NULL,
  version bigint NOT NULL,
  owner text COLLATE \"C\",
  expires_at bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS vestibule_entries_owner ON vestibule_entries (owner, key) WHERE owner IS NOT NULL;
CREATE INDEX IF NOT EXISTS vestibule_entries_end ON vestibule_entries (expires_at);";

/// And then this, with the name of Vestibule's user.
pub(super) const GRANT: &str =
    "GRANT SELECT, INSERT, UPDATE, DELETE ON vestibule_entries TO \"USER\";";

pub(super) const GET: &str = "\
SELECT key, version, owner, expires_at, value FROM vestibule_entries WHERE key = $1 AND expires_at > $2";

// A row that has the new version already was written by this very call, whose answer was lost. Every statement uses every
// parameter, because the server wants to know their types.

pub(super) const PUT: &str = "\
INSERT INTO vestibule_entries AS there (key, value, version, owner, expires_at) VALUES ($1, $2, $3, $4, $5) \
ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version, owner = excluded.owner, \
expires_at = excluded.expires_at WHERE $6::bigint IS NOT NULL AND $7::bigint IS NOT NULL RETURNING 1";

pub(super) const PUT_ABSENT: &str = "\
INSERT INTO vestibule_entries AS there (key, value, version, owner, expires_at) VALUES ($1, $2, $3, $4, $5) \
ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version, owner = excluded.owner, \
expires_at = excluded.expires_at \
WHERE (there.expires_at <= $6 OR there.version = excluded.version) AND $7::bigint IS NOT NULL RETURNING 1";

pub(super) const PUT_VERSION: &str = "\
UPDATE vestibule_entries SET value = $2, version = $3, owner = $4, expires_at = $5 \
WHERE key = $1 AND expires_at > $6 AND (version = $7 OR version = $3) RETURNING 1";

pub(super) const TAKE: &str = "\
DELETE FROM vestibule_entries WHERE key = $1 RETURNING key, version, owner, expires_at, value";

pub(super) const LIST: &str = "\
SELECT key, version, owner, expires_at, value FROM vestibule_entries \
WHERE owner = $1 AND key > $2 AND expires_at > $3 ORDER BY key LIMIT $4";

pub(super) const SCAN: &str = "\
SELECT key, version, owner, expires_at, value FROM vestibule_entries \
WHERE key > $1 AND key < $2 AND expires_at > $3 ORDER BY key LIMIT $4";

/// Rows that somebody is writing are left for the next time.
pub(super) const SWEEP: &str = "\
DELETE FROM vestibule_entries WHERE key IN (SELECT key FROM vestibule_entries WHERE expires_at <= $1 \
ORDER BY expires_at LIMIT 500 FOR UPDATE SKIP LOCKED)";

/// What the server and the table are like; the table may be missing.
pub(super) const INSPECT: &str = "\
SELECT to_regclass('vestibule_entries') IS NOT NULL, pg_is_in_recovery(), \
current_setting('synchronous_commit'), current_setting('fsync'), \
(SELECT relpersistence::text FROM pg_class WHERE oid = to_regclass('vestibule_entries')), \
(SELECT collname::text FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation \
WHERE a.attrelid = to_regclass('vestibule_entries') AND a.attname = 'key'), \
COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false), \
COALESCE(has_table_privilege(to_regclass('vestibule_entries'), 'SELECT') \
AND has_table_privilege(to_regclass('vestibule_entries'), 'INSERT') \
AND has_table_privilege(to_regclass('vestibule_entries'), 'UPDATE') \
AND has_table_privilege(to_regclass('vestibule_entries'), 'DELETE'), false)";
