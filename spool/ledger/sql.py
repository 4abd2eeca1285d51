"""
Every statement of the queue, on one page.

`events` holds the rows as they were appended, never updated. `batches` is the ledger: each entry covers consecutive
rows and holds their outcome. The ledger is contiguous, so the last row of its last entry separates the rows that have
been given to a batch from the pending ones.
"""

APPLICATION_ID = 0x414C4941  # "ALIA"
TABLES = frozenset({"spool", "events", "batches", "rejected"})
MAX_SEQ = (1 << 63) - 1
SETTLED_STATES = ("sent", "rejected", "dropped")
STATES = ("open", *SETTLED_STATES, "pruned")
"""The states of a batch. VERSION_1 repeats them, because a migration never changes."""

VERSION_1 = """
CREATE TABLE spool (
    project_id    TEXT NOT NULL,
    created_at    REAL NOT NULL,
    sent          INTEGER NOT NULL DEFAULT 0,
    rejected      INTEGER NOT NULL DEFAULT 0,
    dropped       INTEGER NOT NULL DEFAULT 0,
    flush_to      INTEGER NOT NULL DEFAULT 0,
    last_sent_at  REAL,
    last_error    TEXT,
    lease_pid     INTEGER,
    lease_host    TEXT,
    lease_since   REAL
);
CREATE TABLE events (
    seq      INTEGER PRIMARY KEY,
    at       REAL NOT NULL,
    crc      INTEGER NOT NULL,
    payload  BLOB NOT NULL
);
CREATE TABLE batches (
    first       INTEGER PRIMARY KEY,
    last        INTEGER NOT NULL,
    events      INTEGER NOT NULL,
    request_id  TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('open', 'sent', 'rejected', 'dropped', 'pruned')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    faults      INTEGER NOT NULL DEFAULT 0,
    deaths      INTEGER NOT NULL DEFAULT 0,
    uploading   INTEGER NOT NULL DEFAULT 0,
    settled_at  REAL
);
CREATE INDEX batches_open ON batches (first) WHERE state = 'open';
CREATE INDEX batches_unpruned ON batches (first) WHERE state <> 'pruned';
CREATE TABLE rejected (
    seq          INTEGER PRIMARY KEY,
    at           REAL NOT NULL,
    rejected_at  REAL NOT NULL,
    request_id   TEXT NOT NULL,
    reason       TEXT NOT NULL,
    crc          INTEGER NOT NULL,
    payload      BLOB NOT NULL
);
"""

# -- appending ---------------------------------------------------------------------------------------------------------
APPEND = "INSERT INTO events (at, crc, payload) VALUES (?, ?, ?)"
APPEND_MORE = ", (?, ?, ?)"
LAST_SEQ = "SELECT max(seq) FROM events"
# The planner would use any index, but there is only the primary key. `crc` comes first, since it is cheap to compare.
HOLDS = "SELECT seq FROM events WHERE seq BETWEEN ? AND ? AND crc = ? AND at = ? AND payload = ?"

# -- the ledger --------------------------------------------------------------------------------------------------------
BATCHED_THROUGH = "SELECT last FROM batches ORDER BY first DESC LIMIT 1"
# A damaged payload may have another type. The cast makes bytes of any value, so that the checksum can be checked.
_ROW = "SELECT seq, crc, CAST(coalesce(payload, x'') AS BLOB) FROM events"
EVERY = f"{_ROW} ORDER BY seq"
PENDING = f"{_ROW} WHERE seq > ? ORDER BY seq LIMIT ?"
COVERED = f"{_ROW} WHERE seq BETWEEN ? AND ? ORDER BY seq"
FIRST_OPEN = """
SELECT first, last, events, request_id, attempts, faults, deaths, uploading
FROM batches INDEXED BY batches_open WHERE state = 'open' AND first > ? ORDER BY first LIMIT 1
"""
EVERY_OPEN = """
SELECT first, last, events, request_id, attempts, faults, deaths, uploading
FROM batches INDEXED BY batches_open WHERE state = 'open'
"""
IN_FLIGHT = """
SELECT count(*), total(events), min(first)
FROM batches INDEXED BY batches_open WHERE state = 'open' AND first <= ?
"""
OPEN_BATCH = """
INSERT INTO batches (first, last, events, request_id, state, attempts, faults, uploading)
VALUES (?, ?, ?, ?, 'open', ?, ?, ?)
"""
REOPEN_BATCH = "UPDATE batches SET attempts = attempts + 1, deaths = ?, uploading = 1 WHERE first = ?"
FAILED = """
UPDATE batches SET faults = faults + ?, deaths = 0, uploading = 0
WHERE first = ? AND request_id = ? AND state = 'open'
"""
SETTLE = """
UPDATE batches SET state = ?, settled_at = ?, uploading = 0 WHERE first = ? AND request_id = ? AND state = 'open'
"""
SETTLED_AT_ONCE = """
INSERT INTO batches (first, last, events, request_id, state, settled_at) VALUES (?, ?, ?, '', ?, ?)
"""
EXTEND_SETTLED = """
UPDATE batches SET last = ?, events = events + ?, settled_at = ?
WHERE first = (SELECT max(first) FROM batches WHERE first < ?) AND last = ? AND state = ? AND request_id = ''
"""
DELETE_OPEN_BATCH = "DELETE FROM batches WHERE first = ? AND request_id = ? AND state = 'open'"
TO_REJECT = """
SELECT seq, coalesce(at, 0), ?, ?, ?, coalesce(crc, 0), CAST(coalesce(payload, x'') AS BLOB)
FROM events WHERE seq BETWEEN ? AND ?
"""
KEEP_REJECTED = """
INSERT OR REPLACE INTO rejected (seq, at, rejected_at, request_id, reason, crc, payload) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
# The newest row and the newest batch stay. The next row number follows from them, so no number is used twice.
DELETE_EVENTS = "DELETE FROM events WHERE seq BETWEEN ? AND ? AND seq < (SELECT max(seq) FROM events)"
BLANK_EVENT = "UPDATE events SET crc = 0, payload = x'' WHERE seq BETWEEN ? AND ?"
COUNT_SENT = "UPDATE spool SET sent = sent + ?, last_sent_at = ?"
COUNT_REJECTED = "UPDATE spool SET rejected = rejected + ?, last_error = ?"
COUNT_DROPPED = "UPDATE spool SET dropped = dropped + ?"
NOTE_ERROR = "UPDATE spool SET last_error = ?"
NOTE_FLUSH = "UPDATE spool SET flush_to = max(flush_to, ?)"
TAKE_LEASE = "UPDATE spool SET lease_pid = ?, lease_host = ?, lease_since = ?"
UPLOADS_NOTHING = "UPDATE batches INDEXED BY batches_open SET uploading = 0 WHERE state = 'open' AND uploading <> 0"
GIVE_LEASE = "UPDATE spool SET lease_pid = NULL, lease_host = NULL, lease_since = NULL WHERE lease_pid = ?"

# -- figures -----------------------------------------------------------------------------------------------------------
SUMMARY = """
SELECT sent, rejected, dropped, flush_to, last_sent_at, last_error, lease_pid, lease_host, lease_since FROM spool
"""
APPENDED_AT = "SELECT coalesce(CAST(at AS REAL), 0.0) FROM events WHERE seq = ?"
PROJECT = "SELECT project_id FROM spool"

# -- maintenance -------------------------------------------------------------------------------------------------------
# Writes the first page unchanged. (An UPDATE that changes nothing writes nothing.)
COMMIT_NOTHING = f"PRAGMA application_id = {APPLICATION_ID}"
# The ledger is pruned from its beginning, along an index. So a step costs the same however long the ledger is.
OLDEST_UNPRUNED = """
SELECT first, last, events, state, settled_at,
    (SELECT min(behind.first) FROM batches AS behind WHERE behind.first > batches.first)
FROM batches INDEXED BY batches_unpruned
WHERE state <> 'pruned' ORDER BY first LIMIT ?
"""
OLDEST_SIZES = "SELECT seq, coalesce(length(payload), 0) FROM events WHERE seq <= ? ORDER BY seq LIMIT ?"
MARK_PRUNED = "UPDATE batches SET state = 'pruned' WHERE first <= ? AND state <> 'pruned'"
# The newest pruned batch stays: it tells salvage that every row up to its end is settled.
DELETE_BATCHES = "DELETE FROM batches WHERE first < ?"

# -- integrity ---------------------------------------------------------------------------------------------------------
INVALID_BATCHES = f"""
SELECT count(*) FROM batches
WHERE typeof(last) || typeof(events) || typeof(attempts) || typeof(faults) || typeof(deaths) || typeof(uploading)
    <> 'integerintegerintegerintegerintegerinteger'
OR state NOT IN {STATES} OR first < 1 OR last < first
OR typeof(request_id) <> 'text' OR length(CAST(request_id AS BLOB)) NOT IN (0, 32) OR request_id GLOB '*[^0-9a-f]*'
OR typeof(settled_at) NOT IN ('real', 'null') OR (settled_at IS NULL) <> (state = 'open')
"""  # noqa: S608 - a constant
VALID_SUMMARIES = """
SELECT count(*) FROM spool
WHERE typeof(sent) || typeof(rejected) || typeof(dropped) || typeof(flush_to) = 'integerintegerintegerinteger'
AND typeof(project_id) = 'text' AND typeof(last_error) IN ('text', 'null') AND typeof(last_sent_at) IN ('real', 'null')
AND typeof(lease_pid) IN ('integer', 'null') AND typeof(lease_since) IN ('real', 'null')
"""

# -- requeueing and purging --------------------------------------------------------------------------------------------
LAST_REJECTED = "SELECT coalesce(max(seq), 0) FROM rejected"
REJECTED_SIZES = """
SELECT seq, coalesce(length(payload), 0), ? IS NULL OR rejected_at <= ? FROM rejected WHERE seq > ? AND seq <= ?
ORDER BY seq LIMIT ?
"""
REJECTED_ROWS = """
SELECT seq, crc, CAST(payload AS BLOB) FROM rejected
WHERE seq BETWEEN ? AND ? AND (? IS NULL OR rejected_at <= ?) ORDER BY seq
"""
COUNT_REJECTED_BEFORE = "SELECT count(*) FROM rejected WHERE rejected_at <= ? AND seq <= ?"
TAKE_REJECTED = "DELETE FROM rejected WHERE seq = ?"
PURGE_REJECTED = "DELETE FROM rejected WHERE seq BETWEEN ? AND ? AND (? IS NULL OR rejected_at <= ?)"
UNCOUNT_REJECTED = "UPDATE spool SET rejected = rejected - ?"
PENDING_SIZES = """
SELECT seq, coalesce(length(payload), 0), 1 FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?
"""
FIRST_PENDING_SINCE = "SELECT seq FROM events WHERE seq > ? AND at > ? ORDER BY seq LIMIT 1"
UNPRUNED = """
SELECT last, events, state, settled_at FROM batches INDEXED BY batches_unpruned WHERE state <> 'pruned' ORDER BY first
"""

# -- salvage ----------------------------------------------------------------------------------------------------------
APPEND_BLANK = "INSERT INTO events (seq, at, crc, payload) VALUES (?, ?, 0, x'')"
