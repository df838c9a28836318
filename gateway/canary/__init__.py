"""A device of our own that says a known value every few seconds, and looks for it where people look: in the API.

It takes the whole way, so it is one indicator for all of it: what it does not see again is lost, or too late.
"""
