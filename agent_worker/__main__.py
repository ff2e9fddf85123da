"""The command line: ``agent-worker``, or ``python -m agent_worker``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import __version__
from .commands.quiet_logs import quiet_logs
from .engines.closing import close_shared
from .settings import SettingsError, default_environment, explain_settings, load_settings

if TYPE_CHECKING:
    from .engines.chosen import Choices

LIVEKIT_COMMANDS = {
    "dev": "LiveKit's development mode: the worker against LIVEKIT_URL, with debug logs",
    "start": "LiveKit's production mode: the worker against LIVEKIT_URL",
    "console": "LiveKit's console: talk with the agent through this machine's sound card",
    "connect": "LiveKit's connect: send the agent into one room",
}

CALL_PROCESS = "call-process"
"""What the supervisor starts; of no use to people."""

CHOSEN_WORKER = "chosen-worker"
"""What the demo starts: `start`, with the engines that it has chosen."""


def program() -> NoReturn:
    """The program: `main`, and out past the interpreter's shutdown.

    There LiveKit's native threads sometimes panic, which would turn a command that has done its
    work and cleaned up into an abort.
    """
    _spare_threads()
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # `agent-worker settings | head`
        status = 0
    sys.stderr.flush()
    logging.shutdown()
    os._exit(status)


def _spare_threads() -> None:
    """Before numpy and LiveKit's library are loaded, which take a thread for each core.

    Their work is small and comes often: a mel of 2 ms kept two threads of OpenBLAS busy for 35 ms,
    and each of the library's threads that brings an event competes for the one interpreter.
    """
    default_environment(OPENBLAS_NUM_THREADS="1", TOKIO_WORKER_THREADS="2")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command. Returns the exit status: 0, 1 = it failed, 2 = wrong arguments."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments == [CALL_PROCESS]:
            from .processes.call_process import run_call_process

            return run_call_process()
        if arguments == [CHOSEN_WORKER]:
            from .processes.handed_choices import read_choices

            return _livekit("start", [], read_choices())
        if arguments and arguments[0] in LIVEKIT_COMMANDS:
            return _livekit(arguments[0], arguments[1:])
        options = _parser().parse_args(arguments)
        return int(options.run(options))
    except SettingsError as e:
        print(e, file=sys.stderr)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    finally:
        close_shared()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent-worker",
        description="A self-hosted, fully local speech-to-speech agent for LiveKit.",
    )
    parser.add_argument("--version", action="version", version=f"agent-worker {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    demo = commands.add_parser("demo", help="a server, the agent and a caller, all on this machine")
    demo.add_argument("--once", action="store_true", help="end after the conversation")
    demo.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    demo.add_argument(
        "--download",
        action=argparse.BooleanOptionalAction,
        help="fetch real models that suit this machine; unset = asked, on a terminal",
    )
    demo.add_argument("--folder", type=Path, help="where recordings and timings go")
    demo.set_defaults(run=_demo)

    talk = commands.add_parser("talk", help="the same pipeline with a WAV as the microphone")
    talk.add_argument("input", type=Path, metavar="IN.wav", help="the caller's side, any rate")
    talk.add_argument("output", type=Path, metavar="OUT.wav", nargs="?", help="the same as -o")
    talk.add_argument(
        "-o",
        "--output",
        dest="named_output",
        type=Path,
        metavar="OUT.wav",
        help="where the agent's side goes; by default IN-answer.wav beside IN.wav",
    )
    talk.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    talk.add_argument("--json", action="store_true", help="print the call as JSON on stdout")
    talk.add_argument("--caller", metavar="ID", help="who speaks, as the memory knows them")
    talk.set_defaults(run=_talk)

    web = commands.add_parser("web", help="the page to talk from, beside a LiveKit server")
    web.add_argument("--websocket", action="store_true", help="serve /ws/s2s too")
    web.set_defaults(run=_web)

    files = commands.add_parser("download-files", help="fetch the configured models")
    files.set_defaults(run=_download)

    bench = commands.add_parser("bench", help="measure this machine")
    kinds = bench.add_subparsers(metavar="WHAT", required=True)
    rooms = kinds.add_parser("rooms", help="simulated callers at once: latency, CPU, memory")
    rooms.add_argument(
        "--calls",
        "--rooms",
        default="1,2,4,8",
        help="calls at once, round by round, until p95 doubles",
    )
    rooms.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    rooms.set_defaults(run=_bench_rooms)

    doctor = commands.add_parser("doctor", help="try each part of a call, and say what to do")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)

    forget = commands.add_parser("forget", help="delete what a caller asked to be remembered")
    forget.add_argument("caller", metavar="CALLER", help="the id, such as +441134960001")
    forget.set_defaults(run=_forget)

    settings = commands.add_parser(
        "settings", help="every setting: its value, where that comes from, and what it may be"
    )
    settings.add_argument("part", nargs="?", default="", help="of a name, such as stt: only those")
    settings.add_argument("--changed", action="store_true", help="only those that are set")
    settings.add_argument("--json", action="store_true", help="print them as JSON")
    settings.set_defaults(run=_settings)

    for name, text in LIVEKIT_COMMANDS.items():
        commands.add_parser(name, help=text)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from .caller.client import CallerError
    from .commands.demo import default_folder, run_demo
    from .commands.install_line import as_typed
    from .commands.livekit_program import LiveKitServerError
    from .commands.progress_bar import ProgressBar
    from .commands.serve_web import WebServerError
    from .commands.until_signalled import until_signalled
    from .commands.worker_process import RunError

    settings = load_settings()
    quiet_logs()
    # with --json stdout carries the result alone
    stream = sys.stderr if options.json else sys.stdout

    bar = ProgressBar(stream)
    folder = (options.folder or default_folder()).resolve()
    stay = not (options.once or options.json)
    try:
        with contextlib.closing(bar):
            demo = run_demo(
                settings,
                folder=folder,
                say=lambda line: bar.say(as_typed(line)),
                stay=stay,
                download=options.download,
                terminal=sys.stdin.isatty() and stream.isatty(),
                told=bar.told,
            )
            result = asyncio.run(until_signalled(demo))
    except (RunError, CallerError, LiveKitServerError, WebServerError) as e:
        print(as_typed(f"agent-worker demo: {e}"), file=sys.stderr)
        if (folder / "worker.log").is_file():
            print(f"logs: {folder}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
    return 0


def _talk(options: argparse.Namespace) -> int:
    from .commands.install_line import as_typed
    from .commands.simulate import TalkError, talk
    from .commands.until_signalled import until_signalled

    settings = load_settings()
    quiet_logs()
    output = options.named_output or options.output
    output = output or options.input.with_name(options.input.stem + "-answer.wav")

    def say(line: str) -> None:
        if not options.quiet and not options.json:
            print(line, flush=True)

    def warn(line: str) -> None:
        if not options.quiet:
            print(as_typed(line), file=sys.stderr, flush=True)

    call = talk(settings, options.input, output, say=say, warn=warn, caller_id=options.caller)
    try:
        result = asyncio.run(until_signalled(call))
    except TalkError as e:
        print(as_typed(f"agent-worker talk: {e}"), file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
    return 0


def _web(options: argparse.Namespace) -> int:
    from .commands.install_line import as_typed
    from .commands.serve_web import WebServerError, serve_web
    from .commands.until_signalled import until_signalled

    settings = load_settings()
    quiet_logs()

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        asyncio.run(until_signalled(serve_web(settings, websocket=options.websocket, say=say)))
    except WebServerError as e:
        print(as_typed(f"agent-worker web: {e}"), file=sys.stderr)
        return 1
    return 0


def _download(options: argparse.Namespace) -> int:
    from .commands.download import DownloadError, download_files
    from .commands.progress_bar import ProgressBar

    bar = ProgressBar(sys.stderr)
    try:
        with contextlib.closing(bar):
            download_files(load_settings(), say=bar.say, told=bar.told)
    except DownloadError as e:
        print(f"agent-worker download-files: {e}", file=sys.stderr)
        return 1
    return 0


def _bench_rooms(options: argparse.Namespace) -> int:
    from .caller.client import CallerError
    from .commands.bench_rooms import HEADER, bench_rooms, parse_rooms
    from .commands.livekit_program import LiveKitServerError
    from .commands.until_signalled import until_signalled
    from .commands.worker_process import RunError

    stream = sys.stderr if options.json else sys.stdout
    quiet_logs()

    def say(line: str) -> None:
        print(line, file=stream, flush=True)

    try:
        rooms = parse_rooms(options.calls)
        say(HEADER)
        result = asyncio.run(until_signalled(bench_rooms(load_settings(), rooms, say=say)))
    except (ValueError, RunError, CallerError, LiveKitServerError) as e:
        print(f"agent-worker bench rooms: {e}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(result))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from .commands.doctor import examine
    from .commands.install_line import as_typed

    settings = load_settings()
    quiet_logs()
    if sys.stderr.isatty():
        print("Trying each part of a call …", file=sys.stderr)
    # what a plugin would log about its failure is in the report
    plugins = logging.getLogger("livekit")
    level = plugins.level
    plugins.setLevel(logging.CRITICAL)
    try:
        report = asyncio.run(examine(settings))
    finally:
        plugins.setLevel(level)
    if options.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False, indent=2))
    else:
        print(as_typed(report.text))
    return 0 if report.healthy else 1


def _forget(options: argparse.Namespace) -> int:
    from .commands.forget import ForgetError, forget

    try:
        count = asyncio.run(forget(load_settings(), options.caller))
    except ForgetError as e:
        print(f"agent-worker forget: {e}", file=sys.stderr)
        return 1
    print(f"forgotten: {count}")
    return 0


def _settings(options: argparse.Namespace) -> int:
    from .commands.settings_list import as_json, as_text, choose_rows

    rows = choose_rows(explain_settings(load_settings()), options.part, changed=options.changed)
    if options.json:
        print(json.dumps(as_json(rows), ensure_ascii=False, indent=2))
    elif rows:
        print(as_text(rows, width=shutil.get_terminal_size((100, 24)).columns))
    elif options.changed:
        print("agent-worker settings: all of these have their defaults", file=sys.stderr)
    elif options.part:
        print(f"agent-worker settings: no setting's name holds {options.part!r}", file=sys.stderr)
        return 1
    return 0


def _livekit(command: str, rest: list[str], choices: Choices | None = None) -> int:
    parser = argparse.ArgumentParser(prog=f"agent-worker {command}", add_help=False)
    parser.add_argument("--url")
    parser.add_argument("--api-key")
    parser.add_argument("--api-secret")
    known, rest = parser.parse_known_args(rest)
    given = {
        "livekit_url": known.url,
        "livekit_api_key": known.api_key,
        "livekit_api_secret": known.api_secret,
    }
    settings = load_settings(**{k: v for k, v in given.items() if v is not None})
    from .commands.start_worker import start_worker

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    return start_worker(settings, command, rest, choices, say=say)


if __name__ == "__main__":
    program()
