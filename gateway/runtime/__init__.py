"""The ground of every gateway process: database, lead, health, logs, kinds of metrics."""
