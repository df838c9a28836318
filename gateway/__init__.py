"""The gateway stores what the broker delivers in the database. `pipeline.py` shows the whole path on one page."""
