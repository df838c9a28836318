"""What operators do with devices, logins and enrollment: the commands of `python -m gateway.devices`."""
