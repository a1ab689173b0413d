"""How good a classifier is: metrics, reliability, statistics over seeds, and corrections of its logits."""
