"""What hears on this machine: the device that really decodes, and which Whisper suits it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection
from importlib import import_module

from agent_worker.settings import Settings

from .inventory import HearingDevice


async def find_hearing_device(settings: Settings) -> HearingDevice:
    """Finds the device that Whisper would run on; a GPU has to decode once for that."""
    # LiveKit wants a plugin's first import on the main thread
    import_module("livekit.plugins.faster_whisper")
    return await asyncio.to_thread(_find, settings)


def _find(settings: Settings) -> HearingDevice:
    from livekit.plugins.faster_whisper import device_check, device_faults, models

    spec = models.ModelSpec(
        models.BUNDLED,
        device=settings.stt_device,
        compute_type=settings.stt_compute_type or "auto",
    )
    cores = models.usable_cores()
    try:
        hardware, fault = device_check.find_hardware(spec)
    except device_faults.DeviceError as error:
        fault = error.fault
        return HearingDevice(settings.stt_device, cores=cores, fault=fault.what, cure=fault.cure)
    found = HearingDevice(hardware.device, hardware.compute_type, cores)
    if fault is not None:
        return dataclasses.replace(found, fault=fault.what, cure=fault.cure)
    if hardware.device == "cpu":
        return found
    verdict = device_check.check_device(hardware)
    return dataclasses.replace(found, gpu=verdict.name, gpu_mb=verdict.free_bytes // 1_000_000)


def suited_whisper(settings: Settings) -> str:
    """The size of Whisper that suits this machine."""
    from livekit.plugins.faster_whisper.model_costs import suited_model

    device = _find(settings)
    return suited_model(cores=device.cores, gpu_mb=device.gpu_mb)


async def try_hearing(device: HearingDevice) -> tuple[bool, str]:
    """Decodes once where Whisper would run; whether it went well, and what there is to say."""
    from livekit.plugins.faster_whisper import device_check, models

    hardware = models.Hardware(device.device, device.compute_type, 1)
    verdict = await asyncio.to_thread(device_check.check_device, hardware)
    if verdict.fault is not None:
        return False, f"a decode failed: {verdict.fault}"
    return True, f"a decode on {device.name} went well ({verdict.took_s:.1f} s with loading)"


def sizes(device: HearingDevice, too_slow: Collection[str], suited: str) -> list[str]:
    """Lines of a table: what each size of Whisper costs where it would run here."""
    from livekit.plugins.faster_whisper.model_costs import COSTS

    on_gpu = device.gpu_mb is not None
    head = f"{'Whisper':<16}{'file':>8}{'memory':>9}"
    lines = [head + ("" if on_gpu else f"{'cores/call':>12}{'final':>9}")]
    for cost in COSTS:
        memory = cost.gpu_memory_mb if on_gpu else cost.memory_mb
        row = f"{cost.name:<16}{cost.disk_mb:>5} MB{memory:>6} MB"
        if not on_gpu:
            row += f"{cost.cpu_per_speech_s:>12.1f}{cost.final_ms:>6} ms"
        note = "suits this machine" if cost.name == suited else ""
        lines.append(f"{row}  {'too slow here' if cost.name in too_slow else note}".rstrip())
    return lines
