# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine is shown: the file of a raster layer, or a picture that QGIS renders of it."""

import math
import os

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsMultiBandColorRenderer,
    QgsPointXY,
    QgsRectangle,
    QgsSingleBandGrayRenderer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor, QImage

CROP_PX = 1024
"""Side of a rendered picture."""
SNAP = 4
"""Pictures begin at multiples of their side divided by this, so that near clicks share one."""


def local_file(layer):
    """The path of a layer that GDAL reads from this machine, or None."""
    if layer.providerType() != "gdal":
        return None
    path = layer.dataProvider().dataSourceUri().partition("|")[0]
    return path if os.path.isfile(path) else None


def bands(layer):
    """Bands that QGIS shows as red, green and blue, or as grey, from 1; None where it shows something else."""
    renderer = layer.renderer()
    if isinstance(renderer, QgsMultiBandColorRenderer):
        shown = [renderer.redBand(), renderer.greenBand(), renderer.blueBand()]
    elif isinstance(renderer, QgsSingleBandGrayRenderer):
        shown = renderer.usesBands()[:1]  # its own name for it is another one since 3.38
    else:
        return None
    return shown if min(shown, default=0) > 0 else None


def wkt(crs):
    """A CRS as the engine takes it."""
    return crs.toWkt(QgsCoordinateReferenceSystem.WktVariant.WKT2_2018)


class Crop:
    """A square of a layer, in its own CRS, on a grid that depends on the scale and nothing else."""

    def __init__(self, layer, center, units_per_px):
        """center: in the layer's CRS. units_per_px: as the canvas shows it, in the layer's units; it is snapped."""
        self.layer = layer
        self.units_per_px = max(2 ** round(math.log2(units_per_px)), native(layer))
        step = CROP_PX * self.units_per_px / SNAP
        left = math.floor(center.x() / step) * step - step * (SNAP // 2 - 0.5)
        bottom = math.floor(center.y() / step) * step - step * (SNAP // 2 - 0.5)
        side = CROP_PX * self.units_per_px
        self.extent = QgsRectangle(left, bottom, left + side, bottom + side)

    def holds(self, point):
        """True if a point of the layer's CRS lies inside, away from the edge."""
        inner = self.extent.buffered(-self.extent.width() / 16)
        return inner.contains(QgsPointXY(point))

    def render(self, then):
        """Render in the background, then call `then(header, payload)` for the engine's `open`. Returns the job."""
        settings = QgsMapSettings()
        settings.setLayers([self.layer])
        settings.setDestinationCrs(self.layer.crs())
        settings.setExtent(self.extent)
        settings.setOutputSize(QSize(CROP_PX, CROP_PX))
        settings.setBackgroundColor(QColor(0, 0, 0))
        header = self.header()  # the layer may be gone when the picture is there
        job = QgsMapRendererSequentialJob(settings)

        def finished():
            image = job.renderedImage()
            job.finished.disconnect(finished)
            then(header, rgb(image))

        job.finished.connect(finished)
        job.start()
        return job

    def header(self):
        """Where the picture lies, as the engine takes it."""
        crs = self.layer.crs()
        return {
            "width": CROP_PX,
            "height": CROP_PX,
            "transform": [self.units_per_px, 0, self.extent.xMinimum(), 0, -self.units_per_px, self.extent.yMaximum()],
            "crs": wkt(crs) if crs.isValid() else None,
        }


def rgb(image):
    """Red, green and blue of a picture, row by row."""
    plain = image.convertToFormat(QImage.Format.Format_RGB888)
    width, height, line = plain.width(), plain.height(), plain.bytesPerLine()
    bits = plain.constBits()
    bits.setsize(line * height)
    data = bytes(bits)
    return b"".join(data[row * line : row * line + 3 * width] for row in range(height))


def native(layer):
    """The finest units a pixel that a layer has, or 0 where its provider does not say."""
    return layer.rasterUnitsPerPixelX() if layer.providerType() == "gdal" else 0
