"""Step times of the four networks of the Opacus paper: dpc private and not, beside PyTorch and Opacus, in one run.

    cargo build --release
    pip install torch opacus
    python benches/networks.py [--batch 64,256] [--rounds 5] [--threads 2]

Every contestant runs for a short while in turn, round after round, so that a machine that slows down slows all of them; the
figures are the medians over the rounds of each round's median. The table goes to benches/networks.md, and a plot of it to
benches/networks.svg, unless the machine was busy with something else: then it is printed, and nothing is overwritten.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
NETWORKS = ["mnist_cnn", "cifar_cnn", "imdb_embedding", "imdb_lstm"]
PEERS = ["torch", "opacus", "opacus_ghost"]
SECONDS = 2.0


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
    step()
    step()
    times, start = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < SECONDS:
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    print(json.dumps({"median_ms": 1e3 * statistics.median(times), "min_ms": 1e3 * min(times)}))


def figures(command, threads):
    """What a command says of its steps in its last line, and the most memory that it held, in MiB; None where it fails."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status != 0:
        return None
    return {**json.loads(text.strip().splitlines()[-1]), "memory": usage.ru_maxrss / 1024}


def contestants(dpc, network, batch, threads, folder):
    """The commands by name, dpc's first."""
    artifact = os.path.join(folder, f"{network}.dpc")
    if not os.path.exists(artifact):
        model = os.path.join(ROOT, "models", f"{network}.onnx")
        subprocess.run([dpc, "compile", model, "-o", artifact, "--loss", "cross-entropy"], check=True, stdout=subprocess.DEVNULL)
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
    """Bars of the time of each contestant, relative to PyTorch without privacy, on a logarithmic scale."""
    import math

    colours = ["#1b6ca8", "#8ecae6", "#999999", "#e07a5f", "#f2b5a0"]
    bars, y = [], 40
    for (network, batch), found in rows.items():
        bars.append(f'<text x="8" y="{y + 11}" font-weight="bold">{network}, batch {batch}</text>')
        y += 18
        for name, colour in zip(names, colours):
            if found.get(name) and found.get("torch"):
                ratio = found[name]["median_ms"] / found["torch"]["median_ms"]
                width = 300 * (math.log2(ratio) + 3) / 9
                bars.append(f'<rect x="150" y="{y}" width="{max(width, 2):.0f}" height="11" fill="{colour}"/>')
                bars.append(f'<text x="8" y="{y + 10}">{name}</text><text x="{155 + max(width, 2):.0f}" y="{y + 10}">{ratio:.2f}</text>')
            y += 14
        y += 8
    title = '<text x="8" y="20" font-size="13">time of a step ÷ PyTorch without privacy (logarithmic, from 1/8)</text>'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="560" height="{y}" font-family="sans-serif" font-size="10">'
            f'<rect width="560" height="{y}" fill="white"/>{title}{"".join(bars)}</svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dpc", default=os.path.join(ROOT, "target", "release", "dpc"))
    parser.add_argument("--batch", default="64,256")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peer", nargs=3, metavar=("NAME", "NETWORK", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        name, network, batch = options.peer
        return peer(network, int(batch), name, options.threads)
    import tempfile

    busy = os.getloadavg()[0] > 0.5
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks.split(","):
            for batch in map(int, options.batch.split(",")):
                commands = contestants(options.dpc, network, batch, options.threads, folder)
                rounds = {name: [] for name in commands}
                for _ in range(options.rounds):
                    for name, command in commands.items():
                        rounds[name].append(figures(command, options.threads))
                middle = lambda found: {key: statistics.median(one[key] for one in found) for key in ("median_ms", "min_ms", "memory")}
                rows[network, batch] = {name: middle(found) if all(found) else None for name, found in rounds.items()}
                print(network, batch, {name: found and round(found["median_ms"], 2) for name, found in rows[network, batch].items()}, flush=True)
    names = ["dpc", "dpc non-private", *PEERS]
    text = table(rows, names)
    print(text)
    if busy:
        sys.exit("the machine was busy when this began: nothing is written")
    from importlib.metadata import version

    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.processor())
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "opacus"))
    with open(os.path.join(HERE, "networks.md"), "w") as file:
        file.write(f"# The networks of the Opacus paper\n\nBy `benches/networks.py`: {options.threads} threads, {model}, {versions}; "
                   f"medians of {options.rounds} rounds in turn; memory is the process's.\n\n{text}\n\n![times](networks.svg)\n")
    with open(os.path.join(HERE, "networks.svg"), "w") as file:
        file.write(plot(rows, names))


if __name__ == "__main__":
    main()
