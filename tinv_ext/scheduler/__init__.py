"""Many runs: a list of settings files worked off, a process for each run."""
