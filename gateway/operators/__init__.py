"""What operators do with devices, logins and enrollment: the commands of `biogate devices`."""
