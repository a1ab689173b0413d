"""Data: sources of images, long-tailed draws, and what turns them into batches."""
