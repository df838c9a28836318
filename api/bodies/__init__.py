"""The bodies that routes take."""
