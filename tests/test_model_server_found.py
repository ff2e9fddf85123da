"""What the worker makes of the model servers that it finds, and what it says of those that lack
something."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from agent_worker.commands import doctor
from agent_worker.engines import found_model
from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choice
from agent_worker.engines.found import look_around
from agent_worker.engines.found_model import best
from agent_worker.engines.language_model import model_server
from agent_worker.settings import Settings, load_settings
from flows.catalogue import look_for_model
from flows.discovery import (
    Discovered,
    ServerKind,
    ServerState,
    discover,
    discover_all,
    is_loopback,
    is_own_network,
    look_at,
)
from flows.model import ModelOptions, chat_model
from flows.settings import FlowSettings
from tests.fake_cold_server import FakeColdServer
from tests.fake_openai_server import FakeOpenAIServer, Reply


def listed(owner: str, *names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"id": name, "object": "model", "owned_by": owner, **more} for name in names]


def settings_for(server: FakeOpenAIServer | str, **more: Any) -> Settings:
    url = server if isinstance(server, str) else server.base_url
    return load_settings(llm_url=url, stt="bundled", tts="espeak", **more)


async def chosen(settings: Settings) -> Choice:
    return choose(settings, await look_around(settings)).llm


async def test_the_kind_is_found_although_server_and_model_are_named() -> None:
    async with FakeOpenAIServer(models=listed("vllm", "qwen", max_model_len=8192)) as upstream:
        choice = await chosen(settings_for(upstream, llm_model="qwen"))
    assert (choice.server_kind, choice.context_tokens) == ("vllm", 8192)
    options, _ = model_server(load_settings(), choice)
    assert (options.kind, options.context_tokens) == (ServerKind.VLLM, 8192)


async def test_the_kind_can_be_set() -> None:
    async with FakeOpenAIServer() as upstream:
        choice = await chosen(settings_for(upstream, llm_kind="sglang"))
        assert choice.server_kind == "sglang"
    assert (await chosen(settings_for(upstream, llm_kind="sglang", llm_model="m"))).server_kind == (
        "sglang"
    )


async def test_calls_of_one_process_share_what_is_known_of_a_server() -> None:
    async with FakeOpenAIServer() as upstream:
        choice = await chosen(settings_for(upstream))
    _, memory = model_server(load_settings(), choice)
    assert model_server(load_settings(language="de"), choice)[1] is memory


async def test_the_key_goes_along_and_a_refusal_is_told_apart() -> None:
    async with FakeOpenAIServer(api_key="k3y") as upstream:
        right = await chosen(settings_for(upstream, llm_api_key="k3y"))
        wrong = await chosen(settings_for(upstream))
    assert right.detail == "scripted-qwen3"
    assert not right.warning
    assert "refuses the key (status 401): set llm_api_key" in wrong.problem


async def test_a_named_server_gets_seconds() -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.6)
        return web.json_response({"data": [{"id": "qwen3"}]})

    app = web.Application()
    app.router.add_get("/v1/models", slow)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        choice = await chosen(settings_for(url))
        assert (choice.detail, choice.endpoint) == ("qwen3", url)
        found = await discover(url)
        assert found is not None and found.models == ("qwen3",)
    finally:
        await runner.cleanup()


async def test_ollama_without_a_model_says_how_to_get_one() -> None:
    async with FakeOpenAIServer(models=(), extra_json={"/api/ps": {"models": []}}) as upstream:
        found = await look_at(upstream.base_url)
        assert found is not None and found.state is ServerState.NO_MODEL
        # The port tells that it is Ollama: a list without models has no owners.
        ollama = Discovered("http://127.0.0.1:11434/v1", ServerKind.OLLAMA, (), found.state)
        offline = choose(load_settings(), (await look_around(load_settings(llm="offline"))))
        assert not offline.llm.warning
        settings = settings_for(upstream, llm_kind="ollama")
        choice = await chosen(settings)
    assert "has no model" in choice.problem
    assert ollama.advice == (
        "Ollama runs at http://127.0.0.1:11434/v1, it has no model: `ollama pull qwen3:4b`"
    )
    assert best((ollama,)).advice == (ollama.advice,)


async def test_the_worker_says_what_the_servers_on_its_ports_lack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ollama = Discovered("http://127.0.0.1:11434/v1", ServerKind.OLLAMA, (), ServerState.NO_MODEL)

    async def there() -> Sequence[Discovered]:
        return (ollama,)

    monkeypatch.setattr("flows.discovery.discover_all", there)
    choice = await chosen(load_settings())
    assert choice.engine == "offline"
    assert "`ollama pull qwen3:4b`" in choice.warning
    report = await doctor.examine(load_settings())
    assert "`ollama pull qwen3:4b`" in report.text
    assert found_model.best((ollama,)).endpoint is None


SPEACHES = [
    {"id": "speaches-ai/Kokoro-82M-v1.0-ONNX", "task": "text-to-speech", "voices": [{"name": "a"}]},
    {"id": "speaches-ai/piper-en_US-amy-low", "task": "text-to-speech"},
    {"id": "Systran/faster-whisper-small", "task": "automatic-speech-recognition"},
]


@pytest.mark.parametrize(
    "models",
    [
        SPEACHES,
        [{"id": "kokoro"}, {"id": "tts-1"}, {"id": "tts-1-hd"}],
        [{"id": "Qwen3-TTS-12Hz-1.7B"}],
        [{"id": "en_US-lessac-medium-piper"}],
        [{"id": "hexgrad/Kokoro-82M"}, {"id": "Qwen3-ASR-1.7B"}],
    ],
)
async def test_a_server_that_speaks_is_offered_for_the_voice_and_not_taken_for_the_model(
    models: list[dict[str, Any]],
) -> None:
    async with FakeOpenAIServer(models=models) as speech, FakeOpenAIServer() as model:
        servers = await discover_all(ports=(speech.port, model.port), timeout_s=5)
        first = await discover(ports=(speech.port, model.port), timeout_s=5)
    assert first is not None and first.base_url == model.base_url
    assert [server.state for server in servers] == [ServerState.SPEECH, ServerState.READY]
    assert f"tts_url={speech.base_url}" in servers[0].advice
    taken = best(servers)
    assert taken.endpoint == model.base_url
    assert taken.advice == (servers[0].advice,)


@pytest.mark.parametrize(
    ("name", "chats"),
    [
        ("Qwen/Qwen3-8B", True),
        ("qwen3:4b", True),
        ("gpt-oss-20b", True),
        ("gemma3:270m", True),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", True),
        ("mistral-small", True),
        ("phi4-mini", True),
        ("Qwen3-ASR-0.6B", False),
        ("Qwen3-Embedding-0.6B", False),
        ("Qwen3-Reranker-4B", False),
        ("bge-m3", False),
        ("all-minilm", False),
        ("sentence-transformers/all-MiniLM-L6-v2", False),
        ("intfloat/multilingual-e5-large", False),
        ("mxbai-embed-large", False),
        ("snowflake-arctic-embed", False),
        ("openai/whisper-large-v3-turbo", False),
        ("nvidia/parakeet-tdt-0.6b-v2", False),
        ("orpheus-3b-0.1-ft", False),
        ("llama-guard3:8b", False),
    ],
)
async def test_only_models_for_chat_are_taken(name: str, chats: bool) -> None:
    async with FakeOpenAIServer(models=[{"id": name}]) as upstream:
        found = await look_at(upstream.base_url)
    assert found is not None
    assert found.models == ((name,) if chats else ())


async def test_lm_studio_is_known_with_what_it_has_loaded() -> None:
    own = {
        "data": [
            {"id": "text-embedding-x", "type": "embeddings", "state": "not-loaded"},
            {"id": "qwen3-4b", "type": "llm", "state": "not-loaded", "max_context_length": 32768},
            {
                "id": "gemma-3-12b",
                "type": "vlm",
                "state": "loaded",
                "max_context_length": 131072,
                "loaded_context_length": 4096,
            },
        ]
    }
    models = listed("organization_owner", "text-embedding-x", "qwen3-4b", "gemma-3-12b")
    async with FakeOpenAIServer(models=models, extra_json={"/api/v0/models": own}) as upstream:
        found = await look_at(upstream.base_url)
        assert found is not None
        assert found.kind is ServerKind.LM_STUDIO
        assert found.models == ("gemma-3-12b", "qwen3-4b")
        assert found.context_tokens == 4096
        options = ModelOptions(upstream.base_url, found.models[0], kind=found.kind)
        model = chat_model(options)
        await model.ainvoke("Hi.")
        await model.aclose()
        assert upstream.requests[-1].body["reasoning_effort"] == "none"


async def test_the_context_of_a_slot_is_read_from_llama_cpp() -> None:
    props = {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 4}
    models = listed("llamacpp", "m.gguf", meta={"n_ctx": 8192, "n_ctx_train": 131072})
    async with FakeOpenAIServer(
        models=models, server_header="llama.cpp", extra_json={"/props": props}
    ) as upstream:
        found = await look_at(upstream.base_url)
    assert found is not None
    assert (found.kind, found.context_tokens) == (ServerKind.LLAMA_CPP, 2048)


async def test_a_server_that_is_loading_is_told_from_one_that_is_none() -> None:
    async def loading(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "Loading model", "code": 503}}, status=503)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/v1/models", loading)
    app.router.add_get("/page/models", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        root = f"http://127.0.0.1:{runner.addresses[0][1]}"
        slow = await look_at(f"{root}/v1")
        odd = await look_at(f"{root}/page")
        completed = await look_at(root)
    finally:
        await runner.cleanup()
    assert slow is not None and slow.state is ServerState.LOADING
    assert "still loading" in slow.advice
    assert odd is not None and odd.state is ServerState.ODD
    assert "ends in /v1" in odd.advice
    assert completed is not None and completed.base_url == f"{root}/v1"


async def test_a_server_that_is_loading_is_waited_for_at_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FakeColdServer(0.8, refuses=True) as upstream:
        choice = await chosen(settings_for(upstream.base_url))
        assert (choice.detail, choice.endpoint) == ("qwen3:4b", upstream.base_url)
    assert caplog.text.count("still loading its model; waiting for it") == 1


async def test_a_model_that_the_server_does_not_list_is_said() -> None:
    async with FakeOpenAIServer(models=listed("vllm", "qwen3", "llama")) as upstream:
        choice = await chosen(settings_for(upstream, llm_model="qwen3:8b"))
    assert not choice.problem
    assert "lists no model 'qwen3:8b', but qwen3, llama: see llm_model" in choice.warning


async def test_doctor_asks_the_model_once_and_says_what_its_server_lacks() -> None:
    def script(asked: dict[str, Any]) -> Reply | None:
        if "tools" not in asked:
            return None
        message = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser'
        return Reply(status=400, error_message=message)

    async with FakeOpenAIServer(script=script, models=listed("vllm", "qwen3")) as upstream:
        report = await doctor.examine(settings_for(upstream))
    assert "--enable-auto-tool-choice --tool-call-parser hermes" in report.text
    assert "[ok] thinking" in report.text


async def test_doctor_is_not_content_with_a_model_that_does_not_answer() -> None:
    broken = Reply(status=500, error_message="CUDA out of memory")
    async with FakeOpenAIServer(default=broken) as upstream:
        report = await doctor.examine(settings_for(upstream))
    assert not report.healthy
    assert "[--] thinking" in report.text
    assert "status 500" in report.text


async def test_the_flow_server_says_what_the_model_server_lacks() -> None:
    async with FakeOpenAIServer(models=[{"id": "bge-m3"}]) as upstream:
        options, why = await look_for_model(FlowSettings(model_url=upstream.base_url))
    assert options is not None and not options.model
    assert "has no model for chat" in why
    options, why = await look_for_model(FlowSettings(discovery=False))
    assert options is None and not why
    async with FakeOpenAIServer(models=listed("vllm", "qwen3", max_model_len=4000)) as upstream:
        options, why = await look_for_model(FlowSettings(model_url=upstream.base_url))
    assert options is not None and not why
    assert (options.kind, options.context_tokens) == (ServerKind.VLLM, 4000)


async def test_a_model_server_that_comes_up_later_is_asked_for_its_model_at_the_first_turn() -> (
    None
):
    upstream = FakeOpenAIServer(models=listed("vllm", "qwen3", max_model_len=4000))
    async with upstream:
        pass
    options, _ = await look_for_model(FlowSettings(model_url=upstream.base_url))
    assert options is not None
    model = chat_model(options)
    with pytest.raises(ConnectionError, match="no model server answers at"):
        await model.ainvoke("Hi.")
    async with upstream:
        assert (await model.ainvoke("Hi.")).text == "Hello from the scripted model."
        body = upstream.requests[-1].body
        assert body["model"] == "qwen3"
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert model.memory.habits.context_tokens == 4000
    await model.aclose()


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost/v1", True),
        ("http://192.168.1.20:8000/v1", True),
        ("http://10.0.0.7/v1", True),
        ("http://172.18.0.3/v1", True),
        ("http://100.101.102.103/v1", True),
        ("http://169.254.1.1/v1", True),
        ("http://[::1]/v1", True),
        ("http://[fd00::1]/v1", True),
        ("http://[fe80::1%25eth0]/v1", True),
        ("http://model:8000/v1", True),
        ("http://gpu.local/v1", True),
        ("http://host.docker.internal/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://8.8.8.8/v1", False),
        ("http://gpu.example.org/v1", False),
    ],
)
def test_ones_own_network_is_told_from_the_rest(url: str, own: bool) -> None:
    assert is_own_network(url) is own


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://localhost:1234/v1", True),
        ("http://127.0.0.2:1234/v1", True),
        ("http://[::1]:1234/v1", True),
        ("http://127.example.com/v1", False),
        ("http://192.168.1.2/v1", False),
    ],
)
def test_this_machine_is_told_from_names_that_begin_like_it(url: str, own: bool) -> None:
    assert is_loopback(url) is own


async def test_no_proxy_is_asked_for_a_server_on_ones_own_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeOpenAIServer() as upstream, FakeOpenAIServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        # A name without a dot, as a container's: this machine's own is one.
        url = f"http://localhost:{upstream.port}/v1"
        assert (await chosen(settings_for(url))).endpoint == url
        model = chat_model(ModelOptions(url, "scripted-qwen3"))
        assert (await model.ainvoke("Hi.")).text == "Hello from the scripted model."
        await model.aclose()
        assert not proxy.requests
        # Elsewhere the proxy is asked, and where it does not help, one line says what to set.
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        gone = await chosen(settings_for("http://gpu.example.test:1/v1", llm_model="m"))
    assert "add its host to NO_PROXY" in gone.warning
