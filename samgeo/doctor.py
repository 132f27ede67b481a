"""Examine this machine: versions, devices, the copies of GDAL and PROJ in this process, caches, the name clash.

Wheels bring their own GDAL and PROJ, so that one process may hold several. They must agree on where places are: a few
transformations are worked out by each and compared.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np

import samgeo
from samgeo.clash import find_clash
from samgeo.embeddings import EmbeddingCache

LIBRARIES = (
    *("numpy", "scipy", "pillow", "torch", "safetensors", "rasterio", "pyproj", "shapely", "geopandas", "pyogrio"),
    *("fiona", "click", "tqdm", "pooch", "requests"),
)
EXTRAS = {"parquet": ("pyarrow",), "dask": ("distributed",), "notebook": ("anywidget", "ipyleaflet")}
REFERENCES = (
    ("EPSG:4326", "EPSG:32633", 15.0, 50.0),
    ("EPSG:32633", "EPSG:3857", 500_000.0, 5_538_630.0),
    ("EPSG:4326", "EPSG:3413", -45.0, 75.0),
    ("EPSG:4326", "EPSG:2154", 2.35, 48.85),
)
"""From, to, x, y: transverse Mercator, Web Mercator, polar stereographic, and a conic projection."""
AGREE_M = 0.001
"""Copies of PROJ that differ by more do not agree; reference transformations here need no grid files."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the examination."""

    subject: str
    """What was looked at."""
    state: Literal["ok", "note", "problem"]
    """ok: as it should be; note: for information; problem: with the fix in the text."""
    text: str
    """What was found."""


def examine() -> list[Finding]:
    """Everything that can be found out without a network and without writing outside the cache folder."""
    return [
        *_python(),
        *_libraries(),
        *_extras(),
        *_devices(),
        *_weights(),
        *_copies(),
        *_transformations(),
        *_cache(),
        *_clash(),
    ]


def _note(subject: str, text: str) -> Finding:
    return Finding(subject=subject, state="note", text=text)


def _ok(subject: str, text: str) -> Finding:
    return Finding(subject=subject, state="ok", text=text)


def _problem(subject: str, text: str) -> Finding:
    return Finding(subject=subject, state="problem", text=text)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _python() -> Iterator[Finding]:
    yield _note("samgeo", f"{samgeo.__version__} in {Path(samgeo.__file__).parent}")
    yield _note("python", f"{platform.python_version()} at {sys.executable}")
    yield _note("system", f"{platform.platform()}, {os.cpu_count()} processors")


def _libraries() -> Iterator[Finding]:
    for name in LIBRARIES:
        found = _installed(name)
        if found is None:
            yield _problem(name, f"not installed. Fix: pip install {name}")
        else:
            yield _ok(name, found)


def _extras() -> Iterator[Finding]:
    for extra, names in EXTRAS.items():
        missing = [name for name in names if _installed(name) is None]
        found = ", ".join(f"{name} {_installed(name)}" for name in names if name not in missing)
        hint = f"without {', '.join(missing)}; pip install 'samgeo[{extra}]'" if missing else found
        yield _note(f"extra {extra}", hint)


def _devices() -> Iterator[Finding]:
    # torch is loaded by name: it may be absent or broken here, and only the model and training import it.
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:
        yield _problem("devices", f"torch cannot be loaded: {error}. Fix: install torch again")
        return
    yield _ok("device cpu", f"{torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        yield _ok(f"device cuda:{index}", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        yield _ok("device mps", "Apple GPU")


def _weights() -> Iterator[Finding]:
    """Are the weights that belong to the package there, and which others?"""
    from samgeo.model.published import PUBLISHED
    from samgeo.model.store import path_of

    for published in PUBLISHED.values():
        path = path_of(published)
        if path.is_file():
            yield _ok(f"model {published.name}", f"{path}, {path.stat().st_size / 1e6:.1f} MB")
        elif not published.url:
            yield _problem(f"model {published.name}", f"{path}: no such file. Fix: install samgeo again")


def _copies() -> Iterator[Finding]:
    """Version of GDAL and PROJ in each library that brings them."""
    import fiona
    import pyogrio
    import pyproj
    import rasterio
    import shapely

    yield _note(
        "GDAL", f"rasterio {rasterio.__gdal_version__}, fiona {fiona.__gdal_version__}, pyogrio {_dots(pyogrio)}"
    )
    yield _note("PROJ", f"pyproj {pyproj.proj_version_str}, rasterio {rasterio.__proj_version__}")
    yield _note("PROJ data", pyproj.datadir.get_data_dir())
    yield _note("GEOS", f"shapely {shapely.geos_version_string}")
    for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA"):
        if name in os.environ:
            hint = "libraries that bring their own data may read the wrong one. Fix: unset it"
            yield _note(name, f"is set to {os.environ[name]}; {hint} if coordinates are off")


def _dots(pyogrio: object) -> str:
    return ".".join(str(part) for part in getattr(pyogrio, "__gdal_version__", ()))


def _transformations() -> Iterator[Finding]:
    for source, target, x, y in REFERENCES:
        subject = f"{source} to {target[5:]}"
        try:
            places = {"pyproj": _by_pyproj(source, target, x, y), "rasterio": _by_rasterio(source, target, x, y)}
        except Exception as error:  # noqa: BLE001 - whatever fails here is the finding
            yield _problem(subject, f"{type(error).__name__}: {error}. Fix: unset PROJ_LIB and PROJ_DATA, reinstall")
            continue
        apart = float(np.ptp(np.array(list(places.values())), axis=0).max())
        listed = "; ".join(f"{name} {a:.4f}, {b:.4f}" for name, (a, b) in places.items())
        if apart <= AGREE_M:
            yield _ok(subject, f"all agree within {AGREE_M * 1000:g} mm")
        else:
            yield _problem(subject, f"{apart:.4f} m apart: {listed}. Fix: unset PROJ_LIB and PROJ_DATA, reinstall")


def _by_pyproj(source: str, target: str, x: float, y: float) -> tuple[float, float]:
    from pyproj import Transformer

    first, second = Transformer.from_crs(source, target, always_xy=True).transform(x, y)
    return float(first), float(second)


def _by_rasterio(source: str, target: str, x: float, y: float) -> tuple[float, float]:
    from rasterio.warp import transform

    xs, ys = transform(source, target, [x], [y])
    return float(xs[0]), float(ys[0])


def _cache() -> Iterator[Finding]:
    folder = EmbeddingCache().folder
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(parent).free / 2**30
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20 if folder.exists() else 0
    text = f"{folder}: {used:.0f} MiB used, {free:.0f} GiB free"
    if os.access(parent, os.W_OK):
        yield _ok("embedding cache", text)
    else:
        yield _problem("embedding cache", f"{text}; not writable. Fix: set SAMGEO_CACHE to a folder that is")


def _clash() -> Iterator[Finding]:
    clash = find_clash(Path(samgeo.__file__).parent)
    yield _problem("name", clash) if clash else _ok("name", "no other distribution has put files into this package")
