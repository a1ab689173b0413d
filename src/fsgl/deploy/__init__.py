"""A trained network at work: predictions, exported files, the served page."""
