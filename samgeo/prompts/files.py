"""Vector files as prompts: whatever GDAL reads, read without touching it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from samgeo.errors import PromptError

_LAYER_MARK = "|layername="


def layer_path(name: str) -> Path:
    """The path in FILE|layername=NAME."""
    return Path(name.partition(_LAYER_MARK)[0])


def read_file(source: str) -> Any:
    """A GeoDataFrame whose index is the feature id.

    source: a path, or FILE|layername=NAME where a file has several layers.

    Raises `PromptError` if it cannot be read, holds no geometries, or has several layers and none is named.
    """
    import geopandas

    path, _, layer = source.partition(_LAYER_MARK)
    try:
        with _unchanged(path) as readable:
            table = _read(path, readable, layer)
    except PromptError:
        raise
    except (OSError, RuntimeError, ValueError, sqlite3.Error) as error:
        raise PromptError(
            f"{path}: cannot be read as prompts: {error}. Expected a vector file GDAL reads. Fix: check it with "
            "ogrinfo, or save it again as a GeoPackage"
        ) from error
    if not isinstance(table, geopandas.GeoDataFrame):
        raise PromptError(f"{path}: a table without geometries; expected a vector layer")
    return table


def _read(path: str, readable: str, layer: str) -> Any:
    """path: what the user calls it; readable: where it is read."""
    import geopandas

    if path.lower().endswith(".parquet"):
        return geopandas.read_parquet(readable)
    names = map_layers(readable)
    if len(names) > 1 and not layer:
        raise PromptError(
            f"{path}: {len(names)} layers, {', '.join(names[:10])}; expected to be told which. "
            f"Fix: {path}{_LAYER_MARK}{names[0]}"
        )
    return geopandas.read_file(readable, layer=layer or (names[0] if names else None), fid_as_index=True)


def map_layers(path: str | Path) -> list[str]:
    """Names of the layers that have geometries; a GeoPackage also has tables that have none, such as QGIS's styles."""
    import geopandas

    listed = geopandas.list_layers(path)
    return [
        str(name) for name, kind in zip(listed["name"], listed["geometry_type"], strict=True) if isinstance(kind, str)
    ]


@contextmanager
def _unchanged(path: str) -> Iterator[str]:
    """Where a file can be read without changing it.

    Changes of a GeoPackage that another program has not folded in yet lie beside it, in a write-ahead log. Whoever
    reads such a file as the last folds them in, so a copy is read instead.
    """
    log = f"{path}-wal"
    if not os.path.isfile(log) or os.path.getsize(log) == 0:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="samgeo-") as folder:
        copy = Path(folder) / Path(path).name
        address = f"{Path(path).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as there, closing(sqlite3.connect(copy)) as here:
            there.backup(here)
        yield str(copy)
