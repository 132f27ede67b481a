"""Weights are fetched whole and verified or not at all, whatever the server does; a stopped download goes on."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from urllib.request import urlopen

import pytest

from samgeo.errors import SamgeoWarning, WeightsError
from samgeo.model import download
from samgeo.model.fetch import fetched
from samgeo.model.published import PUBLISHED, Digest
from tests.model.conftest import CONTENT, SHA256


@pytest.fixture(autouse=True)
def patient_for_a_moment(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAMGEO_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "SILENCE_S", 0.4)
    monkeypatch.setattr(download, "PAUSES_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(download, "ENOUGH_BYTES", 20_000)


def requests_of(published):
    at = published.url.index("/", 8)
    with urlopen(f"{published.url[:at]}/count{published.url[at:]}") as answer:
        return int(answer.read())


def weights_folder(tmp_path):
    return tmp_path / "cache" / "weights"


def left(tmp_path):
    """Files in the cache, by their path in it."""
    folder = weights_folder(tmp_path)
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def quiet(*_told):
    pass


@pytest.mark.parametrize(
    "behaviour",
    [
        *("good", "slow", "cuts", "cuts-once", "no-range", "no-length", "stalls-once", "changes", "busy-once"),
        *("moved", "flips-once"),
    ],
)
@pytest.mark.parametrize("knows_size", [True, False])
@pytest.mark.filterwarnings("ignore:.*moved to:samgeo.errors.SamgeoWarning")
def test_the_file_arrives_whole_from_servers_that_fail_for_a_while(behaviour, knows_size, member, tmp_path):
    published = member(behaviour, size_bytes=len(CONTENT) if knows_size else 0)
    path = fetched(published, quiet)
    assert path == weights_folder(tmp_path) / "sam_vit_x.pth"
    assert path.read_bytes() == CONTENT
    assert [p for p in left(tmp_path) if "quarantine" not in p] == ["sam_vit_x.pth"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("cuts-at-once", "ended|IncompleteRead"),
        ("other-range", "another part than was asked for|IncompleteRead|broken"),
        ("stalls", "timed out"),
        ("says-more", "offers 301004 bytes, expected 300004"),
        ("says-less", "offers 299004 bytes, expected 300004"),
        ("page", "offers .* bytes, expected 300004"),
        ("page-of-that-size", "sends a web page.*log in"),
        ("empty", "ended after 0 of 300004 bytes"),
        ("missing", "answers 404"),
        ("busy", "answers 503"),
        ("hangs-up", "Connection"),
    ],
)
def test_what_cannot_be_had_is_an_error_with_address_place_and_what_to_do(behaviour, reason, member, tmp_path):
    published = member(behaviour)
    with pytest.raises(WeightsError, match=reason) as caught:
        fetched(published, quiet)
    message = str(caught.value)
    assert published.url in message
    assert str(weights_folder(tmp_path) / published.file) in message
    assert "by hand" in message
    assert not (weights_folder(tmp_path) / published.file).exists()
    assert requests_of(published) <= 1 + len(download.PAUSES_S)


def test_nothing_is_not_a_file_where_no_size_is_published(member):
    with pytest.raises(WeightsError, match="ended after 0"):
        fetched(member("empty", size_bytes=0, digest=None), quiet)


def test_a_web_page_is_known_by_its_first_bytes_where_no_size_is_published(member):
    published = member("page", size_bytes=0)
    with pytest.raises(WeightsError, match=r"a web page.*log in"):
        fetched(published, quiet)
    assert requests_of(published) == 1


def test_nobody_listens():
    member = replace(PUBLISHED["sam-vit-b"], base="http://127.0.0.1:9/")
    with pytest.raises(WeightsError, match=r"http://127.0.0.1:9/sam_vit_b_01ec64.pth.*HTTPS_PROXY"):
        fetched(member, quiet)


def test_a_download_that_was_cut_goes_on_and_does_not_begin_again(member):
    published = member("cuts")
    told = []
    fetched(published, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert requests_of(published) <= 1 + len(CONTENT) // (60_000 - download.CHUNK_BYTES)


def test_a_file_that_changes_on_the_server_is_begun_anew_and_not_mixed(member, tmp_path):
    published = member("changes")
    assert fetched(published, quiet).read_bytes() == CONTENT
    assert requests_of(published) == 2
    assert left(tmp_path) == ["sam_vit_x.pth"]


def test_a_download_goes_on_in_the_next_process(member, tmp_path):
    """What an earlier process left is used: only the rest is asked for."""
    part = weights_folder(tmp_path) / ".sam_vit_x.pth.partial" / "sam_vit_x.pth"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:200_000])
    told = []
    assert fetched(member("good"), lambda done, _: told.append(done)).read_bytes() == CONTENT
    assert told[0] > 200_000
    assert left(tmp_path) == ["sam_vit_x.pth"]


@pytest.mark.parametrize("size_bytes", [len(CONTENT), 0])
@pytest.mark.parametrize("extra", [0, 500])
def test_a_part_that_is_whole_or_too_long_is_no_trouble(size_bytes, extra, member, tmp_path):
    part = weights_folder(tmp_path) / ".sam_vit_x.pth.partial" / "sam_vit_x.pth"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT + bytes(extra))
    published = member("good", size_bytes=size_bytes)
    assert fetched(published, quiet).read_bytes() == CONTENT
    assert requests_of(published) <= 2


def test_a_part_of_another_file_is_found_out_and_fetched_anew(member, tmp_path):
    part = weights_folder(tmp_path) / ".sam_vit_x.pth.partial" / "sam_vit_x.pth"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(100_000))
    published = member("good")
    assert fetched(published, quiet).read_bytes() == CONTENT
    assert requests_of(published) == 2


def test_what_is_not_as_published_is_never_read_and_fetched_anew_only_once(member, tmp_path):
    published = member("flips")
    with pytest.raises(WeightsError, match=r"sends sha256 .*, expected sha256 .*It is not read"):
        fetched(published, quiet)
    assert requests_of(published) == 2
    assert left(tmp_path) == ["quarantine/sam_vit_x.pth"]


@pytest.mark.parametrize("kind", ["md5", "git"])
def test_digests_of_every_published_kind_are_checked(kind, member):
    if kind == "git":
        right = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    else:
        right = hashlib.md5(CONTENT).hexdigest()
    assert fetched(member("good", digest=Digest(kind=kind, hex=right)), quiet).read_bytes() == CONTENT
    with (
        pytest.warns(SamgeoWarning, match="moved to"),
        pytest.raises(WeightsError, match=f"{kind} .*, expected {kind} 00"),
    ):
        fetched(member("good", digest=Digest(kind=kind, hex="0" * len(right))), quiet)


def test_git_blob_ids_are_those_of_git(tmp_path):
    from samgeo.model.digests import digest_of

    (tmp_path / "file").write_bytes(CONTENT)
    told = subprocess.run(["git", "hash-object", tmp_path / "file"], capture_output=True, text=True, check=True)
    assert digest_of(tmp_path / "file", "git") == told.stdout.strip()


def test_without_a_published_digest_it_says_what_arrived(member):
    with pytest.warns(SamgeoWarning, match=f"no digest is published; what arrived has {SHA256}"):
        fetched(member("good", digest=None), quiet)


def test_what_is_here_is_not_fetched_again(member):
    published = member("good")
    first = fetched(published, quiet)
    assert fetched(published, quiet) == first
    assert requests_of(published) == 1


def test_weights_that_were_damaged_here_go_to_quarantine_and_come_anew(member, tmp_path):
    published = member("good")
    path = fetched(published, quiet)
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.warns(SamgeoWarning, match=r"expected sha256 .*; moved to .*quarantine"):
        assert fetched(published, quiet).read_bytes() == CONTENT
    assert left(tmp_path) == ["quarantine/sam_vit_x.pth", "sam_vit_x.pth"]


def test_offline_nothing_is_tried(member, monkeypatch, tmp_path):
    monkeypatch.setenv("SAMGEO_OFFLINE", "1")
    published = member("good")
    with pytest.raises(WeightsError, match="SAMGEO_OFFLINE forbids") as caught:
        fetched(published, quiet)
    assert published.url in str(caught.value)
    assert str(weights_folder(tmp_path) / published.file) in str(caught.value)
    assert requests_of(published) == 0
    monkeypatch.setenv("SAMGEO_OFFLINE", "0")
    path = fetched(published, quiet)
    monkeypatch.setenv("SAMGEO_OFFLINE", "1")
    assert fetched(published, quiet) == path


def test_weights_put_there_by_hand_are_verified_and_used(member, monkeypatch, tmp_path):
    monkeypatch.setenv("SAMGEO_OFFLINE", "1")
    path = weights_folder(tmp_path) / "sam_vit_x.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetched(member("good"), quiet) == path


def test_a_full_disk_is_told_before_it_is_full(member, monkeypatch):
    usage = download.shutil.disk_usage("/")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(
        WeightsError, match=r"cannot be written: 300004 bytes are missing and 1000 are free.*SAMGEO_CACHE"
    ):
        fetched(member("good"), quiet)


def test_a_folder_that_cannot_be_made_is_an_error(member, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be written.*SAMGEO_CACHE"):
        fetched(member("good"), quiet)


PROCESS = """
import sys, warnings
from samgeo.model.fetch import fetched
from samgeo.model.published import Digest, Published
warnings.simplefilter("ignore")
base, size, digest = sys.argv[1:]
member = Published(name="sam-vit-x", file="sam_vit_x.pth", base=base, size_bytes=int(size), parameters=1, input_px=1,
                   digest=Digest(kind="sha256", hex=digest), good_for="tests")
print("ready", flush=True)
print(fetched(member, lambda done, total: None))
"""


def start(published):
    arguments = [published.base, str(len(CONTENT)), SHA256.hex]
    return subprocess.Popen([sys.executable, "-c", PROCESS, *arguments], stdout=subprocess.PIPE, text=True)


def test_two_processes_fetch_once(member, tmp_path):
    published = member("slow")
    processes = [start(published) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(str(weights_folder(tmp_path) / "sam_vit_x.pth") in text for text in printed)
    assert requests_of(published) == 1
    assert left(tmp_path) == ["sam_vit_x.pth"]


def test_a_killed_download_leaves_nothing_under_its_name_and_is_gone_on_from(member, tmp_path):
    published = member("slow")
    process = start(published)
    part = weights_folder(tmp_path) / ".sam_vit_x.pth.partial" / "sam_vit_x.pth"
    until = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= 40_000) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    arrived = part.stat().st_size
    assert 40_000 <= arrived < len(CONTENT)
    assert not (weights_folder(tmp_path) / "sam_vit_x.pth").exists()
    told = []
    assert fetched(published, lambda done, _: told.append(done)).read_bytes() == CONTENT
    assert told[0] > arrived


def test_the_table_is_sound():
    """Every member has a file of its own, an exact or rough size, and a digest of the right length if any."""
    files = [published.file for published in PUBLISHED.values()]
    assert len(set(files)) == len(files)
    lengths = {"sha256": 64, "md5": 32, "git": 40}
    for name, published in PUBLISHED.items():
        assert name == published.name
        assert published.parameters > 0
        if published.url:
            assert published.url.startswith("https://")
            assert bool(published.size_bytes) != bool(published.about_mb)
        if published.digest:
            assert len(published.digest.hex) == lengths[published.digest.kind]
            assert int(published.digest.hex, 16)
    assert {p.licence for n, p in PUBLISHED.items() if n.startswith("fast-sam")} == {"AGPL-3.0"}
    assert [n for n, p in PUBLISHED.items() if p.url and not p.digest] == ["hq-sam2.1-hiera-large"]


def test_official_file_names_of_the_first_generation_begin_their_md5():
    """The six digits in their names are the beginning of the MD5 sum, as published with them."""
    for name, md5 in (("sam-vit-b", "01ec64"), ("sam-vit-l", "0b3195"), ("sam-vit-h", "4b8939")):
        assert PUBLISHED[name].file.endswith(f"_{md5}.pth")
