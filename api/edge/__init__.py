"""Around every request: limits, security headers, the log line, the metrics. `observation.py` is the layer itself."""
