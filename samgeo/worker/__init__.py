"""The worker: sessions behind binary frames on standard input and output, for programs that must not import samgeo.

    client ─► frames ─► serving: one thread reads, one works ─► operations on `Session`s ─► frames ─► client

`python -m samgeo.worker` starts it; docs/worker.md describes what is said.
"""
