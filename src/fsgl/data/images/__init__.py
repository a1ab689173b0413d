"""Images as they lie: in memory, in files, in prepared sets; and how one is opened."""
