"""What the command line does, once it is parsed: one file a command, each with ``run(options, settings)``."""
