"""Commands of people, on their way to the devices."""
