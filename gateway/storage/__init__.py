"""Stores a batch as committed rows: one transaction, its conflict path, and the quarantine's quota."""
