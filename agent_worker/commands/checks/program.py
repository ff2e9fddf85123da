"""Does the LiveKit server run that the demo would start?"""

from __future__ import annotations

import asyncio
import contextlib
import shutil

from agent_worker.commands.livekit_program import ServerBinary, find_server
from agent_worker.settings import Settings

from .finding import Finding, State

_PATIENCE_S = 10.0


async def try_program(settings: Settings) -> Finding:
    """Asks the server's program for its version; a server that is set needs none."""
    is_set = "livekit_url" in settings.model_fields_set
    use = f"not in use: LIVEKIT_URL names {settings.livekit_url}" if is_set else "`demo` starts it"
    found = find_server(settings.cache_dir)
    if found is None:
        if shutil.which("go"):
            return Finding("program", "ok", "no LiveKit server yet; Go is here to build it")
        said = "no LiveKit server and no Go"
        advice = "`demo` will try the release archive; a server elsewhere needs neither"
        return Finding("program", "doubtful", said, advice)
    version = await _version(found)
    if version is None:
        state: State = "doubtful" if is_set else "broken"
        said = f"{found.path} ({found.source}) does not run"
        return Finding("program", state, said, "remove it: it is installed again", (use,))
    return Finding("program", "ok", f"{version}, {found.path} ({found.source}); {use}")


async def _version(binary: ServerBinary) -> str | None:
    """The line that it prints; None = it does not run."""
    try:
        process = await asyncio.create_subprocess_exec(
            str(binary.path),
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            out, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    line = out.decode(errors="replace").strip().splitlines()
    return line[0] if process.returncode == 0 and line else None
