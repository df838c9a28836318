"""Signs the audit trails: checkpoints to table, file and broker; digests of records; the verification of all of it."""
