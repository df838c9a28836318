"""From the bytes of a message to a batch of items: decode, admit or reject, collect, count."""
