"""From a batch to committed rows: one transaction, its conflict path, and the quarantine's quota."""
