#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Draws what bench_sweep --json wrote: how many times as fast as the raw means
the library copies, over the size, one panel per pair.

    plot.py SWEEP.json PICTURE.svg

The same figures make the same picture, byte for byte.
"""
import json
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "libumem"
import matplotlib.pyplot as plt  # noqa: E402 (the backend comes first)
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa

COLUMNS = 2
RATIOS = [0.1, 0.2, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50]


def size_text(nbytes, _position=None):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if nbytes < 1024 or unit == "GiB":
            return f"{nbytes:g} {unit}"
        nbytes /= 1024


def load(path):
    """{pair: its rows by size}, pairs in the order of the file."""
    pairs = {}
    with open(path, encoding="utf-8") as file:
        for row in json.load(file):
            if row["goal"] == "sweep":
                pairs.setdefault(row["what"], []).append(row)
    if not pairs:
        sys.exit(f"{path}: there are no rows of a sweep")
    for rows in pairs.values():
        rows.sort(key=lambda row: row["bytes"])
    return pairs


def draw(panel, name, rows):
    sizes = [row["bytes"] for row in rows]
    ratios = [row["ratio"] for row in rows]
    panel.axhline(1, color="0.5", linewidth=1)
    panel.plot(sizes, ratios, color="C0", marker="o", markersize=3,
               linewidth=1.5)
    panel.set_title(f"{name}, against {rows[0]['baseline_name']}", fontsize=11)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    low, high = min(ratios + [0.7]) / 1.1, max(ratios + [1.5]) * 1.1
    panel.set_ylim(low, high)
    panel.xaxis.set_major_locator(FixedLocator([4**i for i in range(0, 16, 2)]))
    panel.xaxis.set_major_formatter(FuncFormatter(size_text))
    panel.yaxis.set_major_locator(
        FixedLocator([ratio for ratio in RATIOS if low <= ratio <= high]))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} x"))
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_minor_locator(NullLocator())
    panel.tick_params(labelsize=9)
    panel.grid(True, color="0.9")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    pairs = load(sys.argv[1])
    nrows = -(-len(pairs) // COLUMNS)
    figure, panels = plt.subplots(nrows, COLUMNS, squeeze=False,
                                  figsize=(11, 3.6 * nrows))
    for panel in panels.flat[len(pairs):]:
        panel.remove()
    for panel, (name, rows) in zip(panels.flat, pairs.items()):
        draw(panel, name, rows)
        panel.set_xlabel("bytes copied", fontsize=9)
        panel.set_ylabel("times as fast", fontsize=9)
    threads = sorted({row["threads"] for rows in pairs.values()
                      for row in rows})
    figure.suptitle("libumem against raw means, "
                    f"threads: {', '.join(map(str, threads))}; above 1 is "
                    "faster", fontsize=12)
    figure.tight_layout()
    figure.savefig(sys.argv[2], format="svg", metadata={"Date": None})


main()
