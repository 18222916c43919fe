"""Step times of single layers, the ones of the Opacus paper's Figure 2 at its sizes: dpc private and not, beside PyTorch and Opacus.

    cargo build --release
    pip install torch opacus onnx onnxscript
    python benches/layers.py [--batch 64] [--layers linear,lstm] [--rounds 3] [--threads 2]

A step is all of one: the loss is the mean square of what the layer yields for a record; then come the gradient, the clipping and
the noise, where it is private, and the update. The table goes to benches/layers.md, and a plot of it to benches/layers.svg.
"""

import argparse
import os
import sys
from pathlib import Path

from report import bars, ratio, table, write
from turns import ROOT, arguments, busy, compile_model, exported, measured, opacus, runs_itself

LAYERS = ["linear", "conv", "layernorm", "instancenorm", "groupnorm", "embedding", "mha", "rnn", "gru", "lstm"]
PEERS = ["torch", "opacus"]


def layer(kind, private):
    """The layer, in Opacus's own form if that is asked for, and the shapes of its inputs without the batch."""
    from torch import nn

    if kind in ("rnn", "gru", "lstm", "mha") and private:
        from opacus import layers

        modules = {"rnn": layers.DPRNN, "gru": layers.DPGRU, "lstm": layers.DPLSTM, "mha": layers.DPMultiheadAttention}
    else:
        modules = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM, "mha": nn.MultiheadAttention}
    sequence = [(128, 100)]
    return {
        "linear": lambda: (nn.Linear(512, 512), [(512,)]),
        "conv": lambda: (nn.Conv2d(64, 64, 8), [(64, 50, 100)]),
        "layernorm": lambda: (nn.LayerNorm(64), [(64,)]),
        "instancenorm": lambda: (nn.InstanceNorm1d(256, affine=True), [(256, 64)]),
        "groupnorm": lambda: (nn.GroupNorm(16, 256), [(256,)]),
        "embedding": lambda: (nn.Embedding(20000, 100), [()]),
        "mha": lambda: (modules["mha"](100, 4, batch_first=True), [(64, 100), (128, 100)]),
        "rnn": lambda: (modules["rnn"](100, 100, batch_first=True), sequence),
        "gru": lambda: (modules["gru"](100, 100, batch_first=True), sequence),
        "lstm": lambda: (modules["lstm"](100, 100, batch_first=True), sequence),
    }[kind]()


def losses(kind, private=False):
    """A module that yields the loss of each record, and the shapes of its inputs."""
    from torch import nn

    inner, shapes = layer(kind, private)

    class Losses(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = inner

        def forward(self, *inputs):
            if kind == "mha":
                query, key = inputs
                made = self.layer(query, key, key, need_weights=False)
            else:
                made = self.layer(*inputs)
            made = made[0] if isinstance(made, tuple) else made
            return (made * made).flatten(1).mean(dim=1)

    return Losses(), shapes


def data(kind, shapes, batch):
    import torch

    if kind == "embedding":
        return [torch.randint(0, 20000, (batch,))]
    return [torch.randn(batch, *shape) for shape in shapes]


def peer(name, kind, batch):
    """A step of a peer on random data."""
    import torch

    net, shapes = losses(kind, name == "opacus")
    inputs = data(kind, shapes, batch)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    if name == "opacus":
        net, optimizer, _ = opacus(net, optimizer, inputs, batch)

    def step():
        optimizer.zero_grad()
        net(*inputs).mean().backward()
        optimizer.step()

    net.train()
    return step


def export_layer(kind, path):
    sys.path.insert(0, os.path.join(ROOT, "models"))
    import torch
    from recipes import export

    torch.manual_seed(0)
    net, shapes = losses(kind)
    inputs = {f"x{i}": x for i, x in enumerate(data(kind, shapes, 2))}
    export("ts", net, inputs, Path(path), outputs=("loss",))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default=",".join(LAYERS))
    arguments(parser, "64", 3)
    options, script = parser.parse_args(), os.path.abspath(__file__)
    if runs_itself(script, options, peer, export_layer):
        return

    def artifact(kind, _batch, folder):
        made = os.path.join(folder, f"{kind}.dpc")
        if not os.path.exists(made):
            compile_model(options.dpc, exported(script, kind, folder), made, "output:loss")
        return made

    was_busy = busy()
    cases = [(kind, batch) for kind in options.layers.split(",") for batch in map(int, options.batch.split(","))]
    rows = measured(options, script, cases, artifact, PEERS)
    ratios = [("dpc: private ÷ not", "dpc", "dpc non-private"), ("Opacus ÷ PyTorch", "opacus", "torch"),
              ("dpc ÷ PyTorch", "dpc", "torch"), ("Opacus ÷ dpc", "opacus", "dpc")]
    groups = [(f"{kind}, batch {batch}", [(title, ratio(found, a, b)) for title, a, b in ratios[:2]]) for (kind, batch), found in rows.items()]
    title = "private step ÷ step without privacy (logarithmic, from 1/2)"
    picture = bars(groups, ["#1b6ca8", "#e07a5f"], title, "what privacy costs", -1, 7)
    write("layers", "The layers of the Opacus paper", script, options, was_busy, table(rows, "layer", ratios), picture)


if __name__ == "__main__":
    main()
