"""Writes small images of every kind that data sets have, and what PIL makes of them.

    pip install pillow numpy pyarrow
    python make.py

`photos/` has one folder a class. `expected.npz` holds, for its images sorted by class and name, what PIL's `convert` and
`resize` with the bilinear filter give, which is what torchvision's `ImageFolder`, `Grayscale` and `Resize` do. `photos.parquet`
holds the same files as the `datasets` library writes a column of images, `struct<bytes: binary, path: string>`.
"""

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

H, W = 20, 26
rng = np.random.default_rng(1)


def scene(seed):
    """A picture with slopes, an edge and some noise: `[H, W, 3]`."""
    y, x = np.mgrid[0:H, 0:W] / H
    waves = [np.sin(3 * x + seed + c) * np.cos(2 * y + c * seed) for c in range(3)]
    picture = 127 + 90 * np.stack(waves, -1)
    picture[(x - 0.6) ** 2 + (y - 0.5) ** 2 < 0.1] += 40
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


shutil.rmtree("photos", ignore_errors=True)
for name in ["bird", "cat", "dog/more"]:
    os.makedirs(f"photos/{name}")
rgb = [Image.fromarray(scene(seed)) for seed in range(8)]
alpha = Image.fromarray((np.mgrid[0:H, 0:W][1] * 9).astype(np.uint8))
rgb[0].save("photos/bird/0_rgb.png")
rgb[1].convert("L").save("photos/bird/1_grey.png")
rgb[2].quantize(16).save("photos/bird/2_palette.png")
rgb[3].putalpha(alpha)
rgb[3].save("photos/cat/3_rgba.png")
grey = rgb[4].convert("L")
grey.putalpha(alpha)
grey.save("photos/cat/4_grey_alpha.png")
rgb[4].convert("1").save("photos/cat/5_bits.png")
rgb[5].save("photos/cat/6_colour.jpg", quality=90)
rgb[6].save("photos/dog/7_full.jpeg", quality=90, subsampling=0)
rgb[7].save("photos/dog/8_progressive.JPG", quality=80, progressive=True)
rgb[7].convert("L").save("photos/dog/more/9_grey.jpg", quality=85)
# What is no image by its name does not count, nor does what is hidden.
open("photos/cat/notes.txt", "w").write("Thumbnails of the second roll.\n")

paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk("photos") for name in names if name != "notes.txt")
kinds = {"RGB": 3, "L": 1}
expected = {"label": np.array([["bird", "cat", "dog"].index(path.split("/")[1]) for path in paths])}
# 0 for PNG, 1 for JPEG, 2 where it has fewer pixels of colour than of brightness.
expected["kind"] = np.array([{6: 2, 7: 1, 8: 2, 9: 1}.get(at, 0) for at in range(len(paths))], np.uint8)
for mode in kinds:
    images = [Image.open(path).convert(mode) for path in paths]
    expected[f"{mode}_{H}x{W}"] = np.stack([np.asarray(image) for image in images])
    for height, width in [(9, 7), (31, 40), (20, 10)]:
        small = [image.resize((width, height), Image.Resampling.BILINEAR) for image in images]
        expected[f"{mode}_{height}x{width}"] = np.stack([np.asarray(image) for image in small])
np.savez_compressed("expected.npz", **expected)

column = [{"bytes": open(path, "rb").read(), "path": os.path.basename(path)} for path in paths]
kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
table = pa.table({"image": pa.array(column, kind), "label": pa.array(expected["label"])})
pq.write_table(table, "photos.parquet", row_group_size=4)
