"""How good a classifier is: metrics, reliability, statistics over seeds, and what can be mended on its logits."""
