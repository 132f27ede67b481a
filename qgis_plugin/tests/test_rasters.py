"""Rasters of all kinds that users have, clicked on in real QGIS with the real engine."""

import http.server
import os
import shutil
import threading
import time
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import wait_for
from osgeo import gdal
from qgis.core import QgsProject, QgsRasterLayer, QgsRectangle, QgsVectorLayer
from test_clicking import Desk, crs

HUGE_PX = 130_000
CROP_MIB = 16
"""Of 1024 x 1024 px of four floats."""
WIDTH_M = 118
"""Of the scene in Web Mercator: 256 px of 0.3 m, 1.54 times as long there."""
TILE_M = 2 * 20037508.342789244 / 2**16
"""Of a tile of zoom 16."""
TILE_CAPABILITIES = f"""<?xml version="1.0" encoding="UTF-8"?>
<Capabilities version="1.0.0" xmlns="http://www.opengis.net/wmts/1.0" xmlns:ows="http://www.opengis.net/ows/1.1"
 xmlns:xlink="http://www.w3.org/1999/xlink">
<ows:ServiceIdentification><ows:Title>roofs</ows:Title><ows:ServiceType>OGC WMTS</ows:ServiceType>
<ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion></ows:ServiceIdentification>
<ows:OperationsMetadata><ows:Operation name="GetTile"><ows:DCP><ows:HTTP>
<ows:Get xlink:href="http://127.0.0.1:PORT/wmts?">
<ows:Constraint name="GetEncoding"><ows:AllowedValues><ows:Value>KVP</ows:Value></ows:AllowedValues></ows:Constraint>
</ows:Get></ows:HTTP></ows:DCP></ows:Operation></ows:OperationsMetadata>
<Contents><Layer><ows:Title>roofs</ows:Title><ows:Identifier>roofs</ows:Identifier>
<ows:WGS84BoundingBox><ows:LowerCorner>-90 -80</ows:LowerCorner><ows:UpperCorner>90 80</ows:UpperCorner>
</ows:WGS84BoundingBox>
<Style isDefault="true"><ows:Identifier>default</ows:Identifier></Style><Format>image/png</Format>
<TileMatrixSetLink><TileMatrixSet>web</TileMatrixSet></TileMatrixSetLink></Layer>
<TileMatrixSet><ows:Identifier>web</ows:Identifier><ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>
<TileMatrix><ows:Identifier>16</ows:Identifier><ScaleDenominator>{TILE_M / 256 / 0.00028}</ScaleDenominator>
<TopLeftCorner>{-(2**15) * TILE_M} {2**15 * TILE_M}</TopLeftCorner>
<TileWidth>256</TileWidth><TileHeight>256</TileHeight><MatrixWidth>65536</MatrixWidth><MatrixHeight>65536</MatrixHeight></TileMatrix></TileMatrixSet></Contents></Capabilities>"""
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


class Maps(http.server.BaseHTTPRequestHandler):
    """WMS and WMTS of a world that is green but for a red square of 100 m in its middle."""

    def do_GET(self):
        asked = {name.upper(): values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if asked["REQUEST"] == "GetCapabilities":
            text = CAPABILITIES if asked["SERVICE"] == "WMS" else TILE_CAPABILITIES
            kind, data = "text/xml", text.replace("PORT", str(self.server.server_port)).encode()
        elif asked["REQUEST"] == "GetTile":
            col, row = int(asked["TILECOL"]), int(asked["TILEROW"])
            left, top = (col - 2**15) * TILE_M, (2**15 - row) * TILE_M
            kind, data = "image/png", picture(256, 256, (left, top - TILE_M, left + TILE_M, top))
        else:
            box = map(float, asked["BBOX"].split(","))
            kind, data = "image/png", picture(int(asked["WIDTH"]), int(asked["HEIGHT"]), box)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def picture(width, height, box):
    """A PNG of what lies in (left, bottom, right, top)."""
    from qgis.PyQt.QtCore import QBuffer, QIODevice, QRectF
    from qgis.PyQt.QtGui import QColor, QImage, QPainter

    left, bottom, right, top = box
    across, down = width / (right - left), height / (top - bottom)
    image = QImage(width, height, QImage.Format.Format_RGB32)
    image.fill(QColor(40, 90, 40))
    painter = QPainter(image)
    painter.fillRect(QRectF((-50 - left) * across, (top - 50) * down, 100 * across, 100 * down), QColor(220, 60, 40))
    painter.end()
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    return bytes(buffer.data())


@pytest.fixture
def port():
    """Of the server of maps."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Maps)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.mark.parametrize(
    "source",
    [
        "styles=&url=http://127.0.0.1:PORT/wms?",
        "styles=default&tileMatrixSet=web&url=http://127.0.0.1:PORT/wmts?SERVICE%3DWMTS%26REQUEST%3DGetCapabilities",
    ],
    ids=["wms", "wmts"],
)
def test_a_map_of_a_server(canvas, engine, port, source):
    source = f"crs=EPSG:3857&format=image/png&layers=roofs&{source.replace('PORT', str(port))}"
    layer = QgsRasterLayer(source, "roofs", "wms")
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


def in_memory(scene, folder):
    """As scripts make it; nobody but this QGIS can read it."""
    gdal.FileFromMemBuffer("/vsimem/scene.tif", Path(scene.path).read_bytes())
    return "/vsimem/scene.tif"


def by_processing(scene, folder):
    """A temporary output: a file in a folder of QGIS's own, of floating point numbers here."""
    import processing

    one = {"INPUT": scene.path, "BAND": 1, "MINIMUM": -1.0, "MAXIMUM": 2.5, "OUTPUT": "TEMPORARY_OUTPUT"}
    return processing.run("native:rescaleraster", one)["OUTPUT"]


@pytest.mark.parametrize("make", [in_memory, by_processing], ids=lambda make: make.__name__)
def test_temporary_layers(canvas, engine, scene, tmp_path, qgis_processing, make):
    layer = QgsRasterLayer(make(scene, tmp_path), make.__name__)
    assert layer.isValid()
    desk = Desk(canvas, engine, layer, (scene.x, scene.y), crs(3857))
    desk.click()
    assert not desk.said
    assert desk.interaction.outline().contains(desk.place)
    assert (desk.interaction._crop is None) == (make is by_processing), "what the engine can read it reads"
    desk.interaction.forget()
    canvas.unsetMapTool(desk.tool)
    if make is in_memory:
        gdal.Unlink("/vsimem/scene.tif")


def test_a_layer_whose_file_is_gone_is_told(canvas, engine, scene, tmp_path):
    """As temporary layers are when the project is opened again."""
    path = shutil.copy(scene.path, str(tmp_path / "gone.tif"))
    layer = QgsRasterLayer(path, "gone")
    desk = Desk(canvas, engine, layer, (scene.x, scene.y), crs(3857))
    os.unlink(path)
    layer.setDataSource(path, "gone", "gdal")
    assert not layer.isValid()
    desk.click()
    assert desk.said == ["gone cannot be read. Fix: choose another layer, or repair its data source"]
    assert desk.interaction.steps == []
    desk.interaction.forget()
    canvas.unsetMapTool(desk.tool)


def test_a_raster_of_gigabytes_is_not_read_whole(canvas, engine, scene, tmp_path):
    """50 GB, of which only the scene in the middle is written; its overviews are empty."""
    source, path, at = gdal.Open(scene.path), tmp_path / "huge.tif", HUGE_PX // 2
    options = ["TILED=YES", "SPARSE_OK=TRUE", "BIGTIFF=YES", "PHOTOMETRIC=RGB"]
    data = gdal.GetDriverByName("GTiff").Create(str(path), HUGE_PX, HUGE_PX, 3, gdal.GDT_Byte, options)
    left, pixel, _, top, _, _ = source.GetGeoTransform()
    data.SetGeoTransform([left - at * pixel, pixel, 0, top + at * pixel, 0, -pixel])
    data.SetProjection(source.GetProjection())
    data.WriteRaster(at, at, 256, 256, source.ReadRaster())
    data = None
    gdal.SetConfigOption("SPARSE_OK_OVERVIEW", "ON")
    gdal.Open(str(path), gdal.GA_Update).BuildOverviews("NONE", [16, 128])
    gdal.SetConfigOption("SPARSE_OK_OVERVIEW", None)
    small = Desk(canvas, engine, QgsRasterLayer(scene.path, "scene"), (scene.x, scene.y), crs(32633))
    small.click()
    before_mib = peak_mib(engine)
    small.interaction.forget()
    desk = Desk(canvas, engine, QgsRasterLayer(str(path), "huge"), (scene.x, scene.y), crs(32633))
    canvas.setExtent(QgsRectangle(left, top - 76.8, left + 76.8, top))
    began = time.monotonic()
    desk.click()
    assert time.monotonic() - began < 10, "to unpack it all would take minutes"
    assert not desk.said
    assert desk.interaction.outline().contains(desk.place)
    assert peak_mib(engine) - before_mib < 4 * CROP_MIB, "beyond what model and a small raster take"
    desk.interaction.forget()
    canvas.unsetMapTool(desk.tool)
    QgsProject.instance().clear()


def peak_mib(engine):
    """The most memory that an engine ever had."""
    with open(f"/proc/{engine._process.processId()}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def test_beside_the_raster_nothing_is_written(canvas, engine, scene, tmp_path):
    """Nor beside the project: both folders may be ones that cannot be written."""
    path = shutil.copy(scene.path, str(tmp_path / "scene.tif"))
    assert QgsProject.instance().write(str(tmp_path / "project.qgz"))
    before = {one: one.stat().st_mtime_ns for one in tmp_path.iterdir()}
    desk = Desk(canvas, engine, QgsRasterLayer(path, "scene"), (scene.x, scene.y), crs(3857))
    desk.click()
    target = QgsVectorLayer("MultiPolygon?crs=EPSG:32633&field=label:string", "kept in memory", "memory")
    desk.interaction.accept(target, "roof")
    desk.settle()
    assert target.featureCount() == 1
    assert {one: one.stat().st_mtime_ns for one in tmp_path.iterdir()} == before
    desk.interaction.forget()
    canvas.unsetMapTool(desk.tool)
