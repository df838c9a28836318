"""What each device is told: up to which frame its data are stored, and which frames are missing."""
