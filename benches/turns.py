"""Contestants that run for a short while in turn, round after round, so that a machine that slows down slows all of them; the
figures are the medians over the rounds of each round's median."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SECONDS = 2.0
# Seconds after which a contestant that has not ended is stopped.
LIMIT = 300


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


def opacus(net, optimizer, tensors, batch, **options):
    """What Opacus makes of a module and its optimizer."""
    import torch
    from opacus import PrivacyEngine

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=batch)
    return PrivacyEngine().make_private(
        module=net, optimizer=optimizer, data_loader=loader, noise_multiplier=1.0, max_grad_norm=1.0, poisson_sampling=False, **options)


def figures(command, threads):
    """What a command says of its steps in its last line, and the most memory that it held, in MiB; None where it fails or takes longer
    than the limit."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True)
    timer = threading.Timer(LIMIT, process.kill)
    timer.start()
    text = process.stdout.read()
    timer.cancel()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status != 0:
        return None
    return {**json.loads(text.strip().splitlines()[-1]), "memory": usage.ru_maxrss / 1024}


def in_turn(commands, rounds, threads):
    """The figures of each command, by name, or None where it fails; one that fails once is not run again."""
    found = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            if all(found[name]):
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
    parser.add_argument("--export", nargs=2, metavar=("WHAT", "PATH"), help=argparse.SUPPRESS)


def runs_itself(script, options, peer, export):
    """Whether a script was started by [exported] or as one of [measured]'s contestants: then it has done what it was for."""
    if options.export:
        export(*options.export)
    elif options.peer:
        import warnings

        import torch

        warnings.filterwarnings("ignore")
        torch.manual_seed(0)
        torch.set_num_threads(options.threads)
        name, what, batch = options.peer
        time_steps(peer(name, what, int(batch)))
    return bool(options.export or options.peer)


def exported(script, what, folder):
    """The ONNX file of `what`, written by the script in a process of its own: the memory of a child counts from that of the
    process that starts it."""
    model = os.path.join(folder, f"{what}.onnx")
    subprocess.run([sys.executable, script, "--export", what, model], check=True)
    return model


def measured(options, script, cases, artifact, peers, threads=lambda case: None):
    """The figures of each of the cases, which are `(what, batch)`, by contestant: dpc on the file that `artifact` makes of a case in
    a folder, private and not, and the peers, which are the script itself."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            what, batch = case
            count = threads(case) or options.threads
            step = [options.dpc, "bench", "step", artifact(what, batch, folder), "--batch", str(batch), "--device", "cpu", "--json"]
            peer = [sys.executable, script, "--threads", str(count), "--peer"]
            commands = {"dpc": step, "dpc non-private": [*step, "--non-private"],
                        **{name: [*peer, name, what, str(batch)] for name in peers}}
            found = rows[case] = in_turn(commands, options.rounds, count)
            print(what, batch, {name: one and round(one["median_ms"], 3) for name, one in found.items()}, flush=True)
    return rows


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
