"""Tiny pools in files, and campaigns on them."""

import numpy as np

from badge_jax.campaign import CampaignFiles, CampaignOptions, start_campaign

CLASSES = ("cat", "dog", "cow")


def blobs(n, d=6, seed=0, num_classes=3):
    """Features [n, d] float32 of well separated classes, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, n)
    centers = 3 * rng.normal(size=(num_classes, d))
    return (centers[labels] + rng.normal(size=(n, d))).astype(np.float32), labels.astype(np.int32)


def started(folder, n=60, name="pets", **options):
    """A campaign on a pool in files beside it; its folder, and the true labels."""
    features, labels = blobs(n)
    np.save(folder / "features.npy", features)
    np.save(folder / "logits.npy", np.random.default_rng(1).normal(size=(n, 3)).astype(np.float32))
    (folder / "ids.txt").write_text("".join(f"image {row}.png\n" for row in range(n)))
    options = {"strategy": "margin", "cold_start": "random", **options}
    files = CampaignFiles(folder / "features.npy", ids=folder / "ids.txt")
    start_campaign(folder / name, CampaignOptions(CLASSES, **options), files)
    return folder / name, labels


def answers_file(path, answers):
    """A CSV file that says row → label, −1 for skipped."""
    lines = [f"{row},{CLASSES[label] if label >= 0 else ''}\n" for row, label in answers.items()]
    path.write_text("index,label\n" + "".join(lines))
    return path
