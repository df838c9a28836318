"""Alarms after ISA-18.2: what a rule is, when its condition holds, and what state its alarm is in.

All of it is pure, without I/O and clock, so that the same code evaluates live and over stored history.
"""
