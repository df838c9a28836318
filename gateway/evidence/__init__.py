"""Signs the audit trails: checkpoints to table, file and broker, digests of records, seals of stored frames; and
verifies all of it."""
