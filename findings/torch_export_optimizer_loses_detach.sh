#!/usr/bin/env bash
# torch 2.15.0: torch.onnx.export(dynamo=True) keeps `x.detach()` as an Identity, and its default optimiser then merges the
# detached branch with the one that is not.
#
# Forward values are the same, so nothing that runs the file forward can notice. Whatever differentiates it can: with
# optimize=False the Identity's metadata name the call (aten.detach), and the file has two products; by default there is no
# Identity, and the products of `b(y)` and of `b(y.detach())` are one node, so that a gradient passes where the module
# stopped it. The node that adds them still names both in its metadata.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PY'
import contextlib
import io

import onnx
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x):
        y = self.a(x)
        return self.b(y.detach()) + torch.tanh(self.b(y))


print("torch", torch.__version__, "onnx", onnx.__version__)
seen = {}
for optimize in (False, True):
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(Net(), (torch.zeros(2, 4),), "net.onnx", dynamo=True, optimize=optimize, verbose=False)
    nodes = onnx.load("net.onnx").graph.node
    call = lambda node: "".join(p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.fx_node")
    detached = [n.name for n in nodes if n.op_type == "Identity" and "aten.detach" in call(n)]
    products = [n.name for n in nodes if n.op_type == "Gemm"]
    print("optimize", optimize, "detached", detached, "products", products)
    seen[optimize] = (len(detached), len(products))
assert seen == {False: (1, 3), True: (0, 2)}, seen
PY
