"""The front door for people who write Python: train, load, compare, and a scikit-learn estimator (docs/python.md)."""
