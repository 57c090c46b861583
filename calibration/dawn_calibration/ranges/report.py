"""What a calibration of ranges tells people: a page of Markdown and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dawn_calibration.ranges.calibrate import Found
from dawn_calibration.ranges.sites import Site
from dawn_calibration.ranges.strata import Strata
from dawn_models.anatomy import split_name
from dawn_runtime.pictures import picture

_COLUMNS = 2
"""Panels beside each other."""


def report_text(found: Found, strata: Strata) -> str:
    """Returns the page, Markdown."""
    lines = ["# Activation ranges", "", *_settings(found), "", *_strata(found, strata)]
    lines += ["", *_ranges(found, strata)]
    if found.smoothing:
        lines += ["", *_smoothing(found)]
    return "\n".join(lines) + "\n"


def draw_ranges(found: Found, strata: Strata, path: Path) -> None:
    """Draws the largest magnitudes by layer, site and stratum, and the ranges chosen.

    Args:
        found: What a run has found.
        strata: How rows were told apart.
        path: Where the PNG shall be.
    """
    from matplotlib.ticker import LogLocator

    title = "Largest activation by layer and share of the answer still masked"
    kinds = dict.fromkeys(site.kind for site in found.sites)
    with picture(path, -(-len(kinds) // _COLUMNS), _COLUMNS, title=title) as axes:
        for axis, kind in zip(axes, kinds, strict=False):
            sites = [site for site in found.sites if site.kind == kind]
            _draw_site(axis, found, strata, sites)
            axis.set_title(_label(sites[0]))
            axis.set_xlabel("layer")
            axis.set_yscale("log")
            # Plain numbers, also where there is no power of ten.
            axis.yaxis.set_minor_locator(LogLocator(subs=(1.5, 2, 3, 5, 7)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("{x:g}")
        axes[0].legend(fontsize="x-small", ncols=2)


def _label(site: Site) -> str:
    """The readers of a site, as people call them."""
    names = [split_name(linear)[1] for linear in site.linears]
    short = names if len(names) == 1 else [name.removesuffix("_proj") for name in names]
    return f"inputs of {', '.join(short)}"


def _draw_site(axis: Any, found: Found, strata: Strata, sites: Sequence[Site]) -> None:
    """One panel: a line for each stratum, crosses for the ranges."""
    from matplotlib import colormaps

    largest = np.stack([found.statistics.sites[site.name].stratum_max() for site in sites])
    layers = np.array([site.layer for site in sites])
    for stratum in np.flatnonzero(found.statistics.rows).tolist():
        colour = colormaps["viridis"](0.9 * strata.bounds(stratum)[1])
        style = "-" if strata.is_masked(stratum) else "--"
        axis.plot(layers, largest[:, stratum], style, color=colour, label=strata.name(stratum))
    chosen = [found.calibration.ranges[site.linears[0]] for site in sites]
    axis.plot(layers, chosen, "kx", label="range chosen")
    axis.set_xticks(layers[:: max(1, len(layers) // 8)])


def _settings(found: Found) -> Iterator[str]:
    calibration = found.calibration
    model = calibration.model
    yield f"Model: {model.family}, {model.dims.layers} layers, `{model.weights_sha256[:12]}`."
    yield f"Data: `{calibration.data_sha256[:12]}`."
    yield ""
    for name, value in calibration.settings.items():
        if not name.startswith("strength."):
            yield f"- {name}: {value}"


def _strata(found: Found, strata: Strata) -> Iterator[str]:
    yield "## Rows seen"
    yield ""
    yield "| stratum (share of the answer masked) | rows |"
    yield "| --- | ---: |"
    for number, rows in enumerate(found.statistics.rows.tolist()):
        yield f"| {strata.name(number)} | {rows:,} |"


def _ranges(found: Found, strata: Strata) -> Iterator[str]:
    """Largest magnitude at masked and unmasked rows, and what is represented of it."""
    masked = np.array([strata.is_masked(number) for number in range(len(strata))])
    yield "## Ranges after smoothing"
    yield ""
    yield "| input | largest, masked rows | largest, other rows | range | share kept |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for site in found.sites:
        largest = found.statistics.sites[site.name].stratum_max()
        chosen = found.calibration.ranges[site.linears[0]]
        share = 100 * chosen / max(float(largest.max()), chosen)
        yield (
            f"| {site.name} | {largest[masked].max():.3g} | {largest[~masked].max():.3g} "
            f"| {chosen:.3g} | {share:.0f} % |"
        )


def _smoothing(found: Found) -> Iterator[str]:
    yield "## Smoothing"
    yield ""
    yield (
        "Square error of the INT8 products behind a norm on sampled rows, relative to exact ones, "
        "with the range that the clip gives them."
    )
    yield ""
    yield "| norm | strength | error | error without |"
    yield "| --- | ---: | ---: | ---: |"
    for name, smoothing in found.smoothing.items():
        strength = "none" if smoothing.strength is None else f"{smoothing.strength:.1f}"
        yield f"| {name} | {strength} | {smoothing.error:.2e} | {smoothing.plain_error:.2e} |"
