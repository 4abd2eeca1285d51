"""The ledger: tables, statements, and the transitions of events and batches."""
