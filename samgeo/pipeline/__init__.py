"""From a raster and prompts to features, tile by tile; `segment.py` is the whole of it."""
