"""What to do with a data set, each part with its reason: rules of thumb, and they say what is not measured."""

from __future__ import annotations

from typing import Any

IMAGES_A_MINUTE = 1000  # whose features two cores compute, with as much time again for the search
LEAST_MINUTES = 5


def recommend(tail: dict[str, Any], side: float, in_memory: bool, has_test: bool) -> dict[str, Any]:
    """The command, its options, and reasons in sentences.

    tail: ``describe_tail``'s.  side: median of the images' shorter sides, pixels.  in_memory: small images of one size.
    """
    factor, smallest, images = tail["imbalance_factor"] or 1.0, tail["smallest"], tail["images"]
    minutes = max(LEAST_MINUTES, -(-images // IMAGES_A_MINUTE))
    reasons = [
        "A network that was trained on ImageNet, and what of recipes and settings suits these images best, chosen on "
        f"folds of the training images. {minutes} minutes are a guess for two cores; more try more (docs/auto.md; pip "
        "install 'fsgl[weights,tune]')."
    ]
    if factor < 3:
        reasons.append(f"The classes are nearly of one size (factor {factor:.3g}); there is hardly a tail.")
    else:
        reasons.append(
            f"The largest class is {factor:.3g} times the smallest, which is what rebalancing is for: they are tried "
            "beside plain cross-entropy, and judged by the mean over classes."
        )
    if in_memory:
        reasons.append(
            "The images are small and of one size, and are enlarged for that network. One of their own "
            "(fsgl train fsgl --data PATH) takes minutes to hours, and may reach further where they are many."
        )
    elif side < 160:
        reasons.append(f"Half of the images are under {side:.0f} pixels, and are enlarged for that network.")
    if not in_memory and images >= 2000:
        reasons.append(
            "To train on the pixels instead, prepare the set first (fsgl prepare): decoding once is several times "
            "faster (docs/speed.md)."
        )
    if 0 < smallest < 2:
        reasons.append("A class of one image is never judged: that image always trains.")
    elif 0 < smallest < 5:
        reasons.append("Of classes of fewer than 5 images each is judged once, so that their figures are rough.")
    if smallest == 0:
        reasons.append("Classes without training images must get some, or be left out: training refuses them.")
    if not has_test:
        reasons.append("There is no test set: a fifth is carved, stratified and seeded; a set of your own is better.")
    return {"command": "auto", "options": ["--minutes", str(minutes)], "reasons": reasons}
