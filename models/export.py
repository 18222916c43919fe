"""Exports every ONNX model of this folder; the same models each time.

python models/export.py            all of them
python models/export.py zoo mlp    one of the zoo (or `paper`, `refused` in place of `zoo`)
"""

import sys
from pathlib import Path

import torch

from recipes import RECIPES, export
from zoo_nets import ZOO

HERE = Path(__file__).parent


def export_zoo(only):
    folder = HERE / "zoo"
    folder.mkdir(exist_ok=True)
    for entry in ZOO.values():
        if only and entry.name not in only:
            continue
        net, inputs, _ = entry.make()
        for recipe in RECIPES:
            path = folder / f"{entry.name}.{recipe}.onnx"
            export(recipe, net, entry.torch_inputs(inputs), path, entry.opset, entry.edit, entry.external)
            print(path.relative_to(HERE))


GROUPS = {"zoo": export_zoo}


def main():
    torch.set_num_threads(1)
    group, *only = sys.argv[1:] or [None]
    for name, run in GROUPS.items():
        if group in (None, name):
            run(only)


if __name__ == "__main__":
    main()
