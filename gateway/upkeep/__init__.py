"""What the leading gateway does beside the intake: figures of the database, retention."""
