"""`python -m api.admin`: accounts, SQL logins and the audit trail, for who owns the database."""
