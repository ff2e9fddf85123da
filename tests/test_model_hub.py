"""Models from the hub, a mirror or a folder: resumed, checked, and named only when whole."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_worker.commands.model_hub import (
    CancelledDownloadError,
    Fetcher,
    cache_target,
    name_revision,
)
from agent_worker.commands.model_sources import HubError, HubFile, source_of
from tests.fake_model_hub import COMMIT, ModelHub

MODEL = bytes(range(256)) * 4000
REPOSITORY = "Owner/Model-GGUF"
SUM = hashlib.sha256(MODEL).hexdigest()
FILE = HubFile(REPOSITORY, "model.gguf", sha256=SUM)


@pytest.fixture
def hub() -> Iterator[ModelHub]:
    served = ModelHub({f"{REPOSITORY}/model.gguf": MODEL, f"{REPOSITORY}/config.json": b'{"a": 1}'})
    yield served
    served.close()


class Impatient(threading.Event):
    """Pauses between tries are not what is tried here."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def fetcher_of(hub: str, folder: Path) -> Fetcher:
    return Fetcher(source_of(hub), folder / "parts", cancelled=Impatient())


@pytest.fixture
def fetcher(hub: ModelHub, tmp_path: Path) -> Iterator[Fetcher]:
    with contextlib.closing(fetcher_of(hub.url, tmp_path)) as made:
        yield made


def get(hub: str, folder: Path, file: HubFile = FILE, told: list[int] | None = None) -> Path:
    target = folder / file.name
    with contextlib.closing(fetcher_of(hub, folder)) as fetcher:
        looked = fetcher.look(file)
        assert looked is not None
        fetcher.fetch(*looked, target, (told if told is not None else []).append)
    return target


def test_a_file_comes_whole_and_is_not_fetched_twice(hub: ModelHub, tmp_path: Path) -> None:
    told: list[int] = []
    assert get(hub.url, tmp_path, told=told).read_bytes() == MODEL
    assert told[-1] == len(MODEL) and told == sorted(told)
    assert list((tmp_path / "parts").iterdir()) == []
    get(hub.url, tmp_path, told=told)
    assert hub.ranges("model.gguf") == [None]


@pytest.mark.parametrize("honours_ranges", [True, False])
def test_a_dropped_connection_is_taken_up_where_it_broke(
    hub: ModelHub, tmp_path: Path, honours_ranges: bool
) -> None:
    hub.cut_after, hub.honours_ranges = [300_000, 400_000], honours_ranges
    assert get(hub.url, tmp_path).read_bytes() == MODEL
    asked = hub.ranges("model.gguf")
    if honours_ranges:
        assert asked == [None, "bytes=300000-", "bytes=700000-"]
    else:
        assert asked == [None, "bytes=300000-", "bytes=400000-"]


def test_after_a_break_of_the_program_the_rest_is_fetched(hub: ModelHub, tmp_path: Path) -> None:
    hub.cut_after = [500_000, 0, 0, 0, 0, 0]
    with pytest.raises(HubError, match=r"model\.gguf from http://127.*"):
        get(hub.url, tmp_path)
    assert not (tmp_path / "model.gguf").exists()
    hub.cut_after, hub.requests = [], []
    assert get(hub.url, tmp_path).read_bytes() == MODEL
    assert hub.ranges("model.gguf") == ["bytes=500000-"]


def test_a_newer_version_is_not_sewn_to_a_part_of_the_older(hub: ModelHub, tmp_path: Path) -> None:
    file = HubFile(REPOSITORY, "model.gguf")
    hub.cut_after = [500_000, 0, 0, 0, 0, 0]
    with pytest.raises(HubError):
        get(hub.url, tmp_path, file)
    newer = MODEL[::-1]
    hub.files[f"{REPOSITORY}/model.gguf"], hub.cut_after = newer, []
    assert get(hub.url, tmp_path, file).read_bytes() == newer


def test_who_stops_it_keeps_what_has_come(hub: ModelHub, tmp_path: Path) -> None:
    cancelled = threading.Event()
    fetcher = Fetcher(source_of(hub.url), tmp_path / "parts", cancelled=cancelled)
    with contextlib.closing(fetcher), pytest.raises(CancelledDownloadError):
        looked = fetcher.look(FILE)
        assert looked is not None
        fetcher.fetch(*looked, tmp_path / "model.gguf", lambda done: cancelled.set())
    [part] = (tmp_path / "parts").iterdir()
    had = part.stat().st_size
    assert 0 < had < len(MODEL)
    assert get(hub.url, tmp_path).read_bytes() == MODEL
    assert hub.ranges("model.gguf")[-1] == f"bytes={had}-"


@pytest.mark.parametrize("known", [SUM, ""])
def test_a_wrong_sum_is_refused_and_leaves_nothing_to_continue(
    hub: ModelHub, tmp_path: Path, known: str
) -> None:
    file = HubFile(REPOSITORY, "model.gguf", sha256=known)
    hub.content["model.gguf"] = MODEL[:-1] + b"x"
    with pytest.raises(HubError, match="wrong sum"):
        get(hub.url, tmp_path, file)
    assert not (tmp_path / "model.gguf").exists()
    assert list((tmp_path / "parts").iterdir()) == []
    hub.content.clear()
    assert get(hub.url, tmp_path, file).read_bytes() == MODEL


def test_small_files_are_checked_by_the_sum_of_git(hub: ModelHub, tmp_path: Path) -> None:
    file = HubFile(REPOSITORY, "config.json")
    hub.content["config.json"] = b'{"a": 2}'
    with pytest.raises(HubError, match="wrong sum"):
        get(hub.url, tmp_path, file)
    hub.content.clear()
    assert get(hub.url, tmp_path, file).read_bytes() == b'{"a": 1}'


def test_another_file_than_the_known_one_is_not_even_fetched(hub: ModelHub, tmp_path: Path) -> None:
    file = HubFile(REPOSITORY, "model.gguf", sha256="0" * 64)
    with pytest.raises(HubError, match="is not the file that is known here"):
        get(hub.url, tmp_path, file)
    assert hub.ranges("model.gguf") == []


def test_a_mirror_without_sums_is_checked_by_the_one_that_is_known(
    hub: ModelHub, tmp_path: Path
) -> None:
    hub.tells_sums = False
    hub.content["model.gguf"] = MODEL[:-1] + b"x"
    with pytest.raises(HubError, match="wrong sum"):
        get(hub.url, tmp_path)
    hub.content.clear()
    assert get(hub.url, tmp_path).read_bytes() == MODEL


def test_a_mirror_that_knows_the_newest_revision_only_will_do(
    hub: ModelHub, tmp_path: Path
) -> None:
    file = HubFile(REPOSITORY, "model.gguf", "b" * 40, SUM)
    assert get(hub.url, tmp_path, file).read_bytes() == MODEL


def test_a_hub_that_is_busy_for_a_moment_is_asked_again(
    hub: ModelHub, fetcher: Fetcher, tmp_path: Path
) -> None:
    looked = fetcher.look(FILE)
    assert looked is not None
    hub.statuses = [503, 429]
    fetcher.fetch(*looked, tmp_path / "model.gguf", lambda done: None)
    assert (tmp_path / "model.gguf").read_bytes() == MODEL


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (HubFile(REPOSITORY, "none.gguf"), "has no Owner/Model-GGUF/none.gguf"),
        (HubFile("Owner/Nothing", "model.gguf"), "has no Owner/Nothing"),
    ],
)
def test_what_the_hub_does_not_have_is_named(
    hub: ModelHub, tmp_path: Path, file: HubFile, message: str
) -> None:
    with pytest.raises(HubError, match=message):
        get(hub.url, tmp_path, file)


def test_what_a_repository_may_lack_is_passed_over(fetcher: Fetcher) -> None:
    assert fetcher.look(HubFile(REPOSITORY, "vocabulary.txt", optional=True)) is None


def test_a_hub_that_is_away_offline_or_none_is_told(
    hub: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.statuses = [403]
    with pytest.raises(HubError, match="status 403"):
        get(hub.url, tmp_path)
    hub.close()
    with pytest.raises(HubError, match="can't be reached"):
        get(hub.url, tmp_path)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="can't be reached through the proxy of the environment"):
        get("http://mirror.invalid", tmp_path)


def test_downloads_that_are_switched_off_stay_off(
    hub: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        get(hub.url, tmp_path)
    assert hub.requests == []


def test_a_full_disk_is_told_before_anything_is_fetched(
    hub: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(HubError, match=r"1 MB have to be fetched, and 0 MB are free in"):
        get(hub.url, tmp_path)
    assert hub.ranges("model.gguf") == []


def test_a_folder_is_a_hub_too(tmp_path: Path) -> None:
    place = tmp_path / "mirror" / REPOSITORY / "model.gguf"
    place.parent.mkdir(parents=True)
    place.write_bytes(MODEL)
    assert get(str(tmp_path / "mirror"), tmp_path).read_bytes() == MODEL
    place.write_bytes(b"another")
    with pytest.raises(HubError, match="not the file that is known"):
        get(str(tmp_path / "mirror"), tmp_path / "again")
    with pytest.raises(HubError, match="no such folder"):
        get(str(tmp_path / "nowhere"), tmp_path / "again")


def test_the_hubs_own_client_finds_what_was_put_into_its_cache(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    looked = fetcher.look(FILE)
    assert looked is not None
    fetcher.fetch(*looked, cache_target(*looked), lambda done: None)
    name_revision(*looked)
    found = huggingface_hub.hf_hub_download(REPOSITORY, "model.gguf", local_files_only=True)
    assert Path(found).read_bytes() == MODEL
    assert COMMIT in found
