"""``python -m fsgl`` is the command ``fsgl``."""

from __future__ import annotations

import sys

from fsgl.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
