"""Rasters of all kinds that users have, clicked on in real QGIS with the real engine."""

import http.server
import threading
import zipfile
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import wait_for
from osgeo import gdal
from qgis.core import QgsProject, QgsRasterLayer, QgsRectangle
from test_clicking import Desk, crs

HUGE_PX = 30_000
WIDTH_M = 118
"""Of the scene in Web Mercator: 256 px of 0.3 m, 1.54 times as long there."""
CAPABILITIES = """<?xml version="1.0" encoding="UTF-8"?>
<WMS_Capabilities version="1.3.0" xmlns="http://www.opengis.net/wms" xmlns:xlink="http://www.w3.org/1999/xlink">
<Service><Name>WMS</Name><Title>roofs</Title></Service>
<Capability><Request><GetMap><Format>image/png</Format><DCPType><HTTP><Get>
<OnlineResource xlink:href="http://127.0.0.1:PORT/wms?"/></Get></HTTP></DCPType></GetMap></Request>
<Layer><Title>all</Title><CRS>EPSG:3857</CRS>
<EX_GeographicBoundingBox><westBoundLongitude>-90</westBoundLongitude><eastBoundLongitude>90</eastBoundLongitude>
<southBoundLatitude>-80</southBoundLatitude><northBoundLatitude>80</northBoundLatitude></EX_GeographicBoundingBox>
<BoundingBox CRS="EPSG:3857" minx="-10000000" miny="-10000000" maxx="10000000" maxy="10000000"/>
<Layer queryable="0"><Name>roofs</Name><Title>roofs</Title><CRS>EPSG:3857</CRS>
<BoundingBox CRS="EPSG:3857" minx="-10000000" miny="-10000000" maxx="10000000" maxy="10000000"/>
</Layer></Layer></Capability></WMS_Capabilities>"""


def sixteen_bits(scene, folder):
    """Four bands of small numbers, as sensors give them; no band says which colour it is."""
    source, path = gdal.Open(scene.path), folder / "sixteen bits.tif"
    data = gdal.GetDriverByName("GTiff").Create(str(path), 256, 256, 4, gdal.GDT_UInt16)
    data.SetGeoTransform(source.GetGeoTransform())
    data.SetProjection(source.GetProjection())
    for number, band in enumerate((1, 2, 3, 1), 1):
        data.GetRasterBand(number).WriteArray(source.GetRasterBand(band).ReadAsArray().astype("uint16") * 11 + 200)
    data = None
    return str(path)


def virtual(scene, folder):
    path = folder / "virtual.vrt"
    gdal.BuildVRT(str(path), [scene.path])
    return str(path)


def paletted(scene, folder):
    """A picture of 16 colours."""
    source, path = gdal.Open(scene.path), folder / "paletted.tif"
    red = source.GetRasterBand(1).ReadAsArray() // 16
    data = gdal.GetDriverByName("GTiff").Create(str(path), 256, 256, 1, gdal.GDT_Byte)
    data.SetGeoTransform(source.GetGeoTransform())
    data.SetProjection(source.GetProjection())
    table = gdal.ColorTable()
    for number in range(16):
        table.SetColorEntry(number, (16 * number + 8, 255 - 16 * number, 128, 255))
    data.GetRasterBand(1).SetColorTable(table)
    data.GetRasterBand(1).WriteArray(red)
    data = None
    return str(path)


def zipped(scene, folder):
    """Only GDAL reads it from there; the engine is shown a picture."""
    path = folder / "scene.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(scene.path, "scene.tif")
    return f"/vsizip/{path}/scene.tif"


def south_up(scene, folder):
    """The first row lies in the south."""
    source, path = gdal.Open(scene.path), folder / "south up.tif"
    data = gdal.GetDriverByName("GTiff").Create(str(path), 256, 256, 3, gdal.GDT_Byte, ["PHOTOMETRIC=RGB"])
    left, pixel, _, top, _, _ = source.GetGeoTransform()
    data.SetGeoTransform([left, pixel, 0, top - 256 * pixel, 0, pixel])
    data.SetProjection(source.GetProjection())
    for number in (1, 2, 3):
        data.GetRasterBand(number).WriteArray(source.GetRasterBand(number).ReadAsArray()[::-1])
    data = None
    return str(path)


@pytest.mark.parametrize("make", [sixteen_bits, virtual, paletted, zipped, south_up], ids=lambda make: make.__name__)
def test_files_of_many_kinds(canvas, engine, scene, tmp_path, make):
    layer = QgsRasterLayer(make(scene, tmp_path), make.__name__)
    assert layer.isValid()
    desk = Desk(canvas, engine, layer, (scene.x, scene.y), crs(3857))
    desk.click()
    assert not desk.said
    assert desk.interaction.candidates
    if make is not paletted:  # what a model makes of false colours is its own affair
        assert desk.interaction.outline().contains(desk.place)
        assert desk.interaction.outline().boundingBox().width() < 0.8 * WIDTH_M, "an object, not the whole raster"
    desk.interaction.forget()
    canvas.unsetMapTool(desk.tool)


class Wms(http.server.BaseHTTPRequestHandler):
    """A red square in the middle of the world that is asked for."""

    def do_GET(self):
        asked = {name.upper(): values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if asked.get("REQUEST") == "GetCapabilities":
            kind, data = "text/xml", CAPABILITIES.replace("PORT", str(self.server.server_port)).encode()
        else:
            kind, data = "image/png", self.picture(asked)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(data)

    def picture(self, asked):
        from qgis.PyQt.QtCore import QBuffer, QIODevice, QRectF
        from qgis.PyQt.QtGui import QColor, QImage, QPainter

        width, height = int(asked["WIDTH"]), int(asked["HEIGHT"])
        left, bottom, right, top = map(float, asked["BBOX"].split(","))
        across, down = width / (right - left), height / (top - bottom)
        image = QImage(width, height, QImage.Format.Format_RGB32)
        image.fill(QColor(40, 90, 40))
        painter = QPainter(image)
        painter.fillRect(
            QRectF((-50 - left) * across, (top - 50) * down, 100 * across, 100 * down), QColor(220, 60, 40)
        )
        painter.end()
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        image.save(buffer, "PNG")
        return bytes(buffer.data())

    def log_message(self, *args):
        pass


def test_a_map_of_a_server(canvas, engine):
    """WMS: the square is 100 m wide, in the middle of the map."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Wms)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/wms?"
    layer = QgsRasterLayer(f"crs=EPSG:3857&format=image/png&layers=roofs&styles=&url={url}", "roofs", "wms")
    assert layer.isValid()
    desk = Desk(canvas, engine, layer, (0, 0), crs(3857))
    canvas.setExtent(QgsRectangle(-100, -100, 100, 100))
    desk.interaction.box(QgsRectangle(-60, -60, 60, 60))
    desk.settle()
    wait_for(lambda: desk.interaction.candidates)
    assert not desk.said
    square = QgsRectangle(-50, -50, 50, 50)
    box = desk.interaction.outline().boundingBox()
    assert box.intersect(square).width() * box.intersect(square).height() > 0.7 * max(
        box.width() * box.height(), square.width() * square.height()
    )
    desk.interaction.forget()
    canvas.unsetMapTool(desk.tool)
    server.shutdown()


def test_a_raster_of_gigabytes_is_not_read_whole(canvas, engine, scene, tmp_path):
    """30,000 x 30,000 px, of which only the scene in the middle is written; with overviews."""
    source, path, at = gdal.Open(scene.path), tmp_path / "huge.tif", HUGE_PX // 2
    options = ["TILED=YES", "SPARSE_OK=TRUE", "BIGTIFF=YES", "PHOTOMETRIC=RGB"]
    data = gdal.GetDriverByName("GTiff").Create(str(path), HUGE_PX, HUGE_PX, 3, gdal.GDT_Byte, options)
    left, pixel, _, top, _, _ = source.GetGeoTransform()
    data.SetGeoTransform([left - at * pixel, pixel, 0, top + at * pixel, 0, -pixel])
    data.SetProjection(source.GetProjection())
    data.WriteRaster(at, at, 256, 256, source.ReadRaster())
    data.FlushCache()
    data = None
    gdal.SetConfigOption("SPARSE_OK_OVERVIEW", "ON")
    gdal.Open(str(path), gdal.GA_Update).BuildOverviews("NEAREST", [16, 128])
    layer = QgsRasterLayer(str(path), "huge")
    desk = Desk(canvas, engine, layer, (scene.x, scene.y), crs(32633))
    canvas.setExtent(QgsRectangle(left, top - 76.8, left + 76.8, top))
    desk.click()
    assert not desk.said
    assert desk.interaction.outline().contains(desk.place)
    status = f"/proc/{engine._process.processId()}/status"
    with open(status) as lines:
        peak_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    assert peak_kib < 1.5 * 2**20, "the raster has 2.7 GB"
    desk.interaction.forget()
    canvas.unsetMapTool(desk.tool)
    QgsProject.instance().clear()
