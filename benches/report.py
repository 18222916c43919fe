"""The figures of the benchmarks as tables and plots."""

import math
import os
import platform
import sys
from datetime import date

from turns import HERE

COLOURS = ["#1b6ca8", "#8ecae6", "#999999", "#e07a5f", "#f2b5a0", "#b08ac8"]


def ratio(found, a, b, key="median_ms"):
    """How many times the figure of `b` that of `a` is, the least of several where `a` or `b` is a list; None where there is none."""
    def least(names):
        there = [found[name][key] for name in ([names] if isinstance(names, str) else names) if found.get(name)]
        return min(there, default=None)
    a, b = least(a), least(b)
    return a / b if a and b else None


def table(rows, what, ratios, more=(), cells=lambda case: []):
    """The figures as Markdown: milliseconds a step and MiB of each contestant, ratios `(title, a, b)`, and the cells of the titles
    in `more`."""
    names = list(next(iter(rows.values())))
    heads = [what, "batch", *names, *(title for title, _, _ in ratios), *more]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for case, found in rows.items():
        line = [str(part) for part in case]
        line += [f"{one['median_ms']:.3g} ms, {one['memory']:.0f} MiB" if one else "failed, or over the limit of 5 minutes" for one in found.values()]
        line += [f"{value:.2f}" if (value := ratio(found, a, b)) else "" for _, a, b in ratios]
        lines.append("| " + " | ".join([*line, *cells(case)]) + " |")
    return "\n".join(lines)


def processor():
    """The processor's name, with its family and model where that says too little."""
    with open("/proc/cpuinfo") as file:
        said = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    said = {key.strip(): value.strip() for key, value in said.items()}
    if "model name" not in said:
        return platform.processor()
    return f"{said['model name']} (family {said.get('cpu family')}, model {said.get('model')})"


def write(name, title, script, options, was_busy, text, picture):
    """Writes a table and its plot beside this file, unless the machine was busy. The page has a section for each processor, the newest
    first, whose plot it shows; that of the same processor is replaced."""
    print(text)
    if was_busy:
        sys.exit("the machine was busy when this began: nothing is written")
    from importlib.metadata import version

    packages = ("torch", "opacus", *(("jax",) if "jax" in text.splitlines()[0] else ()))
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    path, here = os.path.join(HERE, f"{name}.md"), f"## {processor()}\n"
    before = open(path).read() if os.path.exists(path) else ""
    others = [f"## {section.strip()}\n" for section in before.split("\n## ")[1:]]
    others = [section.replace(f"\n![times]({name}.svg)\n", "") for section in others if not section.startswith(here)]
    section = (f"{here}\nBy `benches/{os.path.basename(script)}` on {date.today()}: {options.threads} threads, {versions}; medians of "
               f"{options.rounds} rounds in turn; memory is the process's.\n\n{text}\n\n![times]({name}.svg)\n")
    with open(path, "w") as file:
        file.write("\n".join([f"# {title}\n", section, *others]))
    with open(os.path.join(HERE, f"{name}.svg"), "w") as file:
        file.write(picture)


def drawing(width, height, title, value, drawn):
    heading = f'<text x="8" y="20" font-size="13">{title}</text>'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="10" '
            f'role="img" aria-label="{value}"><rect width="{width}" height="{height}" fill="white"/>{heading}{"".join(drawn)}</svg>\n')


def bars(groups, colours, title, value, low, span):
    """An SVG of bars on a logarithmic scale: for each group its title and `(name, ratio)` of each bar; `low` and `span` are the
    first and all of the scale in powers of two."""
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
    return drawing(560, y, title, value, drawn)


def curves(panels, title, value):
    """An SVG of lines on logarithmic scales: for each panel its title, the unit of its values, and by name the points `(x, y)`."""
    drawn, top = [], 34
    names = list(dict.fromkeys(name for _, _, lines in panels for name in lines))
    colours = dict(zip(names, COLOURS))
    for i, name in enumerate(names):
        drawn.append(f'<rect x="{8 + 110 * i}" y="{top}" width="10" height="10" fill="{colours[name]}"/>'
                     f'<text x="{22 + 110 * i}" y="{top + 9}">{name}</text>')
    top += 24
    for heading, unit, lines in panels:
        points = [point for line in lines.values() for point in line]
        if not points:
            continue
        def scale(values, low, high):
            least, most = math.log(min(values)), math.log(max(values))
            return lambda value: low + (high - low) * ((math.log(value) - least) / (most - least) if most > least else 0.5)
        xs, ys = sorted({x for x, _ in points}), [y for _, y in points]
        across, down = scale(xs, 60, 500), scale(ys, top + 150, top + 24)
        drawn.append(f'<text x="8" y="{top + 11}" font-weight="bold">{heading}, {unit}</text>')
        drawn.append(f'<path d="M60 {top + 154}H500M56 {top + 24}V150" stroke="#cccccc" fill="none"/>'.replace("V150", f"V{top + 150}"))
        drawn += [f'<text x="{across(x):.0f}" y="{top + 168}" text-anchor="middle">{x:,}</text>' for x in xs]
        drawn += [f'<text x="52" y="{down(y) + 3:.0f}" text-anchor="end">{y:.3g}</text>' for y in (min(ys), max(ys))]
        for name, line in lines.items():
            path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line)
            drawn.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
            drawn += [f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="2.5" fill="{colours[name]}"/>' for x, y in line]
        top += 186
    return drawing(560, top, title, value, drawn)


def lines(rows, at, key):
    """The points of each contestant's figures for [curves]: `at` gives a case's place, or None for one of another panel."""
    names = list(next(iter(rows.values())))
    points = lambda name: [(at(case), found[name][key]) for case, found in rows.items() if at(case) is not None and found[name]]
    return {name: points(name) for name in names if points(name)}
