"""Tries rules over stored data in a process of its own: in the API's that would keep others waiting."""
