"""How step times grow: with the batch, the parameters, the length of sequences and the threads; dpc private and not, beside PyTorch
and Opacus.

    cargo build --release
    pip install torch opacus onnx onnxscript
    python benches/scaling.py [--against batch,threads] [--rounds 2] [--threads 2]

Against the batch: the paper's CIFAR-10 network at 16 to 1024. Parameters: a perceptron of two hidden layers, 64 to 4096 wide, at
batch 64. Length: two transformer encoder layers of width 128 over 32 to 1024 tokens, at batch 16. Threads: the CIFAR-10 network at
batch 64. The table goes to benches/scaling.md, and a plot of it to benches/scaling.svg.
"""

import argparse
import os
import sys
from pathlib import Path

from report import curves, lines, table, write
from turns import ROOT, arguments, busy, compile_model, exported, measured, opacus, runs_itself

PEERS = ["torch", "opacus"]
AGAINST = {"batch": [16, 64, 256, 1024], "parameters": [64, 256, 1024, 4096], "length": [32, 128, 512, 1024], "threads": []}
BATCHES = {"parameters": 64, "length": 16, "threads": 64}
WORDS = 5_000


def build(what):
    """The network, the inputs of a batch, and the number of classes; `what` is the scale and a size of it."""
    sys.path.insert(0, os.path.join(ROOT, "models"))
    import torch
    from torch import nn

    against, size = what.split("-")
    if against == "parameters":
        width = int(size)
        net = nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
        return net, lambda batch: torch.randn(batch, 784), 10
    if against == "length":
        from models import encoder_layer

        length = int(size)

        class Encoder(nn.Module):
            def __init__(self):
                super().__init__()
                self.embedding = nn.Embedding(WORDS, 128)
                self.layers = nn.Sequential(*[encoder_layer(nn, 128, 4, 512) for _ in range(2)])
                self.head = nn.Linear(128, 2)

            def forward(self, ids):
                return self.head(self.layers(self.embedding(ids)).mean(1))

        return Encoder(), lambda batch: torch.randint(0, WORDS, (batch, length)), 2
    import paper_nets

    return paper_nets.CifarCnn(), lambda batch: torch.randn(batch, 3, 32, 32), 10


def peer(name, what, batch):
    """A step of a peer on random data."""
    import torch

    net, inputs, classes = build(what)
    x, labels = inputs(batch), torch.randint(0, classes, (batch,))
    loss, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.05)
    if name == "opacus":
        net, optimizer, _ = opacus(net, optimizer, (x, labels), batch)

    def step():
        optimizer.zero_grad()
        loss(net(x), labels).backward()
        optimizer.step()

    net.train()
    return step


def export_network(what, path):
    import torch

    torch.manual_seed(0)
    net, inputs, _ = build(what)
    from recipes import export

    export("ts", net, {"x": inputs(2)}, Path(path))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default=",".join(AGAINST))
    arguments(parser, "", 2)
    options, script = parser.parse_args(), os.path.abspath(__file__)
    if runs_itself(script, options, peer, export_network):
        return
    threads = [1 << k for k in range(options.threads.bit_length()) if 1 << k < options.threads] + [options.threads]
    sizes = {**AGAINST, "threads": threads}
    if options.batch:
        sizes["batch"] = list(map(int, options.batch.split(",")))

    def artifact(what, _batch, folder):
        # The size of a batch and the number of threads make no other network.
        own = what if what.split("-")[0] in ("parameters", "length") else "cifar-0"
        made = os.path.join(folder, f"{own}.dpc")
        if not os.path.exists(made):
            compile_model(options.dpc, exported(script, own, folder), made, "cross-entropy")
        return made

    was_busy = busy()
    chosen = options.against.split(",")
    cases = [(f"{against}-{size}", BATCHES.get(against, size)) for against in chosen for size in sizes[against]]
    of = lambda case: int(case[0].split("-")[1])
    rows = measured(options, script, cases, artifact, PEERS, lambda case: of(case) if case[0].startswith("threads") else None)
    ratios = [("dpc ÷ torch", "dpc", "torch"), ("Opacus ÷ dpc", "opacus", "dpc"), ("private ÷ non-private", "dpc", "dpc non-private")]
    titles = {"batch": "CIFAR-10 network by the batch", "parameters": "perceptron by its width", "length": "encoder by the length",
              "threads": "CIFAR-10 network by threads"}
    at = lambda against: lambda case: of(case) if case[0].startswith(against) else None
    panels = [(titles[against], "ms a step", lines(rows, at(against), "median_ms")) for against in chosen]
    picture = curves(panels, "how a step's time grows", "times of a step by batch, parameters, length and threads")
    write("scaling", "How a step's time grows", script, options, was_busy, table(rows, "what", ratios), picture)


if __name__ == "__main__":
    main()
