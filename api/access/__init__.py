"""Who asks, how they prove it, and what they may do. `guard.py` has the dependencies by which routes get at data."""
