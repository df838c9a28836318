"""From the broker to the database. `pipeline.py` shows the whole path on one page."""
