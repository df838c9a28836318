"""Alarms after ISA-18.2, evaluated on committed frames by the process that leads: `biogate alarms`.

frames ──▶ feed ──▶ watch ──▶ store ──▶ alarms, alarm_transitions ──▶ publish ──▶ alarms/{device}/{rule}
           what is   rules of   one                   │
           new       a device   transaction           └──▶ API, sockets, notify/
"""
