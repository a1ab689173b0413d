"""Networks: backbones that turn images into features, what they cost, and what is put on top of them."""
