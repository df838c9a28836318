"""What containers need beside the programs: made passwords, and a health check."""
