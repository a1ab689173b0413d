"""Optimisation: sharpness-aware ascent and learning-rate schedules. Descent is torch.optim's SGD or AdamW."""
