"""Tests of whole plants, `make test-system`: many processes, kills, backups, upgrades, and the pages as printed."""
