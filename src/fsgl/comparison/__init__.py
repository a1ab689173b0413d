"""Many runs: the grid that trains them, on this machine or a Ray cluster, and what can be said of them together."""
