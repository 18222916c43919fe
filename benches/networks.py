"""Step times of the four networks of the Opacus paper: dpc private and not, beside PyTorch and Opacus, in one run.

    cargo build --release
    pip install torch opacus
    python benches/networks.py [--batch 64,256] [--rounds 5] [--threads 2]

Every contestant runs for a short while in turn, round after round, so that a machine that slows down slows all of them; the
figures are the medians over the rounds of each round's median. The table goes to benches/networks.md, and a plot of it to
benches/networks.svg, unless the machine was busy with something else: then it is printed, and nothing is overwritten.
"""

import argparse
import os
import sys
import tempfile

from turns import ROOT, arguments, bars, busy, compile_model, in_turn, time_steps, write

NETWORKS = ["mnist_cnn", "cifar_cnn", "imdb_embedding", "imdb_lstm"]
PEERS = ["torch", "opacus", "opacus_ghost"]


def peer(network, batch, name, threads):
    """Steps of a peer on random data: a line of JSON."""
    sys.path.insert(0, os.path.join(ROOT, "models"))
    import warnings

    warnings.filterwarnings("ignore")
    import paper_nets
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    make = {"mnist_cnn": paper_nets.MnistCnn, "cifar_cnn": paper_nets.CifarCnn,
            "imdb_embedding": paper_nets.ImdbEmbedding, "imdb_lstm": paper_nets.ImdbLstm}[network]
    net = make()
    shapes = {"mnist_cnn": (1, 28, 28), "cifar_cnn": (3, 32, 32)}
    x = torch.randn(batch, *shapes[network]) if network in shapes else torch.randint(0, 10004, (batch, 256))
    labels = torch.randint(0, 10 if network in shapes else 2, (batch,))
    loss, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.05)
    if name != "torch":
        from opacus import PrivacyEngine
        from opacus.layers import DPLSTM

        if network == "imdb_lstm":
            net.lstm = DPLSTM(100, 100)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=batch)
        ghost = {"grad_sample_mode": "ghost", "criterion": loss} if name == "opacus_ghost" else {}
        made = PrivacyEngine().make_private(
            module=net, optimizer=optimizer, data_loader=loader, noise_multiplier=1.0, max_grad_norm=1.0,
            poisson_sampling=False, **ghost)
        net, optimizer, loss = made[:3] if ghost else (*made[:2], loss)

    def step():
        optimizer.zero_grad()
        loss(net(x), labels).backward()
        optimizer.step()

    net.train()
    time_steps(step)


def contestants(dpc, network, batch, threads, folder):
    """The commands by name, dpc's first."""
    artifact = os.path.join(folder, f"{network}.dpc")
    if not os.path.exists(artifact):
        compile_model(dpc, os.path.join(ROOT, "models", f"{network}.onnx"), artifact, "cross-entropy")
    step = [dpc, "bench", "step", artifact, "--batch", str(batch), "--device", "cpu", "--json"]
    itself = [sys.executable, os.path.abspath(__file__), "--threads", str(threads), "--peer"]
    peers = {name: [*itself, name, network, str(batch)] for name in PEERS}
    return {"dpc": step, "dpc non-private": [*step, "--non-private"], **peers}


def table(rows, names):
    """The figures as Markdown: milliseconds a step, MiB, and how dpc stands."""
    lines = ["| network | batch | " + " | ".join(names) + " | dpc ÷ torch | best Opacus ÷ dpc | private ÷ non-private |",
             "|---|---|" + "---|" * (len(names) + 3)]
    for (network, batch), found in rows.items():
        def ms(name):
            return found[name]["median_ms"] if found.get(name) else None
        cells = [f"{ms(name):.3g} ms, {found[name]['memory']:.0f} MiB" if ms(name) else "failed" for name in names]
        opacus = [ms(name) for name in names if name.startswith("opacus") and ms(name)]
        ratios = [(ms("dpc"), ms("torch")), (min(opacus, default=None), ms("dpc")), (ms("dpc"), ms("dpc non-private"))]
        cells += [f"{a / b:.2f}" if a and b else "" for a, b in ratios]
        lines.append(f"| {network} | {batch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(rows, names):
    """Bars of the time of each contestant, relative to PyTorch without privacy."""
    def ratio(found, name):
        return found[name]["median_ms"] / found["torch"]["median_ms"] if found.get(name) and found.get("torch") else None
    groups = [(f"{network}, batch {batch}", [(name, ratio(found, name)) for name in names]) for (network, batch), found in rows.items()]
    title = "time of a step ÷ PyTorch without privacy (logarithmic, from 1/8)"
    return bars(groups, ["#1b6ca8", "#8ecae6", "#999999", "#e07a5f", "#f2b5a0"], title, "times of a step", -3, 9)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    arguments(parser, "64,256", 5)
    options = parser.parse_args()
    if options.peer:
        name, network, batch = options.peer
        return peer(network, int(batch), name, options.threads)
    was_busy, rows = busy(), {}
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks.split(","):
            for batch in map(int, options.batch.split(",")):
                commands = contestants(options.dpc, network, batch, options.threads, folder)
                found = rows[network, batch] = in_turn(commands, options.rounds, options.threads)
                print(network, batch, {name: one and round(one["median_ms"], 2) for name, one in found.items()}, flush=True)
    names = ["dpc", "dpc non-private", *PEERS]
    write("networks", "The networks of the Opacus paper", "networks.py", options, was_busy, table(rows, names), plot(rows, names))


if __name__ == "__main__":
    main()
