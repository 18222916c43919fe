"""Exports every ONNX model of this folder; the same models each time.

python models/export.py                 all of them
python models/export.py GROUP [NAME...] only `paper`, `zoo`, `refused`, `hazards` or `misfits`, or some of one
"""

import json
import sys
from pathlib import Path

import onnx
import torch

from misfit_nets import MISFITS
from paper_nets import PAPER
from recipes import RECIPES, export
from refused_nets import HAZARDS, REFUSED
from zoo_nets import ZOO

HERE = Path(__file__).parent


def export_paper(wanted):
    for model in filter(wanted, PAPER.values()):
        net, inputs, _ = model.make()
        export("ts", net, inputs, HERE / f"{model.name}.onnx")


def export_zoo(wanted):
    folder = HERE / "zoo"
    folder.mkdir(exist_ok=True)
    for entry in filter(wanted, ZOO.values()):
        net, inputs, _ = entry.make()
        for recipe in RECIPES:
            path = folder / f"{entry.name}.{recipe}.onnx"
            export(recipe, net, entry.torch_inputs(inputs), path, entry.opset, entry.edit, entry.external, entry.outputs)


def export_refused(wanted):
    _export_faulty(HERE / "refused", REFUSED, wanted, defaults=False)


def export_hazards(wanted):
    _export_faulty(HERE / "hazards", HAZARDS, wanted, defaults=True)


def _export_faulty(folder, models, wanted, defaults):
    """Exports each model by both exporters; `manifest.json` says what is wrong with it and which nodes are at fault."""
    folder.mkdir(exist_ok=True)
    lines = []
    for model in models.values():
        line = {"name": model.name, "why": model.why, "nodes": {}}
        for recipe in model.recipes:
            file = f"{model.name}.{recipe}.onnx"
            if wanted(model):
                net, inputs = model.make()
                export(recipe, net, inputs, folder / file, defaults=defaults)
            nodes = onnx.load(folder / file).graph.node
            named = {op: [n.name for n in nodes if n.op_type == op] for op in model.ops}
            line["nodes"][file] = [name for op, count in model.ops.items() for name in named[op][:count]]
        lines.append(json.dumps(line))
    (folder / "manifest.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


def export_misfits(wanted):
    """`manifest.json` says which phrase of a warning each loss must bring, if any."""
    folder = HERE / "misfits"
    folder.mkdir(exist_ok=True)
    for model in filter(wanted, MISFITS.values()):
        net, inputs, outputs = model.make()
        for recipe in RECIPES:
            export(recipe, net, inputs, folder / f"{model.name}.{recipe}.onnx", outputs=outputs)
    lines = [json.dumps({"name": model.name, "said": model.said}) for model in MISFITS.values()]
    (folder / "manifest.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


GROUPS = {"paper": export_paper, "zoo": export_zoo, "refused": export_refused, "hazards": export_hazards, "misfits": export_misfits}


def main():
    torch.set_num_threads(1)
    group, *names = sys.argv[1:] or [None]
    if group not in (None, *GROUPS):
        sys.exit(__doc__)
    for name, run in GROUPS.items():
        if group in (None, name):
            run(lambda model: not names or model.name in names)


if __name__ == "__main__":
    main()
