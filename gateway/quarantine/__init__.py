"""Lets people list, show, replay and discard rejected messages."""
