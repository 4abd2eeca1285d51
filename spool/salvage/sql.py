"""
Every statement of the scratch database.

Salvage keeps in it where the rows of a corrupt spool are. The rows themselves stay in the corrupt file.
"""

SCRATCH = """
CREATE TABLE found (
    seq             INTEGER NOT NULL,
    crc             INTEGER NOT NULL,
    size            INTEGER NOT NULL,
    at              REAL NOT NULL,
    previous_rowid  INTEGER,
    next_rowid      INTEGER,
    trusted         INTEGER NOT NULL DEFAULT 0,
    in_both         INTEGER NOT NULL DEFAULT 0,
    page_offset     INTEGER NOT NULL,
    slot            INTEGER NOT NULL,
    PRIMARY KEY (seq, crc, size)
) WITHOUT ROWID;
CREATE INDEX found_payload ON found (crc, size);
CREATE TABLE damaged (
    seq             INTEGER PRIMARY KEY,
    previous_rowid  INTEGER,
    next_rowid      INTEGER,
    trusted         INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE ledger (
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    request_id  TEXT NOT NULL,
    state       TEXT NOT NULL,
    attempts    INTEGER NOT NULL,
    faults      INTEGER NOT NULL,
    in_wal      INTEGER NOT NULL,
    PRIMARY KEY (first, last, request_id, state, in_wal)
) WITHOUT ROWID;
CREATE TABLE rejected (
    seq          INTEGER NOT NULL,
    crc          INTEGER NOT NULL,
    size         INTEGER NOT NULL,
    page_offset  INTEGER NOT NULL,
    slot         INTEGER NOT NULL,
    PRIMARY KEY (seq, crc, size)
) WITHOUT ROWID;
CREATE VIEW rejected_damaged AS SELECT seq FROM damaged WHERE trusted AND seq NOT IN (SELECT seq FROM rejected)
AND EXISTS (SELECT 1 FROM ledger WHERE state IN ('rejected', 'pruned') AND damaged.seq BETWEEN first AND last);
"""
# The file is read before the WAL, whose offsets are negative.
ADD_EVENT = """
INSERT INTO found (seq, crc, size, at, previous_rowid, next_rowid, page_offset, slot) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET in_both = 1 WHERE page_offset >= 0 AND excluded.page_offset < 0 AND at = excluded.at
"""
ADD_DAMAGED = "INSERT OR IGNORE INTO damaged (seq, previous_rowid, next_rowid) VALUES (?, ?, ?)"
# No checksum covers a row number. It is trusted if it fits the number before or behind it on the page.
_FITS = """
(previous_rowid IS NULL AND next_rowid IS NULL)
OR gap_is_settled(previous_rowid, seq) OR gap_is_settled(seq, next_rowid)
"""
TRUST_FOUND = f"UPDATE found SET trusted = 1 WHERE {_FITS}"  # noqa: S608 - a constant
TRUST_DAMAGED = f"UPDATE damaged SET trusted = 1 WHERE {_FITS}"  # noqa: S608 - a constant
ADD_BATCH = (
    "INSERT OR REPLACE INTO ledger (first, last, request_id, state, attempts, faults, in_wal) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
ADD_REJECTED = "INSERT OR REPLACE INTO rejected (seq, crc, size, page_offset, slot) VALUES (?, ?, ?, ?, ?)"
# The number is wrong: the same event was found under a trusted number.
DELETE_MISNUMBERED = """
DELETE FROM found WHERE NOT trusted
AND EXISTS (SELECT 1 FROM found AS other WHERE other.trusted AND other.crc = found.crc AND other.size = found.size)
"""
DELETE_REJECTED = """
DELETE FROM found WHERE EXISTS (
    SELECT 1 FROM rejected WHERE rejected.seq = found.seq AND rejected.crc = found.crc AND rejected.size = found.size
)
"""
# The event is in no row of `rejected` that was found, but an older version of its row in `events` was found.
ADD_FOUND_REJECTED = """
INSERT INTO rejected (seq, crc, size, page_offset, slot)
SELECT seq, crc, size, page_offset, slot FROM found WHERE trusted AND seq NOT IN (SELECT seq FROM rejected)
AND EXISTS (SELECT 1 FROM ledger WHERE state = 'rejected' AND found.seq BETWEEN first AND last)
"""
LOST_REJECTED = "SELECT count(*) FROM rejected_damaged"
# If two events have the same number, at least one of them is wrong.
DISTRUST_CONFLICTING = """
UPDATE found SET trusted = 0 WHERE seq IN (SELECT seq FROM found GROUP BY seq HAVING count(*) > 1)
"""
DELETE_LEDGER = "DELETE FROM ledger"
# False if no row and no batch is in both the file and the WAL, although the ledger of one settles rows of the other.
WAL_MATCHES_FILE = """
SELECT NOT (
    (EXISTS (SELECT 1 FROM found WHERE page_offset >= 0) OR EXISTS (SELECT 1 FROM ledger WHERE NOT in_wal))
    AND (
        EXISTS (SELECT 1 FROM ledger WHERE in_wal)
        OR coalesce((SELECT min(seq) FROM found WHERE page_offset < 0) <= (SELECT max(last) FROM ledger), 0)
    )
    AND NOT EXISTS (SELECT 1 FROM found WHERE in_both)
    AND NOT EXISTS (
        SELECT 1 FROM ledger AS one JOIN ledger AS other USING (first, request_id)
        WHERE one.in_wal AND NOT other.in_wal AND request_id <> ''
    )
)
"""
# A batch is only ever split or settled. So an open batch that has another one inside it is an older version.
DELETE_SUPERSEDED = """
DELETE FROM ledger WHERE state = 'open' AND EXISTS (
    SELECT 1 FROM ledger AS part
    WHERE part.first BETWEEN ledger.first AND ledger.last AND part.last <= ledger.last
    AND (part.first, part.last, part.request_id, part.state)
        <> (ledger.first, ledger.last, ledger.request_id, ledger.state)
)
"""
FOUND = "SELECT seq, crc, at, trusted, page_offset, slot FROM found ORDER BY seq, page_offset"
FOUND_DAMAGED = "SELECT seq, trusted FROM damaged ORDER BY seq"
FOUND_SETTLED = "SELECT first, last FROM ledger WHERE state <> 'open' ORDER BY first"
FOUND_OPEN = """
SELECT first, last, request_id, max(attempts), max(faults) FROM ledger WHERE state = 'open'
GROUP BY first, last, request_id ORDER BY first
"""
FOUND_REJECTED = "SELECT seq, crc, page_offset, slot FROM rejected ORDER BY seq"
TRUSTED_NUMBERS = "SELECT seq FROM found WHERE trusted"
REJECTED_NUMBERS = "SELECT seq FROM rejected WHERE seq BETWEEN ? AND ?"
