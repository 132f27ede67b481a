<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de" sourcelanguage="en">
  <context>
    <name>samgeo</name>
    <message>
      <source>Add a raster layer…</source>
      <translation>Rasterlayer hinzufügen…</translation>
    </message>
    <message>
      <source>Set up the engine…</source>
      <translation>Engine einrichten…</translation>
    </message>
    <message>
      <source>Objects are added to this layer; without one a GeoPackage is made.</source>
      <translation>Objekte kommen in diesen Layer; ohne Layer wird ein GeoPackage angelegt.</translation>
    </message>
    <message>
      <source>New…</source>
      <translation>Neu…</translation>
    </message>
    <message>
      <source>empty: what the model takes it for</source>
      <translation>leer: wofür das Modell es hält</translation>
    </message>
    <message>
      <source>What the next objects are; each label has a colour of its own.</source>
      <translation>Was die nächsten Objekte sind; jede Bezeichnung hat ihre eigene Farbe.</translation>
    </message>
    <message>
      <source>Right-angled corners</source>
      <translation>Rechtwinklige Ecken</translation>
    </message>
    <message>
      <source>pixel-exact</source>
      <translation>pixelgenau</translation>
    </message>
    <message>
      <source>keep all</source>
      <translation>alle behalten</translation>
    </message>
    <message>
      <source>Holes smaller than this are filled and loose parts left out; the largest part always stays.</source>
      <translation>Kleinere Löcher werden gefüllt, kleinere lose Teile weggelassen; der größte Teil bleibt immer.</translation>
    </message>
    <message>
      <source>Show what a click would find</source>
      <translation>Zeigen, was ein Klick fände</translation>
    </message>
    <message>
      <source>Raster</source>
      <translation>Raster</translation>
    </message>
    <message>
      <source>Save to</source>
      <translation>Speichern in</translation>
    </message>
    <message>
      <source>Label</source>
      <translation>Bezeichnung</translation>
    </message>
    <message>
      <source>Simplify by</source>
      <translation>Vereinfachen um</translation>
    </message>
    <message>
      <source>Smallest piece</source>
      <translation>Kleinstes Stück</translation>
    </message>
    <message>
      <source>Outline</source>
      <translation>Umriss</translation>
    </message>
    <message>
      <source>&lt;b&gt;Step 1 of 2: the engine.&lt;/b&gt; The models run in a Python of their own beside QGIS. It is set up once, in one click or from a folder without a network; nothing leaves this machine.</source>
      <translation>&lt;b&gt;Schritt 1 von 2: die Engine.&lt;/b&gt; Die Modelle laufen neben QGIS in einem eigenen Python. Es wird einmal eingerichtet, mit einem Klick oder ohne Netz aus einem Ordner; nichts verlässt diesen Rechner.</translation>
    </message>
    <message>
      <source>&lt;b&gt;Step 2 of 2: an image.&lt;/b&gt; Choose a raster layer below: a file, XYZ tiles, WMS, ...</source>
      <translation>&lt;b&gt;Schritt 2 von 2: ein Bild.&lt;/b&gt; Unten einen Rasterlayer wählen: Datei, XYZ-Kacheln, WMS, ...</translation>
    </message>
    <message>
      <source>&lt;b&gt;Left click&lt;/b&gt; on an object, &lt;b&gt;right click&lt;/b&gt; beside it, &lt;b&gt;drag&lt;/b&gt; a box around it. What is orange is what is saved.</source>
      <translation>&lt;b&gt;Linksklick&lt;/b&gt; auf ein Objekt, &lt;b&gt;Rechtsklick&lt;/b&gt; daneben, ein Rechteck darum &lt;b&gt;ziehen&lt;/b&gt;. Was orange ist, wird gespeichert.</translation>
    </message>
    <message>
      <source>Nothing is clicked yet.</source>
      <translation>Noch nichts angeklickt.</translation>
    </message>
    <message>
      <source>unsure</source>
      <translation>unsicher</translation>
    </message>
    <message>
      <source>Mask {} of {}: score {}{}</source>
      <translation>Maske {} von {}: Güte {}{}</translation>
    </message>
    <message>
      <source>the engine crashed (code {})</source>
      <translation>die Engine ist abgestürzt (Code {})</translation>
    </message>
    <message>
      <source>the engine ended (code {})</source>
      <translation>die Engine hat sich beendet (Code {})</translation>
    </message>
    <message>
      <source>{} could not be started</source>
      <translation>{} konnte nicht gestartet werden</translation>
    </message>
    <message>
      <source>The engine of samgeo</source>
      <translation>Die Engine von samgeo</translation>
    </message>
    <message>
      <source>The engine is the Python package samgeo. It runs beside QGIS in a Python of its own, so that neither can harm the other. Nothing leaves this machine.</source>
      <translation>Die Engine ist das Python-Paket samgeo. Es läuft neben QGIS in einem eigenen Python, damit keines dem anderen schadet. Nichts verlässt diesen Rechner.</translation>
    </message>
    <message>
      <source>A python program of an environment in which samgeo is installed</source>
      <translation>Ein Python-Programm einer Umgebung, in der samgeo installiert ist</translation>
    </message>
    <message>
      <source>To install without a network: a folder with the packages</source>
      <translation>Zum Installieren ohne Netz: ein Ordner mit den Paketen</translation>
    </message>
    <message>
      <source>What `samgeo models` lists and has fetched, or a file of weights</source>
      <translation>Was `samgeo models` aufführt und geholt hat, oder eine Datei mit Gewichten</translation>
    </message>
    <message>
      <source>not known yet</source>
      <translation>noch nicht bekannt</translation>
    </message>
    <message>
      <source>Empty</source>
      <translation>Leeren</translation>
    </message>
    <message>
      <source>What was encoded is kept on disk, so that clicks there are answered at once.</source>
      <translation>Was kodiert wurde, bleibt auf der Platte, damit Klicks dort sofort beantwortet werden.</translation>
    </message>
    <message>
      <source>Make an environment now</source>
      <translation>Jetzt eine Umgebung anlegen</translation>
    </message>
    <message>
      <source>Diagnose</source>
      <translation>Diagnose</translation>
    </message>
    <message>
      <source>Python with samgeo</source>
      <translation>Python mit samgeo</translation>
    </message>
    <message>
      <source>Offline folder</source>
      <translation>Ordner ohne Netz</translation>
    </message>
    <message>
      <source>Model</source>
      <translation>Modell</translation>
    </message>
    <message>
      <source>Cache</source>
      <translation>Zwischenspeicher</translation>
    </message>
    <message>
      <source>There is no engine yet.</source>
      <translation>Es gibt noch keine Engine.</translation>
    </message>
    <message>
      <source>No Python was found here that the folder has packages for. Fix: install that version.</source>
      <translation>Hier wurde kein Python gefunden, für das Pakete im Ordner liegen. Abhilfe: diese Version installieren.</translation>
    </message>
    <message>
      <source>No Python 3.11 or later was found here. Fix: install one, or name yours above.</source>
      <translation>Hier wurde kein Python 3.11 oder neuer gefunden. Abhilfe: eines installieren oder oben angeben.</translation>
    </message>
    <message>
      <source>Ready: {}</source>
      <translation>Bereit: {}</translation>
    </message>
    <message>
      <source>It did not work: {}</source>
      <translation>Es hat nicht geklappt: {}</translation>
    </message>
    <message>
      <source>{:.0f} of at most {:.0f} MB</source>
      <translation>{:.0f} von höchstens {:.0f} MB</translation>
    </message>
    <message>
      <source>The engine is still at work on the last click.</source>
      <translation>Die Engine arbeitet noch am letzten Klick.</translation>
    </message>
    <message>
      <source>Nothing to save yet: click on an object first.</source>
      <translation>Noch nichts zu speichern: erst auf ein Objekt klicken.</translation>
    </message>
    <message>
      <source>Choose a raster layer to click on.</source>
      <translation>Einen Rasterlayer zum Klicken wählen.</translation>
    </message>
    <message>
      <source>The CRS of {} is another one: the clicks are dropped.</source>
      <translation>Das KBS von {} ist ein anderes: Die Klicks sind verworfen.</translation>
    </message>
    <message>
      <source>{} cannot be read. Fix: choose another layer, or repair its data source</source>
      <translation>{} ist nicht lesbar. Abhilfe: einen anderen Layer wählen oder seine Datenquelle reparieren</translation>
    </message>
    <message>
      <source>This place is not on {}.</source>
      <translation>Diese Stelle liegt nicht auf {}.</translation>
    </message>
    <message>
      <source>That is too far from the other clicks. Save or clear the object first.</source>
      <translation>Das ist zu weit von den anderen Klicks. Das Objekt erst speichern oder verwerfen.</translation>
    </message>
    <message>
      <source>cancelled</source>
      <translation>abgebrochen</translation>
    </message>
    <message>
      <source>the last command ended with code {}</source>
      <translation>der letzte Befehl endete mit Code {}</translation>
    </message>
    <message>
      <source>samgeo: click on things</source>
      <translation>samgeo: Dinge anklicken</translation>
    </message>
    <message>
      <source>Click on an image and get the object as a polygon</source>
      <translation>Auf ein Bild klicken und das Objekt als Polygon bekommen</translation>
    </message>
    <message>
      <source>Restart</source>
      <translation>Neu starten</translation>
    </message>
    <message>
      <source>Copy report</source>
      <translation>Bericht kopieren</translation>
    </message>
    <message>
      <source>Save</source>
      <translation>Speichern</translation>
    </message>
    <message>
      <source>Next mask</source>
      <translation>Nächste Maske</translation>
    </message>
    <message>
      <source>Clear</source>
      <translation>Verwerfen</translation>
    </message>
    <message>
      <source>Undo</source>
      <translation>Rückgängig</translation>
    </message>
    <message>
      <source>Take the last click back</source>
      <translation>Letzten Klick zurücknehmen</translation>
    </message>
    <message>
      <source>Redo</source>
      <translation>Wiederholen</translation>
    </message>
    <message>
      <source>Engine…</source>
      <translation>Engine…</translation>
    </message>
    <message>
      <source>A GeoPackage for the objects</source>
      <translation>Ein GeoPackage für die Objekte</translation>
    </message>
    <message>
      <source>The report is copied.</source>
      <translation>Der Bericht ist kopiert.</translation>
    </message>
    <message>
      <source>Saved.</source>
      <translation>Gespeichert.</translation>
    </message>
    <message>
      <source>Cancelled; the engine starts anew.</source>
      <translation>Abgebrochen; die Engine startet neu.</translation>
    </message>
    <message>
      <source>Cancelled.</source>
      <translation>Abgebrochen.</translation>
    </message>
    <message>
      <source>Segment everything</source>
      <translation>Alles segmentieren</translation>
    </message>
    <message>
      <source>Finds the objects of a raster without being told what to look for, and says in the column label what it takes them for. Large rasters are read tile by tile, and no seam shows. A run to a file that was cancelled goes on when it is given again.</source>
      <translation>Findet die Objekte eines Rasters ohne Vorgaben und schreibt in die Spalte label, wofür es sie hält. Große Raster werden Kachel für Kachel gelesen, ohne sichtbare Nähte. Ein abgebrochener Lauf in eine Datei geht weiter, wenn er noch einmal gestartet wird.</translation>
    </message>
    <message>
      <source>Segment by points</source>
      <translation>Nach Punkten segmentieren</translation>
    </message>
    <message>
      <source>One object for each point of a layer; or for all points that share a value of the object field, where the label field tells clicks on the object (1, fg) from clicks beside it (0, bg). Of a selection only that is used.</source>
      <translation>Ein Objekt für jeden Punkt eines Layers; oder für alle Punkte mit demselben Wert im Objektfeld, wobei das zweite Feld Klicks auf das Objekt (1, fg) von Klicks daneben (0, bg) unterscheidet. Ist etwas ausgewählt, zählt nur das.</translation>
    </message>
    <message>
      <source>Segment by boxes</source>
      <translation>Nach Rechtecken segmentieren</translation>
    </message>
    <message>
      <source>One object for each feature of a layer, known by its bounding box: existing outlines, even if they are off by a few metres, are good boxes. Of a selection only that is used.</source>
      <translation>Ein Objekt für jedes Element eines Layers, nach seinem umschließenden Rechteck: auch vorhandene Umrisse, die um einige Meter danebenliegen, sind gute Rechtecke. Ist etwas ausgewählt, zählt nur das.</translation>
    </message>
    <message>
      <source>Segment by polygons</source>
      <translation>Nach Polygonen segmentieren</translation>
    </message>
    <message>
      <source>Makes rough polygons exact: one object for each. Of a selection only that is used.</source>
      <translation>Macht grobe Polygone genau: ein Objekt für jedes. Ist etwas ausgewählt, zählt nur das.</translation>
    </message>
    <message>
      <source>Segment by words</source>
      <translation>Nach Wörtern segmentieren</translation>
    </message>
    <message>
      <source>Finds all objects of some classes. Without more, the words are building, field, tree, forest, water, road, vehicle, ship, solar panel, pool, greenhouse and bare ground.</source>
      <translation>Findet alle Objekte einiger Klassen. Ohne weiteres Modell gelten die englischen Wörter building, field, tree, forest, water, road, vehicle, ship, solar panel, pool, greenhouse und bare ground.</translation>
    </message>
    <message>
      <source>Encode ahead</source>
      <translation>Im Voraus kodieren</translation>
    </message>
    <message>
      <source>Fills the cache with what the model makes of a raster, so that clicks and later runs on it are answered at once. A run that was cancelled goes on.</source>
      <translation>Füllt den Zwischenspeicher mit dem, was das Modell aus einem Raster macht, damit Klicks und spätere Läufe darauf sofort beantwortet werden. Ein abgebrochener Lauf geht weiter.</translation>
    </message>
    <message>
      <source>Field that tells objects apart</source>
      <translation>Feld, das Objekte unterscheidet</translation>
    </message>
    <message>
      <source>Field with 1 or 0</source>
      <translation>Feld mit 1 oder 0</translation>
    </message>
    <message>
      <source>Model or file of weights</source>
      <translation>Modell oder Datei mit Gewichten</translation>
    </message>
    <message>
      <source>Ground metres of a pixel that the model sees; 0: the raster's</source>
      <translation>Meter am Boden je Pixel, das das Modell sieht; 0: die des Rasters</translation>
    </message>
    <message>
      <source>Bands as red, green, blue, such as 4,3,2</source>
      <translation>Bänder als Rot, Grün, Blau, etwa 4,3,2</translation>
    </message>
    <message>
      <source>Simplify by so many metres</source>
      <translation>Um so viele Meter vereinfachen</translation>
    </message>
    <message>
      <source>Smallest area in square metres</source>
      <translation>Kleinste Fläche in Quadratmetern</translation>
    </message>
    <message>
      <source>No two features overlap</source>
      <translation>Keine zwei Objekte überlappen</translation>
    </message>
    <message>
      <source>Look at and keep what is inside</source>
      <translation>Nur ansehen und behalten, was darin liegt</translation>
    </message>
    <message>
      <source>Features</source>
      <translation>Objekte</translation>
    </message>
    <message>
      <source>There is no raster.</source>
      <translation>Es gibt kein Raster.</translation>
    </message>
    <message>
      <source>Fast: miss parts of what was found</source>
      <translation>Schnell: Teile von Gefundenem entgehen</translation>
    </message>
    <message>
      <source>Prompts</source>
      <translation>Vorgaben</translation>
    </message>
    <message>
      <source>There are no prompts.</source>
      <translation>Es gibt keine Vorgaben.</translation>
    </message>
    <message>
      <source>What to look for</source>
      <translation>Wonach gesucht wird</translation>
    </message>
    <message>
      <source>Folder of a model for other words</source>
      <translation>Ordner eines Modells für andere Wörter</translation>
    </message>
    <message>
      <source>{}: not a file on this machine. Fix: save the part that you need with Export &gt; Save As</source>
      <translation>{}: keine Datei auf diesem Rechner. Abhilfe: den nötigen Teil mit Export &gt; Speichern als sichern</translation>
    </message>
    <message>
      <source>There is no engine. Fix: press the samgeo button and make one, or set {}</source>
      <translation>Es gibt keine Engine. Abhilfe: auf den samgeo-Knopf drücken und eine anlegen, oder {} setzen</translation>
    </message>
    <message>
      <source>Cancelled. The same call goes on from here.</source>
      <translation>Abgebrochen. Derselbe Aufruf geht von hier aus weiter.</translation>
    </message>
    <message>
      <source>samgeo ended with code {}</source>
      <translation>samgeo endete mit Code {}</translation>
    </message>
    <message>
      <source>{} takes no polygons. Fix: choose a layer of polygons, or a new one</source>
      <translation>{} nimmt keine Polygone. Abhilfe: einen Polygonlayer oder einen neuen wählen</translation>
    </message>
    <message>
      <source>{} cannot be edited. Fix: choose another layer, or a new one</source>
      <translation>{} ist nicht bearbeitbar. Abhilfe: einen anderen oder neuen Layer wählen</translation>
    </message>
    <message>
      <source>{} does not take the object. Fix: choose another layer, or a new one</source>
      <translation>{} nimmt das Objekt nicht an. Abhilfe: einen anderen oder neuen Layer wählen</translation>
    </message>
    <message>
      <source>{}: is there and is no GeoPackage. Fix: choose another name</source>
      <translation>{}: gibt es schon und ist kein GeoPackage. Abhilfe: anderen Namen wählen</translation>
    </message>
    <message>
      <source>cannot be read again</source>
      <translation>lässt sich nicht wieder lesen</translation>
    </message>
    <message>
      <source>other</source>
      <translation>sonstiges</translation>
    </message>
  </context>
</TS>
