"""`biogate worker`: the process that does jobs, each in a process of its own, beside API and gateway."""
