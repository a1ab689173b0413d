"""What a careful person would want to know of a data set before training on it (``fsgl inspect``)."""
