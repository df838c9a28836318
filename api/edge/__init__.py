"""Does what every request needs beside its route: limits, security headers, the log line, metrics. The layer itself is
`observation.py`."""
