"""Makes, verifies and restores backups of the database: `biogate backup --help`, docs/backup.md.

A physical copy by pg_basebackup, and the write-ahead log since by pg_receivewal: PostgreSQL's own tools. What is in a
backup is as it was at one instant, so everything that is committed in one transaction adds up in it.
"""
