"""Tells each device up to which frame its data are stored, and asks it for missing frames."""
