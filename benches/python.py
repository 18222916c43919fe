"""Steps a second from Python: `Private.fit` beside Opacus's loop, in one process, on the four networks of the Opacus paper.

    cargo xtask wheel
    pip install target/wheels/dpc-*.whl torch opacus onnx onnxscript
    python benches/python.py [--batch 256] [--rounds 5] [--seconds 4] [--threads 2]

Both train a copy of the same module on the same arrays at the same sample rate, clip bound and noise multiplier, round after round
in turn. A round is a whole call of `fit`, with its plan, its certificate and the parameters written back, against as many steps of
Opacus's loop: its sampler, loader, forward and backward pass and optimizer. Its number of steps is such that it takes about
`--seconds`. Once and apart stands what comes before the first step: exporting and compiling here, wrapping there. The figures are
medians over the rounds. The table goes to benches/python.md unless the machine was busy with something else.
"""

import argparse
import copy
import os
import statistics
import sys
import time
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), "models"))
NETWORKS = ["mnist_cnn", "cifar_cnn", "imdb_embedding", "imdb_lstm"]
SHAPES = {"mnist_cnn": (1, 28, 28), "cifar_cnn": (3, 32, 32)}
PLAN = dict(noise_multiplier=1.0, clip=1.0, lr=0.05, delta=1e-6)


def network(name):
    import paper_nets
    import torch

    torch.manual_seed(0)
    return {"mnist_cnn": paper_nets.MnistCnn, "cifar_cnn": paper_nets.CifarCnn, "imdb_embedding": paper_nets.ImdbEmbedding,
            "imdb_lstm": paper_nets.ImdbLstm}[name]()


def arrays(name, records):
    import torch

    if name in SHAPES:
        return torch.rand(records, *SHAPES[name]), torch.randint(0, 10, (records,))
    return torch.randint(0, 10004, (records, 256)), torch.randint(0, 2, (records,))


class Dpc:
    def __init__(self, name, x, y, batch):
        import dpc

        self.data, self.batch = (x, y), batch
        begun = time.perf_counter()
        self.private = dpc.make_private(network(name), example=(x[:2],), clip=PLAN["clip"], optimizer=dpc.SGD(lr=PLAN["lr"]))
        self.made = time.perf_counter() - begun

    def steps(self, count):
        self.private.fit(
            self.data, noise_multiplier=PLAN["noise_multiplier"], delta=PLAN["delta"], batch_size=self.batch, steps=count,
            device="cpu", progress=False)


class Opacus:
    mode = "hooks"

    def __init__(self, name, x, y, batch):
        import torch
        from opacus import PrivacyEngine
        from opacus.validators import ModuleValidator
        from torch.utils.data import DataLoader, TensorDataset

        net = network(name)
        begun = time.perf_counter()
        net = ModuleValidator.fix(copy.deepcopy(net)).train()
        self.loss = torch.nn.CrossEntropyLoss()
        ghost = dict(grad_sample_mode="ghost", criterion=self.loss) if self.mode == "ghost" else {}
        made = PrivacyEngine().make_private(
            module=net, optimizer=torch.optim.SGD(net.parameters(), lr=PLAN["lr"]),
            data_loader=DataLoader(TensorDataset(x, y), batch_size=batch), noise_multiplier=PLAN["noise_multiplier"],
            max_grad_norm=PLAN["clip"], **ghost)
        self.net, self.optimizer, self.loader = made[0], made[1], made[-1]
        self.loss = made[2] if ghost else self.loss
        self.made = time.perf_counter() - begun

    def steps(self, count):
        while count > 0:
            for x, y in self.loader:
                self.optimizer.zero_grad()
                self.loss(self.net(x), y).backward()
                self.optimizer.step()
                count -= 1
                if count == 0:
                    return


class Ghost(Opacus):
    mode = "ghost"


CONTESTANTS = {"dpc": Dpc, "opacus": Opacus, "opacus_ghost": Ghost}


def measured(name, batch, options):
    """The steps a second of each contestant, by name, and the seconds before the first step."""
    x, y = arrays(name, options.records or 8 * batch)
    made = {which: make(name, x, y, batch) for which, make in CONTESTANTS.items()}
    counts, rates = {}, {which: [] for which in made}
    for which, one in made.items():
        # The first steps allocate and choose kernels.
        one.steps(2)
        begun = time.perf_counter()
        one.steps(2)
        counts[which] = max(2, round(2 * options.seconds / (time.perf_counter() - begun)))
    for _ in range(options.rounds):
        for which, one in made.items():
            begun = time.perf_counter()
            one.steps(counts[which])
            rates[which].append(counts[which] / (time.perf_counter() - begun))
    return {which: statistics.median(found) for which, found in rates.items()}, {which: one.made for which, one in made.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--batch", default="256")
    parser.add_argument("--records", type=int, help="records of the data; by default eight batches")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="that a round of each takes")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    # Before either is imported.
    os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from turns import busy

    was_busy = busy()
    warnings.filterwarnings("ignore")
    import dpc
    import torch
    from opacus import __version__ as opacus_version

    torch.set_num_threads(options.threads)
    lines = ["| network | batch | " + " | ".join(f"{which}, steps a second" for which in CONTESTANTS) +
             " | dpc ÷ best Opacus | before the first step: dpc, Opacus |", "|---" * (len(CONTESTANTS) + 4) + "|"]
    for name in options.networks.split(","):
        for batch in map(int, options.batch.split(",")):
            rates, made = measured(name, batch, options)
            best = max(rate for which, rate in rates.items() if which != "dpc")
            cells = [name, str(batch), *(f"{rate:.3g}" for rate in rates.values()), f"{rates['dpc'] / best:.2f}",
                     f"{made['dpc']:.1f} s, {made['opacus']:.1f} s"]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    text = "\n".join(lines)
    print(text)
    if was_busy:
        sys.exit("the machine was busy when this began: nothing is written")
    with open(os.path.join(HERE, "python.md"), "w") as file:
        file.write(
            f"# From Python\n\nBy `benches/python.py`: {options.threads} threads, dpc {dpc.__version__}, torch {torch.__version__}, "
            f"opacus {opacus_version}, in one process; medians of {options.rounds} rounds in turn of {options.seconds:g} s each."
            f"\n\n{text}\n")


if __name__ == "__main__":
    main()
