"""`biogate accounts`, `sql-login`, `hold` and `audit`: the commands for who owns the database."""
