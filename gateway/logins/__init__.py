"""The logins at the broker, made equal to those that the database wants."""
