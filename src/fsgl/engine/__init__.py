"""Training and prediction. Knows methods by their contract only, and neither logs, prints nor saves."""
