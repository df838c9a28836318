"""A device of our own that publishes a known value every few seconds and reads it back where people read: from the API.

A value passes through the whole system, so the canary is one indicator for all of it: a value that it does not read
back is lost, or too late.
"""
