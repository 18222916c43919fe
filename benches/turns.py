"""Contestants that run for a short while in turn, round after round, so that a machine that slows down slows all of them; the
figures are the medians over the rounds of each round's median."""

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
SECONDS = 2.0


def time_steps(step):
    """Runs a step for a while, and prints a line of JSON."""
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


def in_turn(commands, rounds, threads):
    """The figures of each command, by name, or None where it fails."""
    found = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(figures(command, threads))
    keys = ("median_ms", "min_ms", "memory")
    middle = lambda one: {key: statistics.median(round[key] for round in one) for key in keys} if all(one) else None
    return {name: middle(one) for name, one in found.items()}


def compile_model(dpc, model, artifact, loss):
    done = subprocess.run([dpc, "compile", model, "-o", artifact, "--loss", loss], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{model} does not compile:\n{done.stderr}")


def arguments(parser, batches, rounds):
    """The options that all benchmarks have."""
    parser.add_argument("--dpc", default=os.path.join(ROOT, "target", "release", "dpc"))
    parser.add_argument("--batch", default=batches)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peer", nargs=3, metavar=("NAME", "WHAT", "BATCH"), help=argparse.SUPPRESS)


def busy():
    """Whether the machine has something else to do: more than a tenth of its processors' time for some seconds, where the system
    says that, or a load average of more than a half."""
    try:
        def used():
            with open("/proc/stat") as file:
                user, nice, system, idle, waiting, *rest = map(int, file.readline().split()[1:])
            return user + nice + system + sum(rest[:3]), idle + waiting
        before = used()
        time.sleep(5)
        work, rest = (after - first for after, first in zip(used(), before))
        return work > 0.1 * (work + rest)
    except OSError:
        return os.getloadavg()[0] > 0.5


def write(name, title, script, options, was_busy, text, picture):
    """Writes a table and its plot beside this file, unless the machine was busy."""
    print(text)
    if was_busy:
        sys.exit("the machine was busy when this began: nothing is written")
    from importlib.metadata import version

    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.processor())
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "opacus"))
    with open(os.path.join(HERE, f"{name}.md"), "w") as file:
        file.write(f"# {title}\n\nBy `benches/{script}`: {options.threads} threads, {model}, {versions}; medians of "
                   f"{options.rounds} rounds in turn; memory is the process's.\n\n{text}\n\n![times]({name}.svg)\n")
    with open(os.path.join(HERE, f"{name}.svg"), "w") as file:
        file.write(picture)


def bars(groups, colours, title, value, low, span):
    """An SVG of bars on a logarithmic scale: for each group its title and `(name, ratio)` of each bar; `low` and `span` are the
    first and all of the scale in powers of two."""
    import math

    drawn, y = [], 40
    for heading, rows in groups:
        drawn.append(f'<text x="8" y="{y + 11}" font-weight="bold">{heading}</text>')
        y += 18
        for (name, ratio), colour in zip(rows, colours):
            if ratio:
                width = max(300 * (math.log2(ratio) - low) / span, 2)
                drawn.append(f'<rect x="150" y="{y}" width="{width:.0f}" height="11" fill="{colour}"/>')
                drawn.append(f'<text x="8" y="{y + 10}">{name}</text><text x="{155 + width:.0f}" y="{y + 10}">{ratio:.2f}</text>')
            y += 14
        y += 8
    heading = f'<text x="8" y="20" font-size="13">{title}</text>'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="560" height="{y}" font-family="sans-serif" font-size="10" role="img" '
            f'aria-label="{value}"><rect width="560" height="{y}" fill="white"/>{heading}{"".join(drawn)}</svg>\n')
