"""One experiment and its folder: assembled, trained, scored, saved, read again and adjusted."""
