"""Files for browsers that others wrote: where `make setup` has put them, and where they are served.

Nothing of them is in the repository, and nothing is fetched while the console runs.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import shapefile  # type: ignore[import-untyped]
from starlette.staticfiles import StaticFiles

from shared.errors import ConfigError

_LEAFLET = "xstatic/pkg/leaflet/data"
_CLUSTER = "xstatic/pkg/leaflet_markercluster/data"
_FILES: Mapping[str, str] = {
    "leaflet/leaflet.js": f"{_LEAFLET}/leaflet.js",
    "leaflet/leaflet.css": f"{_LEAFLET}/leaflet.css",
    "leaflet/images/layers.png": f"{_LEAFLET}/images/layers.png",
    "leaflet/images/layers-2x.png": f"{_LEAFLET}/images/layers-2x.png",
    "leaflet/images/marker-icon.png": f"{_LEAFLET}/images/marker-icon.png",
    "leaflet/images/marker-icon-2x.png": f"{_LEAFLET}/images/marker-icon-2x.png",
    "leaflet/images/marker-shadow.png": f"{_LEAFLET}/images/marker-shadow.png",
    "markercluster/leaflet.markercluster.js": f"{_CLUSTER}/leaflet.markercluster.js",
    "markercluster/MarkerCluster.css": f"{_CLUSTER}/MarkerCluster.css",
    "markercluster/MarkerCluster.Default.css": f"{_CLUSTER}/MarkerCluster.Default.css",
    "preact/preact.js": "datasette_preact/static/preact-10.27.2-htm-3.1.1.min.js",
    "chart/chart.js": "cone/charts/browser/static/chartjs/chart.umd.min.js",
}
"""Address under ``/static/vendor`` -> file in the browser folder."""

_WORLD = "geopandas/datasets/naturalearth_lowres/naturalearth_lowres.shp"
_REMEDY = "run `make setup`, which installs what deploy/browser.txt lists"


def browser_folder() -> Path:
    """Where `make setup` installs what deploy/browser.txt lists."""
    return Path(sys.prefix) / "share" / "almenara" / "browser"


def vendor_files(folder: Path) -> "Files":
    """The libraries, served under addresses without their versions.

    Raises:
        ConfigError: one is missing.
    """
    files = {address: folder / path for address, path in _FILES.items()}
    if missing := [str(path) for path in files.values() if not path.is_file()]:
        raise ConfigError(
            f"the web console's libraries are not installed: {missing[0]} is missing", remedy=_REMEDY
        )
    return Files(files)


def world(folder: Path) -> bytes:
    """GeoJSON of the countries' coarse outlines, for a map without a network.

    Degrees have two decimals, about a kilometre, which is finer than what they are made from.

    Raises:
        ConfigError: the outlines are not installed, or damaged.
    """
    try:
        with shapefile.Reader(str(folder / _WORLD)) as reader:
            features = [_feature(found) for found in reader.iterShapeRecords()]
    except (OSError, shapefile.ShapefileException) as error:
        raise ConfigError(f"the map's outlines can't be read: {error}", remedy=_REMEDY) from error
    collection = {"type": "FeatureCollection", "features": features}
    return json.dumps(collection, ensure_ascii=False, separators=(",", ":")).encode()


def _feature(found: Any) -> dict[str, Any]:
    outline = found.shape.__geo_interface__
    return {
        "type": "Feature",
        "properties": {"name": found.record["name"]},
        "geometry": {"type": outline["type"], "coordinates": _rounded(outline["coordinates"])},
    }


def _rounded(coordinates: Any) -> Any:
    if isinstance(coordinates, int | float):
        return round(coordinates, 2)
    return [_rounded(each) for each in coordinates]


class Files(StaticFiles):
    """Some files, each under an address of its own; there are no others."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        super().__init__()
        self._files = files

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """The file at an address."""
        file = self._files.get(path.replace(os.sep, "/"))
        try:
            return (str(file), file.stat()) if file else ("", None)
        except OSError:
            return "", None
