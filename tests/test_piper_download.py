from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from livekit.plugins import piper
from local_tts.fetch import show_bar
from tests import tiny_piper
from tests.tts_probe import pcm, speak

NAME = "en_US-tiny-low"
MODEL = f"en/en_US/tiny/low/{NAME}.onnx"


class Hub:
    """A voice hub on loopback: an index and the files that it names, with faults on demand."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[tuple[str, str | None]] = []
        self.index: bytes = json.dumps(
            {
                NAME: {
                    "files": {
                        path: {
                            "size_bytes": len(data),
                            "md5_digest": hashlib.md5(data).hexdigest(),
                        }
                        for path, data in [*files.items(), ("en/en_US/MODEL_CARD", b"words")]
                    }
                }
            }
        ).encode()
        self.cut_after: int | None = None
        self.honours_ranges = True
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=partial(self._server.serve_forever, poll_interval=0.01), daemon=True
        )
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, wanted = request.path.lstrip("/"), request.headers.get("Range")
        self.requests.append((path.rsplit("/", 1)[-1], wanted))
        data = self.index if path == "voices.json" else self.files.get(path)
        if data is None:
            request.send_error(404)
            return
        first = 0
        if wanted and self.honours_ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            request.send_response(206)
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(data) - first))
        request.end_headers()
        body = data[first:]
        if self.cut_after is not None and path != "voices.json":
            body, self.cut_after = body[: self.cut_after], None
        request.wfile.write(body)
        request.close_connection = True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    model = tiny_piper.build(tmp_path / "made" / f"{NAME}.onnx")
    files = {MODEL: model.read_bytes(), f"{MODEL}.json": Path(f"{model}.json").read_bytes()}
    served = Hub(files)
    yield served
    served.close()


def fetch(hub: Hub, folder: Path, told: list[tuple[str, int, int]] | None = None) -> None:
    calls = [] if told is None else told
    piper.download_voice(
        NAME,
        models_dir=folder,
        base_url=hub.url,
        progress=lambda *call: calls.append(call),
        timeout_s=5,
    )


async def test_a_fetched_voice_is_whole_and_speaks(hub: Hub, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    fetch(hub, tmp_path / "voices", told)
    assert piper.local_voices(tmp_path / "voices") == [NAME]
    files = sorted(file.name for file in (tmp_path / "voices").iterdir())
    assert files == [f"{NAME}.onnx", f"{NAME}.onnx.json"]
    size = len(hub.files[MODEL])
    assert (f"{NAME}.onnx", size, size) in told
    tts = piper.TTS(model=NAME, models_dir=tmp_path / "voices")
    assert len(pcm(await speak(tts, "Fetched."))) > 5000


def test_what_is_there_whole_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path)
    (tmp_path / f"{NAME}.onnx.json").write_text("{}")
    hub.requests.clear()
    fetch(hub, tmp_path)
    assert [name for name, _ in hub.requests] == ["voices.json", f"{NAME}.onnx.json"]
    assert json.loads((tmp_path / f"{NAME}.onnx.json").read_text())["num_symbols"] == 256


@pytest.mark.parametrize("honours_ranges", [True, False])
def test_a_cut_off_download_is_no_voice_and_is_continued(
    hub: Hub, tmp_path: Path, honours_ranges: bool
) -> None:
    hub.cut_after, hub.honours_ranges = 1000, honours_ranges
    with pytest.raises(piper.DownloadError):
        fetch(hub, tmp_path)
    assert piper.local_voices(tmp_path) == []
    with pytest.raises(piper.VoiceNotFoundError):
        piper.TTS(model=NAME, models_dir=tmp_path)
    fetch(hub, tmp_path)
    assert (tmp_path / f"{NAME}.onnx").read_bytes() == hub.files[MODEL]
    assert (f"{NAME}.onnx", "bytes=1000-") in hub.requests


def test_a_wrong_checksum_is_refused_and_leaves_nothing_to_continue(
    hub: Hub, tmp_path: Path
) -> None:
    good = hub.files[MODEL]
    hub.files[MODEL] = b"x" * len(good)
    with pytest.raises(piper.DownloadError, match="wrong checksum"):
        fetch(hub, tmp_path)
    assert list(tmp_path.glob("*.onnx*")) == []
    hub.files[MODEL] = good
    fetch(hub, tmp_path)
    assert (tmp_path / f"{NAME}.onnx").read_bytes() == good


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("en_US-nobody-medium", "has no voice"),
        ("../../etc/passwd", "is not a voice's name"),
        ("lessac", "is not a voice's name"),
    ],
)
def test_an_unknown_voice_is_named(hub: Hub, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(piper.DownloadError, match=message):
        piper.download_voice(name, models_dir=tmp_path, base_url=hub.url)


def test_a_hub_that_is_away_or_is_none_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.index = b"<html>sign in</html>"
    with pytest.raises(piper.DownloadError, match="is not an index"):
        fetch(hub, tmp_path)
    hub.close()
    with pytest.raises(piper.DownloadError, match="could not be fetched"):
        fetch(hub, tmp_path)


def test_the_bar_shows_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show_bar("a.onnx", 1_500_000, 3_000_000)
    show_bar("a.onnx", 3_000_000, 3_000_000)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\ra.onnx [###############               ] 1.5 of 3.0 MB\r" in err
    assert err.endswith("3.0 of 3.0 MB\n")
