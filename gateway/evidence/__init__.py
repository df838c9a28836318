"""The process that makes the record evident: it signs the audit trail, and seals telemetry."""
