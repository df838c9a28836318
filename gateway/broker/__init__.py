"""Connections to the broker: the intake's MQTT 5 session, plain clients for other work, and Mosquitto's own figures."""
