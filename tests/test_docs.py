"""What the documents name is there: tests beside claims, files, and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_and_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()
    for module, test in re.findall(r"`((?:\w+/)*test_\w+)::(test_\w+)`", text):
        places = [ROOT / "tests" / f"{module}.py", ROOT / "qgis_plugin" / "tests" / f"{module}.py"]
        source = next((place for place in places if place.is_file()), None)
        assert source is not None, f"{page.name} names {module}"
        assert re.search(rf"^ *def {test}\(", source.read_text(), re.MULTILINE), f"{page.name} names {module}::{test}"
    for file in re.findall(r"`((?:samgeo|tests|benchmarks|docs)/[\w/]+\.\w+)`", text):
        assert (ROOT / file).is_file(), f"{page.name} names {file}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_line_of_the_plugins_standard_is_answered() -> None:
    """By a test, and where something is missing by a reason beside it."""
    text = (ROOT / "docs" / "qgis.md").read_text()
    answers = {
        int(number): answer
        for numbers, answer in re.findall(r"^\| (\d+(?:, \d+)*) \| .+? \| (.+) \|$", text, re.MULTILINE)
        for number in numbers.split(", ")
    }
    assert sorted(answers) == list(range(1, 26))
    assert all("`test_" in answer for answer in answers.values())
