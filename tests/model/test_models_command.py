"""`samgeo models` tells what there is and what is here, fetches, and says what a file is."""

import json

import pytest
import torch
from click.testing import CliRunner

from samgeo.cli import samgeo
from samgeo.model.published import PUBLISHED
from samgeo.model.spec import MODELS
from samgeo.model.store import path_of
from tests.model.conftest import CONTENT


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAMGEO_OFFLINE", raising=False)


def run(*arguments):
    return CliRunner().invoke(samgeo, ["models", *map(str, arguments)])


def test_the_list_has_every_member_with_size_input_licence_and_use():
    told = run("list").stdout
    assert told == run().stdout
    for published in PUBLISHED.values():
        [line] = [line for line in told.splitlines() if line.split()[0] == published.name]
        for fact in (f"{published.parameters / 1e6:.1f} M", f"{published.input_px} px", published.licence):
            assert fact in line
        assert published.size_text in line
        assert published.good_for in line
        assert ("(1)" in line) == (published.name not in MODELS)


def test_the_list_for_programs_has_address_and_digest():
    told = json.loads(run("list", "--json").stdout)
    assert [model["name"] for model in told] == list(PUBLISHED)
    by_name = {model["name"]: model for model in told}
    assert by_name["sam-vit-b"]["digest"] == "sha256 ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"
    assert by_name["sam-vit-b"]["size_bytes"] == 375_042_383
    assert not by_name["sam-vit-b"]["here"]
    assert by_name["samgeo-nano"]["here"]
    assert by_name["fast-sam-s"]["licence"] == "AGPL-3.0"


@pytest.mark.parametrize("name", PUBLISHED)
def test_info_tells_everything_of_each_member(name):
    published, told = PUBLISHED[name], run("info", name).stdout
    for fact in (published.good_for, f"{published.parameters:,}", published.licence, published.licence_note):
        assert fact in told
    assert str(published.digest or "") in told
    assert published.url in told
    assert ("not here. Fix: samgeo models pull" in told) == bool(published.url)


def test_pull_fetches_verifies_and_info_sees_damage(member, monkeypatch):
    published = member("cuts-once")
    monkeypatch.setitem(PUBLISHED, published.name, published)
    pulled = run("pull", published.name, "--progress", "json")
    assert pulled.exit_code == 0
    assert pulled.stdout.strip() == str(path_of(published))
    lines = [json.loads(line) for line in pulled.stderr.splitlines()]
    assert {line["phase"] for line in lines} == {"fetching"}
    assert lines[-1]["done"] == lines[-1]["total"] == len(CONTENT)
    assert "whole, sha256" in run("info", published.name).stdout
    path_of(published).write_bytes(CONTENT[:-1] + b"?")
    assert "NOT as published: sha256" in run("info", published.name).stdout


def test_pull_says_the_licence_that_asks_for_something(member, monkeypatch):
    published = member("good", licence="AGPL-3.0", licence_note="who offers a service must offer its source")
    monkeypatch.setitem(PUBLISHED, published.name, published)
    assert "Licence AGPL-3.0: who offers a service" in run("pull", published.name).stderr


def test_pull_of_what_is_in_the_package_fetches_nothing(monkeypatch):
    monkeypatch.setenv("SAMGEO_OFFLINE", "1")
    assert run("pull", "samgeo-nano").stdout.strip() == str(path_of(PUBLISHED["samgeo-nano"]))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["pull", "sam-vit-bb"], 5, "did you mean sam-vit-b"),
        (["info", "nothing-like-it"], 5, "known models"),
        (["check", "none.pth"], 5, "no such weights file"),
    ],
)
def test_what_is_not_there_is_said(arguments, code, message):
    told = run(*arguments)
    assert told.exit_code == code
    assert message in told.stderr


def test_check_says_what_a_file_is(tmp_path):
    nano = path_of(PUBLISHED["samgeo-nano"])
    assert "the weights of samgeo-nano in this package" in run("check", nano).stdout
    assert run("check", nano, "--as", "sam-vit-b").exit_code == 5
    mine = tmp_path / "mine.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, mine)
    assert "1 of the 314 tensors of sam-vit-b, not a published file" in run("check", mine, "--as", "sam-vit-b").stdout
    wrong = run("check", mine, "--as", "sam-vit-l")
    assert wrong.exit_code == 5
    assert "tensors of sam-vit-b; expected those of sam-vit-l" in wrong.stderr


def test_check_of_a_malicious_file_runs_nothing_and_ends_with_8(tmp_path):
    class Attack:
        def __reduce__(self):
            import os

            return os.mkdir, (str(tmp_path / "marker"),)

    torch.save(Attack(), tmp_path / "sam_vit_b_01ec64.pth")
    told = run("check", tmp_path / "sam_vit_b_01ec64.pth")
    assert told.exit_code == 8
    assert "Nothing was run" in told.stderr
    assert not (tmp_path / "marker").exists()
