"""What proves the record: canonical texts, Ed25519 keys, checkpoints, and the verification of a chain of events."""
