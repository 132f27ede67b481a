"""A stand-in for QGIS's own window, with a real canvas in it; on Qt 5 and on Qt 6."""

from qgis.PyQt.QtWidgets import QMainWindow


class Bar:
    """What of QGIS's message bar the plugin uses."""

    def __init__(self):
        self.messages = []

    def pushMessage(self, title, text, level, seconds):
        self.messages.append(text)


class Face:
    """What of QGIS's interface the plugin uses."""

    def __init__(self, canvas):
        self.canvas, self.window, self.bar = canvas, QMainWindow(), Bar()
        self.window.setCentralWidget(canvas)
        self.window.resize(900, 500)
        self.window.show()
        self.icons, self.menu, self.docks, self.registered = [], [], [], []
        self.active = None

    def mapCanvas(self):
        return self.canvas

    def mainWindow(self):
        return self.window

    def messageBar(self):
        return self.bar

    def activeLayer(self):
        return self.active

    def addToolBarIcon(self, action):
        self.icons.append(action)

    def removeToolBarIcon(self, action):
        self.icons.remove(action)

    def addPluginToRasterMenu(self, name, action):
        self.menu.append(action)

    def removePluginRasterMenu(self, name, action):
        self.menu.remove(action)

    def addDockWidget(self, area, dock):
        self.docks.append(dock)
        self.window.addDockWidget(area, dock)

    def removeDockWidget(self, dock):
        self.docks.remove(dock)
        self.window.removeDockWidget(dock)

    def registerMainWindowAction(self, action, keys):
        self.registered.append((action.objectName(), keys))
