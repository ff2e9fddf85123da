"""What every voice behind an HTTP server has in common: a client, a check, streams, an end."""

from __future__ import annotations

import asyncio
import ssl
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from livekit.agents import NOT_GIVEN, APIConnectionError, NotGivenOr
from livekit.agents.utils import aio

from local_tts.options import Tokenizer
from local_tts.voice_tts import VoiceTTS

from .log import logger
from .pieces import Voice
from .streams import ServerDelivery

CHECK_TIMEOUT_S = 5.0


class ServerTTS(VoiceTTS):
    """The part of a speech server's TTS that does not depend on how it is asked to speak."""

    def __init__(
        self,
        *,
        base_url: str,
        sample_rate: int,
        tokenizer: NotGivenOr[Tokenizer] = NOT_GIVEN,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, tokenizer=tokenizer, tells_words=False)
        self._base_url = api_root(base_url)
        self._client = http_client
        self._owns_client = http_client is None
        self._closed = False
        self._check: asyncio.Task[None] | None = None

    @property
    def provider(self) -> str:
        """The server's host and port, which is what tells one from another in the metrics."""
        return urlsplit(self._base_url).netloc.rpartition("@")[2]

    @abstractmethod
    def _voice(self) -> Voice:
        """Takes the snapshot of the options that a new stream speaks with."""

    @abstractmethod
    def _headers(self) -> Mapping[str, str]:
        """What every request carries."""

    def _delivery(self) -> ServerDelivery:
        return ServerDelivery(self, self._voice())

    def http_client(self) -> httpx.AsyncClient:
        """The client of this object, made when first needed, because it belongs to a loop.

        Raises:
            APIConnectionError: The TTS was closed.
        """
        if self._closed:
            raise APIConnectionError("the TTS is closed", retryable=False)
        if self._client is None:
            # Proxies and certificates from the environment are not for a server on one's own
            # machine; whoever needs them passes a client.
            # Reading all certificate authorities holds the loop up for 0.1 s, and is of no use
            # without TLS. A redirect to TLS then fails, rather than being trusted.
            tls = self._base_url.startswith("https:")
            self._client = httpx.AsyncClient(
                verify=True if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                trust_env=False,
                follow_redirects=True,
            )
        return self._client

    def prewarm(self) -> None:
        """Connects ahead of the first speech, and warns if the server or the model is not there."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # Called before a job's loop runs: there is nothing that a connection could live in.
            return
        if not self._closed and (self._check is None or self._check.done()):
            self._check = loop.create_task(self._check_server(), name="speech_api.prewarm")

    async def _check_server(self) -> None:
        url = f"{self._base_url}/models"
        try:
            response = await self.http_client().get(
                url, headers=dict(self._headers()), timeout=CHECK_TIMEOUT_S
            )
            served = _model_names(response.json()) if response.is_success else []
        except httpx.HTTPError as error:
            logger.warning("speech server not reached at %s: %s", url, error or type(error))
            return
        except ValueError:
            return
        if served and self.model not in served:
            logger.warning(
                "speech server does not list model %r; it has %s", self.model, ", ".join(served)
            )

    async def aclose(self) -> None:
        """Stops what is being spoken and closes the connections. Safe to call twice."""
        self._closed = True
        await super().aclose()
        if self._check is not None:
            await aio.cancel_and_wait(self._check)
        if self._owns_client and self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def api_root(base_url: str) -> str:
    """Where the API begins: `http://host:port` becomes `http://host:port/v1`.

    Raises:
        ValueError: It is no http address.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"base_url {base_url!r} is no http address, like http://127.0.0.1:8000/v1")
    url = base_url.rstrip("/")
    return url if parts.path.strip("/") else f"{url}/v1"


def _model_names(listing: Any) -> list[str]:
    models = listing.get("data") if isinstance(listing, dict) else None
    return [
        str(model["id"])
        for model in (models if isinstance(models, list) else [])
        if isinstance(model, dict) and "id" in model
    ]
