"""The ledger: tables, statements, and what becomes of each event."""
