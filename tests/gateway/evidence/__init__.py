"""The process that signs the audit trails."""
