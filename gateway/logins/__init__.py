"""Makes the logins at the broker equal to those that the database wants."""
