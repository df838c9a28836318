"""Sends commands of people to devices."""
