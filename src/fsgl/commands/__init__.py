"""The command line: each file has the options of one command, and what it does."""
