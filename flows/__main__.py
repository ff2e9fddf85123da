"""`python -m flows`: serve the flows."""

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence

import uvicorn
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from .catalogue import open_flows
from .memory import DatabaseError, open_memory
from .persona_profiles import ProfileError
from .server import FlowServer, ServerOptions
from .serving.connections import server_config
from .serving.turns import FillerOptions
from .settings import FlowSettings

logger = logging.getLogger("flows")
_SETTINGS_AT_FAULT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows",
        description="Serve the flows over HTTP. Settings come from the environment (FLOWS_…); "
        "`--help-settings` lists them.",
    )
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="TCP port; 0 takes a free one")
    parser.add_argument("--help-settings", action="store_true", help="list all settings")
    options = parser.parse_args(arguments)
    if options.help_settings:
        sys.stdout.write(settings_help())
        return 0
    for name in unknown_settings():
        sys.stderr.write(f"flows: there is no setting {name}; --help-settings lists them\n")
        return _SETTINGS_AT_FAULT
    given = {name: getattr(options, name) for name in ("host", "port")}
    try:
        settings = FlowSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as e:
        for error in e.errors(include_url=False, include_input=False):
            place = ".".join(str(part) for part in error["loc"])
            said = error["msg"].removeprefix("Value error, ")
            sys.stderr.write(f"flows: {f'FLOWS_{place.upper()}: ' if place else ''}{said}\n")
        return _SETTINGS_AT_FAULT
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # The HTTP client logs every address at INFO.
    for noisy in ("httpx", "httpcore", "openai"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        asyncio.run(serve(settings))
    except (DatabaseError, ProfileError, RuntimeError) as e:
        sys.stderr.write(f"flows: {e}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


async def serve(settings: FlowSettings) -> None:
    """Open everything, serve until told to stop, close everything.

    Raises:
        DatabaseError: The database can't be used.
        ProfileError: The character profiles can't be used.
        RuntimeError: An MCP server can't be used, or the port is taken.
    """
    async with contextlib.AsyncExitStack() as stack:
        memory = await stack.enter_async_context(
            open_memory(
                settings.database_url,
                keep_conversations=settings.keep_conversations,
                keep_days=settings.memory_days,
            )
        )
        flows = await open_flows(settings, memory, stack)
        app = FlowServer(flows, memory, _server_options(settings)).app()
        config = server_config(
            app, host=settings.host, port=settings.port, log_level=settings.log_level
        )
        server = uvicorn.Server(config)
        await server.serve()
        if not server.started:
            raise RuntimeError(f"can't listen on {settings.host}:{settings.port}")


def _server_options(settings: FlowSettings) -> ServerOptions:
    filler = None
    if settings.filler_after_s:
        filler = FillerOptions(settings.filler_after_s, settings.filler)
    return ServerOptions(
        token=settings.token.get_secret_value() if settings.token else None,
        max_body_bytes=settings.max_body_bytes,
        ping_s=settings.ping_s,
        session_ttl_s=settings.session_ttl_s,
        filler=filler,
        no_answer=settings.no_answer,
    )


def unknown_settings() -> list[str]:
    """Variables of the environment that look like settings but are none: misspelt, most likely."""
    known = {f"flows_{name}" for name in FlowSettings.model_fields}
    given = EnvSettingsSource(FlowSettings).env_vars
    return sorted(n.upper() for n in given if n.startswith("flows_") and n not in known)


def settings_help() -> str:
    """Every setting with its default, a line each."""
    lines = []
    for name, field in FlowSettings.model_fields.items():
        default = "" if field.default is None else f" [{field.default}]"
        lines.append(f"FLOWS_{name.upper()}: {field.description}{default}\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
