"""What people do with rejected messages: list, show, replay, discard."""
