"""`biogate accounts`, `sql-login`, `hold` and `audit`: the commands for the owner of the database."""
