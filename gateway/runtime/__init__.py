"""What every process of the gateway stands on: database, lead, health, logs, kinds of metrics."""
