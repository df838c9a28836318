"""Notifies people of alarms: rows of alarm_notifications → messages by mail, chat, webhook. See notifier.py."""
