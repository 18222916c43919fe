"""Step times of the four networks of the Opacus paper: dpc private and not, beside PyTorch, Opacus and JAX, in one run.

    cargo build --release
    pip install torch opacus jax
    python benches/networks.py [--batch 64,256] [--rounds 5] [--threads 2]

Every contestant runs for a short while in turn, round after round, so that a machine that slows down slows all of them; the
figures are the medians over the rounds of each round's median. The table goes to benches/networks.md, and a plot of it to
benches/networks.svg, unless the machine was busy with something else: then it is printed, and nothing is overwritten.
"""

import argparse
import os
import sys

from report import COLOURS, bars, ratio, table, write
from turns import ROOT, arguments, busy, compile_model, measured, opacus, runs_itself

NETWORKS = ["mnist_cnn", "cifar_cnn", "imdb_embedding", "imdb_lstm"]
PEERS = ["torch", "opacus", "opacus_ghost", "jax"]


def peer(name, network, batch):
    """A step of a peer on random data."""
    sys.path.insert(0, os.path.join(ROOT, "models"))
    import paper_nets
    import torch
    from torch import nn

    make = {"mnist_cnn": paper_nets.MnistCnn, "cifar_cnn": paper_nets.CifarCnn,
            "imdb_embedding": paper_nets.ImdbEmbedding, "imdb_lstm": paper_nets.ImdbLstm}[network]
    net = make()
    shapes = {"mnist_cnn": (1, 28, 28), "cifar_cnn": (3, 32, 32)}
    x = torch.randn(batch, *shapes[network]) if network in shapes else torch.randint(0, 10004, (batch, 256))
    labels = torch.randint(0, 10 if network in shapes else 2, (batch,))
    if name == "jax":
        from jax_step import private_step

        return private_step(network, x.numpy(), labels.numpy())
    if name != "torch" and network == "imdb_lstm":
        from opacus.layers import DPLSTM

        net.lstm = DPLSTM(100, 100)
    loss, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.05)
    if name == "opacus":
        net, optimizer, _ = opacus(net, optimizer, (x, labels), batch)
    elif name == "opacus_ghost":
        net, optimizer, loss, _ = opacus(net, optimizer, (x, labels), batch, grad_sample_mode="ghost", criterion=loss)

    def step():
        optimizer.zero_grad()
        loss(net(x), labels).backward()
        optimizer.step()

    net.train()
    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--peers", default=",".join(PEERS))
    arguments(parser, "64,256", 5)
    options, script = parser.parse_args(), os.path.abspath(__file__)
    if runs_itself(script, options, peer, None):
        return

    def artifact(network, _batch, folder):
        made = os.path.join(folder, f"{network}.dpc")
        if not os.path.exists(made):
            compile_model(options.dpc, os.path.join(ROOT, "models", f"{network}.onnx"), made, "cross-entropy")
        return made

    was_busy = busy()
    cases = [(network, batch) for network in options.networks.split(",") for batch in map(int, options.batch.split(","))]
    rows = measured(options, script, cases, artifact, options.peers.split(","))
    ratios = [("dpc ÷ torch", "dpc", "torch"), ("best Opacus ÷ dpc", ["opacus", "opacus_ghost"], "dpc"),
              ("private ÷ non-private", "dpc", "dpc non-private")]
    groups = [(f"{network}, batch {batch}", [(name, ratio(found, name, "torch")) for name in found]) for (network, batch), found in rows.items()]
    title = "time of a step ÷ PyTorch without privacy (logarithmic, from 1/8)"
    picture = bars(groups, COLOURS, title, "times of a step", -3, 9)
    write("networks", "The networks of the Opacus paper", script, options, was_busy, table(rows, "network", ratios), picture)


if __name__ == "__main__":
    main()
