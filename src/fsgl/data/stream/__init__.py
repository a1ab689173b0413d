"""From images to batches on the training device: samplers, views, decoding, features."""
