"""What training by many ranks takes: a simulation to 1,024 ranks from the measured times of one, on networks that are stated.

    cargo build --release
    python benches/ranks.py [--batch 16384] [--networks mnist_cnn,cifar_cnn,imdb_embedding,imdb_lstm] [--threads 2] [--steps 50]

Measured, by `dpc bench step`: what a rank computes for its share of a batch, at several sizes, and how much that varies from step to
step; noise, division and update. Stated: latency and bandwidth of a network, what adding up takes in memory, and the sync of the
ledger's disk. Simulated: every message of every rank of src/ranks, by the clocks of its two ends: the calls by recursive doubling, the
sum by Rabenseifner's all-reduce, and the ledger's line by a binomial tree, while rank 0 syncs it. The table goes to benches/ranks.md.

--step NETWORK:RECORDS=MS,RECORDS=MS,… takes whole steps that were measured elsewhere instead (benches/networks.md has some), with a line
through the first and the last of them, noise and update by what one core makes of them, and a variation of up to a tenth that is stated.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile

from turns import HERE, ROOT, busy, compile_model

NETWORKS = ["mnist_cnn", "cifar_cnn", "imdb_embedding", "imdb_lstm"]
# Records of a share whose times are measured; the last is the physical batch of larger shares.
SHARES = [1, 4, 16, 64, 256]
RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
# Seconds of a message, and of a byte of it.
LINKS = {"10 Gb/s Ethernet": (30e-6, 8 / 10e9), "100 Gb/s InfiniBand": (2e-6, 8 / 100e9)}
# Seconds of a byte that is added up, and of one that is copied on its way from the device into the sum and back.
ADDED, COPIED, COPIES = 1 / 4e9, 1 / 10e9, 6
# Of steps that were measured as a whole: seconds of an element's noise on one core, and the copies of the parameters in memory that an
# update takes as long as.
NOISE, UPDATES = 1 / 100e6, 8
# Seconds until a line of the ledger is on the disk.
SYNC = 2e-3


def measure(dpc, artifact, share, threads):
    command = [dpc, "bench", "step", artifact, "--batch", str(share), "--device", "cpu", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "RAYON_NUM_THREADS": str(threads)})
    return json.loads(done.stdout)


class Rank:
    """What one rank takes, in seconds, by the times that were measured for shares of several sizes: sums without noise, whose making
    takes its time from the same cores, as all of them compute; and the update."""

    def __init__(self, parameters, tenths, update, noise):
        self.parameters, self.tenths, self.update, self.noise = parameters, tenths, update, noise

    @staticmethod
    def measured(found, threads):
        parts = {share: one["ranks"][0] for share, one in found.items()}
        tenths = {share: [ms / 1e3 for ms in part["compute"]["tenths_ms"]] for share, part in parts.items()}
        updates = {share: part["update"]["median_ms"] / 1e3 for share, part in parts.items()}
        # Behind a long share noise is ready; behind a short one the update waits for it.
        update, first = min(updates.values()), SHARES[0]
        noise = max(0.0, updates[first] - update) + tenths[first][5]
        tenths = {share: [max(0.0, one - noise / threads) for one in ones] for share, ones in tenths.items()}
        return Rank(found[first]["parameters"], tenths, update, noise / threads)

    @staticmethod
    def told(parameters, steps, threads):
        (few, first), (many, last) = min(steps.items()), max(steps.items())
        update, noise = 4 * parameters * UPDATES * COPIED, parameters * NOISE / threads
        each = (last - first) / (many - few)
        of = lambda share: max(first + each * (share - few) - update - noise, each * share)
        tenths = {share: [of(share) * (1 + tenth / 100) for tenth in range(11)] for share in SHARES}
        return Rank(parameters, tenths, update, noise)

    def batch(self, rows, chance):
        """A physical batch of so many rows, as long as one of the measured ones was."""
        if rows == 0:
            return 0.0
        above = next((share for share in SHARES if share >= rows), SHARES[-1])
        below = max((share for share in SHARES if share <= rows), default=SHARES[0])
        place = chance.random() * 10
        at = min(int(place), 9)
        def drawn(share):
            low, high = self.tenths[share][at : at + 2]
            return low + (high - low) * (place - at)
        weight = (rows - below) / (above - below) if above > below else 0.0
        return drawn(below) * (1 - weight) + drawn(above) * weight

    def compute(self, rows, chance):
        whole, rest = divmod(rows, SHARES[-1])
        return sum(self.batch(SHARES[-1], chance) for _ in range(whole)) + self.batch(rest, chance)


def exchange(clocks, distance, seconds):
    """Every rank and the one at this distance (a power of two) exchange messages."""
    for rank in range(len(clocks)):
        other = rank ^ distance
        if rank < other:
            clocks[rank] = clocks[other] = max(clocks[rank], clocks[other]) + seconds


def distances(ranks):
    return [1 << k for k in range(ranks.bit_length() - 1)]


def announced(clocks, link):
    """All ranks tell all others 16 bytes, by recursive doubling."""
    latency, of_byte = link
    for distance in distances(len(clocks)):
        exchange(clocks, distance, latency + 16 * distance * of_byte)


def summed(clocks, size, link):
    """Rabenseifner's all-reduce of so many bytes: halves are exchanged and added, then gathered."""
    latency, of_byte = link
    rounds = distances(len(clocks))
    part = size
    for distance in reversed(rounds):
        part /= 2
        exchange(clocks, distance, latency + part * (of_byte + ADDED))
    for distance in rounds:
        exchange(clocks, distance, latency + part * of_byte)
        part *= 2


def broadcast(clocks, size, link):
    """Rank 0 tells all, by a binomial tree."""
    latency, of_byte = link
    for distance in distances(len(clocks)):
        for rank in range(distance):
            clocks[rank] += latency
            clocks[rank + distance] = max(clocks[rank + distance], clocks[rank] + size * of_byte)


def simulate(rank, ranks, batch, link, steps, shared_noise, overlapped=True):
    """Seconds of a step on so many ranks: of all, and the median of what is between the end of a rank's sums and that of the slowest."""
    chance, clocks, waits = random.Random(1), [0.0] * ranks, []
    begin = 0.0
    for step in range(steps + 2):
        if step == 2:
            begin = max(clocks)
        made = rank.noise / (ranks if shared_noise else 1)
        # Shares of one batch differ by a record at most; their number is drawn, as sampling does it.
        drawn = max(0, round(chance.gauss(batch, batch**0.5)))
        for k in range(ranks):
            rows = drawn * (k + 1) // ranks - drawn * k // ranks
            clocks[k] += rank.compute(rows, chance) + made
        waits.append(statistics.median(max(clocks) - clock for clock in clocks))
        size = 8 * rank.parameters
        if ranks > 1:
            announced(clocks, link)
            synced = clocks[0] + SYNC
            clocks = [clock + COPIES * size * COPIED for clock in clocks]
            summed(clocks, size, link)
            announced(clocks, link)
            summed(clocks, 64, link)
            clocks[0] = max(clocks[0], synced) if overlapped else clocks[0] + SYNC
            announced(clocks, link)
            broadcast(clocks, 500, link)
        else:
            clocks[0] += SYNC
        for k in range(ranks):
            clocks[k] += rank.update
        if ranks > 1:
            announced(clocks, link)
            summed(clocks, 48, link)
    return (max(clocks) - begin) / steps, statistics.median(waits)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dpc", default=os.path.join(ROOT, "target", "release", "dpc"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--batch", type=int, default=16384)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--step", action="append", default=[], help="NETWORK:RECORDS=MS,RECORDS=MS,… as measured elsewhere")
    parser.add_argument("--build", default="a release build", help="what the table says of the build")
    options = parser.parse_args()
    told = {}
    for one in options.step:
        network, steps = one.split(":")
        told[network] = {int(share): float(ms) / 1e3 for share, ms in (step.split("=") for step in steps.split(","))}
    was_busy = busy() and not set(options.networks.split(",")) <= set(told)
    text = []
    for network in options.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            artifact = os.path.join(folder, "m.dpc")
            compile_model(options.dpc, os.path.join(ROOT, "models", f"{network}.onnx"), artifact, "cross-entropy")
            shares = SHARES[:1] if network in told else SHARES
            found = {share: measure(options.dpc, artifact, share, options.threads) for share in shares}
        rank = Rank.told(found[SHARES[0]]["parameters"], told[network], options.threads) if network in told else Rank.measured(found, options.threads)
        times = ", ".join(f"{1e3 * rank.tenths[share][5]:.3g}" for share in SHARES)
        text += [f"## {network}", "",
                 f"{rank.parameters:,} parameters, so {8 * rank.parameters / 1e6:.3g} MB a sum. Of one rank: sums of "
                 f"{', '.join(map(str, SHARES))} records {times} ms; division and update {1e3 * rank.update:.3g} ms; noise in full "
                 f"{1e3 * rank.noise:.3g} ms of all cores.", ""]
        heads = ["ranks", "records a rank"]
        for name in LINKS:
            heads += [f"{name}: ms a step", "efficiency", "with parts of the noise", "efficiency"]
        text += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        alone = simulate(rank, 1, options.batch, (0, 0), options.steps, False)[0]
        for ranks in RANKS:
            row = [f"{ranks:,}", f"{options.batch / ranks:,.0f}"]
            for link in LINKS.values():
                for shared in (False, True):
                    seconds = simulate(rank, ranks, options.batch, link, options.steps, shared)[0]
                    row += [f"{1e3 * seconds:.3g}", f"{alone / ranks / seconds:.2f}"]
            text.append("| " + " | ".join(row) + " |")
            print(network, row, flush=True)
        text.append("")
    links = "; ".join(f"{name}: {1e6 * latency:.0f} µs a message and {1e-9 / of_byte:.3g} GB/s" for name, (latency, of_byte) in LINKS.items())
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "a processor")
    taken = "whole steps of " + "; ".join(options.step) + " ms, with a stated variation of up to a tenth" if told else "medians and tenths"
    head = [f"# A simulation of up to {RANKS[-1]:,} ranks", "",
            f"By `benches/ranks.py`: batches of {options.batch:,} records expected, on ranks of {options.threads} threads of {model}, of which one was "
            f"measured, {options.build}: {taken}. No cluster was. Stated: {links}; {1e-9 / ADDED:.3g} GB/s to add up, {COPIES} copies of a sum at "
            f"{1e-9 / COPIED:.3g} GB/s; {1e3 * SYNC:.0f} ms to sync the ledger, at the same time as the sum. Efficiency is over one rank with as much disk.", ""]
    if was_busy:
        print("\n".join(head + text))
        sys.exit("the machine was busy when this began: nothing is written")
    with open(os.path.join(HERE, "ranks.md"), "w") as file:
        file.write("\n".join(head + text).rstrip() + "\n")


if __name__ == "__main__":
    main()
