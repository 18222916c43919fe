"""What the demo's network learns of handwritten digits at several ε: test accuracies of many runs, each with randomness of its own.

    python benches/accuracy.py DPC [--runs 9] [--epsilons 3,1] [--rates 0.25,0.5,1]

At the demo's own learning rate a run is `dpc demo --epsilon E`; at others it is the command that the demo shows at its end, with
another `--lr`, so that the table says how much hangs on it. Everything else is the same for every ε. The table goes to
benches/accuracy.md, below what the file says of how the settings were chosen. Needs nothing but Python.
"""

import argparse
import json
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_suffix(".md")
HEADER = "| ε | learning rate | runs | median | least | most |\n|---|---|---|---|---|---|\n"


def said(dpc, folder, *arguments):
    return subprocess.run([dpc, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def demo(dpc, folder, epsilon):
    """One run of the demo: its accuracy in percent and the command for more that it shows."""
    text = said(dpc, folder, "demo", "--epsilon", epsilon, "--device", "cpu")
    again = next(line.split()[1:] for line in text.splitlines() if line.startswith("  dpc train "))
    return float(re.search(r"test accuracy ([\d.]+) %", text)[1]), again


def train(dpc, folder, again, epsilon, rate):
    """One run by `again`, with another ε and learning rate."""
    command = [*again, "--json", "--device", "cpu", "--valid", "dpc-demo/digits_test.npz"]
    for flag, value in (("--epsilon", epsilon), ("--lr", rate), ("--out", tempfile.mkdtemp(dir=folder) + "/run")):
        command[command.index(flag) + 1] = value
    return 100 * json.loads(said(dpc, folder, *command))["valid"]["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dpc")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--epsilons", default="3,1")
    parser.add_argument("--rates", default="0.25,0.5,1")
    args = parser.parse_args()
    dpc = Path(args.dpc).absolute()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for epsilon in args.epsilons.split(","):
            demos = [demo(dpc, folder, epsilon) for _ in range(args.runs)]
            again = demos[0][1]
            own = again[again.index("--lr") + 1]
            for rate in args.rates.split(","):
                if rate == own:
                    found = [accuracy for accuracy, _ in demos]
                else:
                    found = [train(dpc, folder, again, epsilon, rate) for _ in range(args.runs)]
                kind = f"{rate}, the demo's" if rate == own else rate
                figures = " | ".join(f"{value:.1f} %" for value in (statistics.median(found), min(found), max(found)))
                rows.append(f"| {epsilon} | {kind} | {len(found)} | {figures} |\n")
                print(rows[-1], end="", flush=True)
    before = PAGE.read_text().split(HEADER)[0]
    PAGE.write_text(before + HEADER + "".join(rows))


if __name__ == "__main__":
    main()
