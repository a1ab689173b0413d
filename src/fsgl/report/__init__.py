"""What a run shows to people: tables for the terminal and Markdown (``table``), curves as a picture (``curves``)."""
