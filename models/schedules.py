"""Writes goldens/schedules.json: learning rates by torch.optim.lr_scheduler for dpc's words of --lr-schedule.

    python models/schedules.py
"""

import json
import warnings
from pathlib import Path

import torch
from torch.optim import lr_scheduler as lrs

STEPS = 12


def table(rows):
    return lambda step: [factor for start, factor in rows if start <= step][-1]


def schedules(steps):
    """dpc's words, and the scheduler of an optimizer that they stand for, over `steps` steps."""
    rows = [(0, 1.0), (2, 0.25), (7, 2.0)]
    return {
        "constant": lambda o: lrs.LambdaLR(o, lambda step: 1.0),
        "step:every=3,factor=0.5": lambda o: lrs.StepLR(o, 3, 0.5),
        "exponential:factor=0.9": lambda o: lrs.ExponentialLR(o, 0.9),
        "table:0=1,2=0.25,7=2": lambda o: lrs.LambdaLR(o, table(rows)),
        "cosine": lambda o: lrs.CosineAnnealingLR(o, steps),
        "cosine:to=0.01": lambda o: lrs.CosineAnnealingLR(o, steps, eta_min=0.01),
        "linear": lambda o: lrs.LinearLR(o, 1.0, 0.0, steps),
        "linear:to=0.1": lambda o: lrs.LinearLR(o, 1.0, 0.1, steps),
    }


def warmed(words, warmup):
    """The same after a linear warm-up."""

    def scheduler(optimizer):
        # Of one step it is no more than the first factor, 1.
        rise = lrs.LinearLR(optimizer, 1 / warmup, 1.0, max(warmup - 1, 1))
        rest = schedules(STEPS - warmup)[words](optimizer)
        return lrs.SequentialLR(optimizer, [rise, rest], [warmup])

    return scheduler


def factors(scheduler):
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=1.0)
    scheduler = scheduler(optimizer)
    found = []
    for _ in range(STEPS):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    goldens = [{"text": text, "factors": factors(scheduler)} for text, scheduler in schedules(STEPS).items()]
    for text in schedules(STEPS):
        for warmup in [1, 4]:
            with_warmup = f"{text}{',' if ':' in text else ':'}warmup={warmup}"
            goldens.append({"text": with_warmup, "factors": factors(warmed(text, warmup))})
    path = Path(__file__).parent / "goldens" / "schedules.json"
    path.write_text("[\n" + ",\n".join(json.dumps(golden) for golden in goldens) + "\n]\n")
