"""The words that samgeo-nano knows without any other model: the classes that its class head tells apart."""

from __future__ import annotations

CLASSES = (
    "building",
    "field",
    "tree",
    "forest",
    "water",
    "road",
    "vehicle",
    "ship",
    "solar panel",
    "pool",
    "greenhouse",
    "bare ground",
)
"""What is told apart; in the order of the head's outputs, so new ones go to the end."""
SYNONYMS = {
    "building": ("house", "roof", "rooftop", "building footprint", "footprint", "structure"),
    "field": ("farmland", "agricultural field", "crop field", "cropland", "parcel", "farm field", "crop"),
    "tree": ("tree crown", "crown", "treetop"),
    "forest": ("wood", "woodland"),
    "water": ("lake", "river", "pond", "water body", "waterbody", "reservoir"),
    "road": ("street", "highway"),
    "vehicle": ("car", "truck", "van", "bus"),
    "ship": ("boat", "vessel"),
    "solar panel": ("solar", "pv", "photovoltaic", "solar array", "solar panel group", "solar farm"),
    "pool": ("swimming pool",),
    "greenhouse": ("glasshouse", "polytunnel"),
    "bare ground": ("bare soil", "soil", "land", "clearing", "bare land"),
}
"""Other words for them."""


def class_of(word: str | None) -> int | None:
    """The position of the class that a word, or its plural, means; None for words that are not known, and for none."""
    if word is None:
        return None
    plain = " ".join(word.casefold().replace("_", " ").replace("-", " ").split())
    for number, name in enumerate(CLASSES):
        for known in (name, *SYNONYMS[name]):
            if plain in (known, known + "s", known + "es"):
                return number
    return None
