"""Step times and memory of one embedding from a thousand to a million rows, the Opacus paper's Figure 3: dpc private and not,
beside PyTorch and Opacus.

    cargo build --release
    pip install torch opacus onnx onnxscript
    python benches/embedding.py [--rows 1000,10000] [--batch 64] [--rounds 3] [--threads 2]

Records are one id each, as in the layers of that paper, and the table has 16 columns. A step is all of one, the noise of every row
of the table included, which no private training can leave out: the loss is the mean square of a record's row. The table of figures
goes to benches/embedding.md, and a plot of it to benches/embedding.svg.
"""

import argparse
import os
import sys
from pathlib import Path

from report import curves, lines, table, write
from turns import ROOT, arguments, busy, compile_model, exported, measured, opacus, runs_itself

ROWS = [1_000, 10_000, 100_000, 1_000_000]
WIDTH = 16
PEERS = ["torch", "opacus"]
# What a process may hold: Opacus stores a gradient of the whole table for each record.
SHARE = 0.75


def losses(rows):
    """A module that yields the loss of each record."""
    from torch import nn

    class Losses(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(rows, WIDTH)

        def forward(self, ids):
            return self.embedding(ids).square().mean(dim=1)

    return Losses()


def ids(rows, batch):
    import torch

    return torch.randint(0, rows, (batch,))


def peer(name, rows, batch):
    """A step of a peer on random data; it fails where it needs more memory than there is."""
    import resource

    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_AS, (int(SHARE * memory), int(SHARE * memory)))
    net, x = losses(int(rows)), ids(int(rows), batch)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    if name == "opacus":
        net, optimizer, _ = opacus(net, optimizer, (x,), batch)

    def step():
        optimizer.zero_grad()
        net(x).mean().backward()
        optimizer.step()

    net.train()
    return step


def export_table(rows, path):
    sys.path.insert(0, os.path.join(ROOT, "models"))
    import torch
    from recipes import export

    torch.manual_seed(0)
    export("ts", losses(int(rows)), {"ids": ids(int(rows), 2)}, Path(path), outputs=("loss",))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(map(str, ROWS)))
    arguments(parser, "64", 3)
    options, script = parser.parse_args(), os.path.abspath(__file__)
    if runs_itself(script, options, peer, export_table):
        return

    def artifact(rows, _batch, folder):
        made = os.path.join(folder, f"{rows}.dpc")
        if not os.path.exists(made):
            compile_model(options.dpc, exported(script, rows, folder), made, "output:loss")
        return made

    was_busy = busy()
    batches = list(map(int, options.batch.split(",")))
    rows = measured(options, script, [(count, batch) for batch in batches for count in options.rows.split(",")], artifact, PEERS)
    ratios = [("dpc: private ÷ not", "dpc", "dpc non-private"), ("Opacus ÷ PyTorch", "opacus", "torch"), ("Opacus ÷ dpc", "opacus", "dpc")]
    panels = []
    for batch in batches:
        at = lambda case: int(case[0]) if case[1] == batch else None
        panels += [(f"time of a step by rows, batch {batch}", "ms", lines(rows, at, "median_ms")),
                   (f"memory by rows, batch {batch}", "MiB", lines(rows, at, "memory"))]
    picture = curves(panels, f"one embedding of {WIDTH} columns", "time and memory by the rows of an embedding")
    write("embedding", "One embedding, by its rows", script, options, was_busy, table(rows, "rows", ratios), picture)


if __name__ == "__main__":
    main()
