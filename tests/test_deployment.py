"""The deployment's files, as far as they can be tried without a container engine."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent_worker.settings import Settings, load_settings
from flows.settings import FlowSettings
from livekit.plugins.faster_whisper.device_faults import fault_of

ROOT = Path(__file__).parents[1]
ENTRYPOINT = ROOT / "deploy" / "entrypoint.sh"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LIVEKIT_NAMES = {"LIVEKIT_URL", "LIVEKIT_KEYS"}


def test_compose_is_valid_against_its_schema() -> None:
    schema = json.loads((ROOT / "tests/compose_schema/compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"x": {"imagine": "y"}}}, schema)


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"fetch"}))
def test_every_service_is_pinned_restarted_and_watched(name: str) -> None:
    service = SERVICES[name]
    _, _, tag = service["image"].rpartition(":")
    # the publisher of the one exception makes no versioned tags
    assert name == "higgs" or re.search(r"\d+\.\d+|b\d{4}", tag), service["image"]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["logging"]["options"]["max-size"]


def test_the_model_servers_are_a_choice_and_answer_under_one_name() -> None:
    models = {name: s for name, s in SERVICES.items() if "networks" in s}
    assert set(models) == {"vllm", "llamacpp", "llamacpp-rocm", "ollama"}
    for name, service in models.items():
        assert service["profiles"] == [name]
        assert service["networks"]["default"]["aliases"] == ["model"]


def test_the_worker_runs_a_model_itself_once_it_was_fetched() -> None:
    fetch, worker = SERVICES["fetch"], SERVICES["worker"]
    assert fetch["profiles"] == ["own"]
    assert fetch["restart"] == "no", "it ends once everything is there"
    assert fetch["image"] == worker["image"]
    assert fetch["command"] == ["agent-worker", "download-files"]
    assert fetch["volumes"] == worker["volumes"] and fetch["configs"] == worker["configs"]
    # one that is not asked for keeps nobody waiting
    waits = {"condition": "service_completed_successfully", "required": False}
    assert worker["depends_on"]["fetch"] == waits
    assert worker["environment"]["AGENT_WORKER_LLM"] == "${LLM:-remote}"


def test_the_websocket_is_a_choice_that_answers_as_the_worker_does() -> None:
    websocket, worker, page = (SERVICES[name] for name in ("websocket", "worker", "web"))
    assert websocket["profiles"] == ["websocket"]
    assert websocket["command"] == [*page["command"], "--websocket"]
    assert websocket["environment"].items() >= worker["environment"].items()
    for needed in ("configs", "volumes"):
        assert websocket[needed] == worker[needed]
    assert set(websocket["secrets"]) == {*worker["secrets"], *page["secrets"]}
    assert websocket["depends_on"].keys() == {"flows", "fetch"}
    assert websocket["depends_on"]["fetch"] == worker["depends_on"]["fetch"]
    assert "profiles" not in page
    (port,) = websocket["ports"]
    assert f":{websocket['environment']['AGENT_WORKER_WEB_PORT']}/" in port
    assert port not in page["ports"]


def test_the_page_finds_what_can_be_chosen_where_the_worker_finds_it() -> None:
    page, worker = SERVICES["web"], SERVICES["worker"]
    assert page["environment"].items() >= worker["environment"].items()
    assert page["configs"] == worker["configs"]
    assert page["volumes"] == [f"{volume}:ro" for volume in worker["volumes"]]
    assert "flows" in page["depends_on"], "it is asked for its flows"


def test_the_profiles_are_those_that_the_documents_name() -> None:
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    told = (ROOT / "docs" / "deployment.md").read_text()
    assert all(f"`{profile}`" in told for profile in profiles)
    assert "--profile websocket" in told


@pytest.mark.parametrize("name", ["worker", "web", "websocket", "flows", "fetch"])
def test_our_services_get_only_settings_that_exist(name: str) -> None:
    for variable in SERVICES[name]["environment"]:
        setting = variable.removesuffix("_FILE")
        if setting.startswith("FLOWS_"):
            assert setting.removeprefix("FLOWS_").lower() in FlowSettings.model_fields
        elif setting.startswith("AGENT_WORKER_") and setting != "AGENT_WORKER_CONFIG":
            assert setting.removeprefix("AGENT_WORKER_").lower() in Settings.model_fields
        else:
            assert setting in LIVEKIT_NAMES | {"AGENT_WORKER_CONFIG"}


def test_secrets_come_from_files_and_stand_nowhere_else() -> None:
    declared = set(COMPOSE["secrets"])
    for service in SERVICES.values():
        used = set(service.get("secrets", []))
        assert used <= declared
        for variable, value in service.get("environment", {}).items():
            if re.search("TOKEN|KEY|SECRET", variable):
                assert variable.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in used
    livekit = yaml.safe_load(COMPOSE["configs"]["livekit"]["content"])
    assert "keys" not in livekit and livekit["key_file"] == "/run/secrets/livekit_keys"


def test_only_the_livekit_server_is_open_to_the_network() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert name == "livekit" or port.startswith("127.0.0.1:"), (name, port)


@pytest.mark.parametrize("profile", ["cpu", "nvidia", "amd"])
def test_every_hardware_profile_loads(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_WORKER_CONFIG", str(ROOT / "profiles" / f"{profile}.toml"))
    settings = load_settings()
    assert settings.stt_device == ("cuda" if profile == "nvidia" else "cpu")
    assert settings.stt_model is not None


def test_on_nvidia_who_hears_has_the_gpu_and_the_library_that_whisper_misses() -> None:
    schema = json.loads((ROOT / "tests/compose_schema/compose-spec.json").read_text())
    over = yaml.safe_load((ROOT / "compose.nvidia.yaml").read_text())
    jsonschema.validate(over, schema)
    hears = {name for name, s in SERVICES.items() if "agent-worker" in s.get("command", ())}
    assert set(over["services"]) == hears - {"fetch"}
    for service in over["services"].values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
        assert service["build"] == {"context": ".", "args": {"GPU": "nvidia"}}
        # else it would take the place of the image without the library
        assert service["image"] != SERVICES["worker"]["image"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "\nARG GPU=" in dockerfile
    fault = fault_of("Library libcublas.so.12 is not found or cannot be loaded")
    assert fault is not None
    (package,) = re.findall(r"nvidia-[a-z0-9-]+", fault.cure)
    assert re.search(rf'"\$GPU" = nvidia.* {package}==12\.[0-9.]+', dockerfile)


def test_the_image_is_built_in_stages_and_runs_as_nobody_special() -> None:
    lines = [line.split() for line in (ROOT / "Dockerfile").read_text().splitlines() if line]
    bases = [line[1] for line in lines if line[0] == "FROM"]
    assert len(bases) == 2 and all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    users = [line[1] for line in lines if line[0] == "USER"]
    assert users and users[-1] not in ("root", "0")
    assert any(line[0] == "VOLUME" for line in lines)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for line in lines:
        if line[0] == "COPY" and not line[1].startswith("--from"):
            for source in [part for part in line[1:-1] if not part.startswith("--")]:
                assert (ROOT / source).exists(), source
                assert f"!{Path(source).parts[0]}" in allowed, source


def run_entrypoint(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ENTRYPOINT), "env"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_the_entrypoint_turns_secret_files_into_settings(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("APIabc: sec-ret/with+signs=\n")
    (tmp_path / "token").write_text('to$ken `x` "y"\n')
    run = run_entrypoint(
        {
            "LIVEKIT_KEYS_FILE": str(tmp_path / "keys"),
            "AGENT_WORKER_WEB_TOKEN_FILE": str(tmp_path / "token"),
        }
    )
    lines = run.stdout.splitlines()
    assert "LIVEKIT_API_KEY=APIabc" in lines
    assert "LIVEKIT_API_SECRET=sec-ret/with+signs=" in lines
    assert 'AGENT_WORKER_WEB_TOKEN=to$ken `x` "y"' in lines
    # The worker refuses variables that it does not know.
    assert "_FILE=" not in run.stdout
    assert ENTRYPOINT.stat().st_mode & stat.S_IXUSR


def test_the_entrypoint_names_a_secret_that_it_can_not_read(tmp_path: Path) -> None:
    run = run_entrypoint({"FLOWS_TOKEN_FILE": str(tmp_path / "missing")})
    assert run.returncode == 1 and "FLOWS_TOKEN" in run.stderr
