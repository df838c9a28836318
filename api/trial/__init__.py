"""A rule is tried over stored history: in a process of its own, as a month of a device takes 20 s of a core, for which
the API would answer nobody else."""
