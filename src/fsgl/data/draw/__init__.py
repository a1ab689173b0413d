"""Which images take part: the long-tailed draw, and the validation and test parts."""
