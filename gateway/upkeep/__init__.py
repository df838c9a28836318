"""Work of the leading gateway beside the intake: figures of the database, and retention."""
