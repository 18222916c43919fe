"""Makes `digits_train.npz` and `digits_test.npz` from scikit-learn's 1,797 handwritten digits (BSD licence).

    python models/digits.py

Arrays: `input` f32 [n, 1, 8, 8] in [0, 1] and `label` i64 [n]. The split is stratified with a fixed seed: 1,437
digits to train on, 360 to test on.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
TEST = 360


def main():
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    labels = digits.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=TEST, stratify=labels, random_state=0)
    for name, images, labels in (("train", parts[0], parts[2]), ("test", parts[1], parts[3])):
        np.savez_compressed(HERE / f"digits_{name}.npz", input=images, label=labels)


if __name__ == "__main__":
    main()
