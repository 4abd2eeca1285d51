"""
Every statement of the scratch database, in which salvage notes where the rows of a damaged spool are.

The rows themselves stay in the damaged file.
"""

SCRATCH = """
CREATE TABLE found (
    seq       INTEGER NOT NULL,
    crc       INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    at        REAL NOT NULL,
    before    INTEGER,
    behind    INTEGER,
    believed  INTEGER NOT NULL DEFAULT 0,
    in_both   INTEGER NOT NULL DEFAULT 0,
    place     INTEGER NOT NULL,
    slot      INTEGER NOT NULL,
    PRIMARY KEY (seq, crc, size)
) WITHOUT ROWID;
CREATE INDEX found_payload ON found (crc, size);
CREATE TABLE damaged (
    seq       INTEGER PRIMARY KEY,
    before    INTEGER,
    behind    INTEGER,
    believed  INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE ledger (
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    request_id  TEXT NOT NULL,
    state       TEXT NOT NULL,
    attempts    INTEGER NOT NULL,
    faults      INTEGER NOT NULL,
    in_log      INTEGER NOT NULL,
    PRIMARY KEY (first, last, request_id, state, in_log)
) WITHOUT ROWID;
CREATE TABLE refused (
    seq    INTEGER NOT NULL,
    crc    INTEGER NOT NULL,
    size   INTEGER NOT NULL,
    place  INTEGER NOT NULL,
    slot   INTEGER NOT NULL,
    PRIMARY KEY (seq, crc, size)
) WITHOUT ROWID;
CREATE VIEW refused_damaged AS SELECT seq FROM damaged WHERE believed AND seq NOT IN (SELECT seq FROM refused)
AND EXISTS (SELECT 1 FROM ledger WHERE state IN ('rejected', 'pruned') AND damaged.seq BETWEEN first AND last);
"""
# The file comes before the log, whose places are less than 0.
FIND_EVENT = """
INSERT INTO found (seq, crc, size, at, before, behind, place, slot) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET in_both = 1 WHERE place >= 0 AND excluded.place < 0 AND at = excluded.at
"""
FIND_DAMAGED = "INSERT OR IGNORE INTO damaged (seq, before, behind) VALUES (?, ?, ?)"
# No checksum covers a number: it is believed where it fits to the one before or behind it.
BELIEVE_FOUND = """
UPDATE found SET believed = 1
WHERE (before IS NULL AND behind IS NULL) OR explained(before, seq) OR explained(seq, behind)
"""
BELIEVE_DAMAGED = """
UPDATE damaged SET believed = 1
WHERE (before IS NULL AND behind IS NULL) OR explained(before, seq) OR explained(seq, behind)
"""
FIND_BATCH = (
    "INSERT OR REPLACE INTO ledger (first, last, request_id, state, attempts, faults, in_log) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
FIND_REFUSED = "INSERT OR REPLACE INTO refused (seq, crc, size, place, slot) VALUES (?, ?, ?, ?, ?)"
# Its number is not its own: the same row is there under the right one.
FORGET_MISNUMBERED = """
DELETE FROM found WHERE NOT believed
AND EXISTS (SELECT 1 FROM found AS other WHERE other.believed AND other.crc = found.crc AND other.size = found.size)
"""
FORGET_REFUSED = """
DELETE FROM found WHERE EXISTS (
    SELECT 1 FROM refused WHERE refused.seq = found.seq AND refused.crc = found.crc AND refused.size = found.size
)
"""
# Its row among the rejected is gone, and the one that it had before is not.
FIND_REFUSED_BEFORE = """
INSERT INTO refused (seq, crc, size, place, slot)
SELECT seq, crc, size, place, slot FROM found WHERE believed AND seq NOT IN (SELECT seq FROM refused)
AND EXISTS (SELECT 1 FROM ledger WHERE state = 'rejected' AND found.seq BETWEEN first AND last)
"""
LOST_REFUSED = "SELECT count(*) FROM refused_damaged"
# Of two rows under one number, who knows whose it is?
DOUBT_DISPUTED = "UPDATE found SET believed = 0 WHERE seq IN (SELECT seq FROM found GROUP BY seq HAVING count(*) > 1)"
FORGET_LEDGER = "DELETE FROM ledger"
# Nothing is in both file and log, neither a row nor a batch, and yet one says that rows of the other are settled.
STRANGERS = """
SELECT (EXISTS (SELECT 1 FROM found WHERE place >= 0) OR EXISTS (SELECT 1 FROM ledger WHERE NOT in_log))
AND (
    EXISTS (SELECT 1 FROM ledger WHERE in_log)
    OR (SELECT min(seq) FROM found WHERE place < 0) <= (SELECT max(last) FROM ledger)
)
AND NOT EXISTS (SELECT 1 FROM found WHERE in_both)
AND NOT EXISTS (
    SELECT 1 FROM ledger AS one JOIN ledger AS other USING (first, request_id)
    WHERE one.in_log AND NOT other.in_log AND request_id <> ''
)
"""
# A batch is only ever split or settled: an open one with another inside it is of the past.
FORGET_PAST = """
DELETE FROM ledger WHERE state = 'open' AND EXISTS (
    SELECT 1 FROM ledger AS part
    WHERE part.first BETWEEN ledger.first AND ledger.last AND part.last <= ledger.last
    AND (part.first, part.last, part.request_id, part.state)
        <> (ledger.first, ledger.last, ledger.request_id, ledger.state)
)
"""
FOUND = "SELECT seq, crc, at, believed, place, slot FROM found ORDER BY seq, place"
FOUND_DAMAGED = "SELECT seq, believed FROM damaged ORDER BY seq"
FOUND_SETTLED = "SELECT first, last FROM ledger WHERE state <> 'open' ORDER BY first"
FOUND_OPEN = """
SELECT first, last, request_id, max(attempts), max(faults) FROM ledger WHERE state = 'open'
GROUP BY first, last, request_id ORDER BY first
"""
FOUND_REFUSED = "SELECT seq, crc, place, slot FROM refused ORDER BY seq"
FOUND_NUMBERS = "SELECT seq FROM found WHERE believed"
FOUND_REFUSED_NUMBERS = "SELECT seq FROM refused WHERE seq BETWEEN ? AND ?"
