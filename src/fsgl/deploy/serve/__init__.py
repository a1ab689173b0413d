"""A small local web page on which a trained network is asked about images (``fsgl serve``)."""
