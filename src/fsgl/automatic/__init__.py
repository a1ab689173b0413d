"""``fsgl auto``: from a folder to a trained network in a given time, with what was tried and why it was chosen."""
