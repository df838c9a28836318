"""The broker's side: the MQTT 5 session of the intake, connections at human pace, and Mosquitto's own figures."""
