"""Notifies people of alarms: rows of alarm_notifications → messages by mail, chat, webhook. See notifier.py."""

from gateway.alarms.notify.notifier import Notifier

__all__ = ["Notifier"]
