"""Turns the bytes of messages into batches of items: decode, admit or reject, collect, count."""
