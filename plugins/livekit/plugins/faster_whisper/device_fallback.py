"""A decoder that outlives its GPU: the CPU takes over where the memory or the card gives out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from .decode import WhisperDecoder
from .device_check import Check, check_device, cpu_hardware, instead_of, usable_hardware
from .device_faults import DeviceError, DeviceFault, fault_of
from .job import SAMPLE_RATE, Decoded, Decoder, Job, Plan
from .log import logger
from .model_costs import COSTS, keeps_up
from .models import Hardware, ModelSpec, is_available, usable_cores

Load = Callable[[ModelSpec, Hardware], Decoder]


def load_decoder(
    spec: ModelSpec, *, load: Load = WhisperDecoder, check: Check = check_device
) -> Decoder:
    """Loads a model where it really decodes, as told by a decode.

    Raises:
        DeviceError: The device that the spec names can't decode it; the message has the cure.
        ModelNotFoundError: Its files are not on this machine.
        RuntimeError, ValueError: They don't load.
    """
    hardware = usable_hardware(spec, check=check)
    if hardware.device == "cpu":
        return load(spec, hardware)
    try:
        decoder = load(spec, hardware)
        # Memory enough for the model is not memory enough for what it computes.
        decoder.decode([_silence()])
    except (RuntimeError, ValueError) as e:
        fault = fault_of(e)
        if fault is None:
            raise
        return load(spec, instead_of(spec, fault, e))
    return DeviceFallback(decoder, partial(load, lighter(spec), cpu_hardware(spec)))


def lighter(spec: ModelSpec) -> ModelSpec:
    """Returns what a call under way can go on with on the CPU.

    That is the best model on this machine that keeps up there, where the spec's own doesn't.
    """
    cores = usable_cores()
    if keeps_up(spec.model, cores=cores, gpu_mb=None):
        return spec
    for cost in reversed(COSTS):
        fits = keeps_up(cost.name, cores=cores, gpu_mb=None)
        if fits and is_available(cost.name, spec.download_dir):
            return replace(spec, model=cost.name)
    return spec


class DeviceFallback:
    """Decodes on a GPU for as long as that works, and from then on by another decoder."""

    def __init__(self, decoder: Decoder, load_other: Callable[[], Decoder]) -> None:
        """Starts with the GPU.

        Args:
            decoder: On the GPU.
            load_other: Loads one that needs no GPU.
        """
        self._decoder = decoder
        self._load_other = load_other
        self._moved = False

    def plan(self, job: Job) -> Plan:
        """Returns how the job would be run now."""
        return self._decoder.plan(job)

    def decode(self, jobs: Sequence[Job]) -> list[Decoded]:
        """Decodes; a GPU that can't is left for good, and the jobs are decoded all the same.

        Raises:
            DeviceError: Nothing else can take over.
        """
        if self._moved:
            return self._decode_anew(jobs)
        try:
            return self._decode_here(jobs)
        except RuntimeError as e:
            fault = fault_of(e)
            if fault is None:
                raise
            self._move(fault, e)
        return self._decode_anew(jobs)

    def _decode_here(self, jobs: Sequence[Job]) -> list[Decoded]:
        try:
            return self._decoder.decode(jobs)
        except RuntimeError as e:
            fault = fault_of(e)
            if fault is None or not fault.out_of_memory or len(jobs) == 1:
                raise
        # one at a time needs less at once
        return [self._decoder.decode([job])[0] for job in jobs]

    def _decode_anew(self, jobs: Sequence[Job]) -> list[Decoded]:
        # They were put together when the GPU was to run them, and may fit no common window here.
        if len({self._decoder.plan(job) for job in jobs}) == 1:
            return self._decoder.decode(jobs)
        return [self._decoder.decode([job])[0] for job in jobs]

    def _move(self, fault: DeviceFault, cause: BaseException) -> None:
        logger.warning(
            "the GPU gave out; hearing goes on on the CPU",
            extra={"cause": fault.what, "cure": fault.cure},
        )
        try:
            self._decoder = self._load_other()
        except Exception as e:
            lost = replace(fault, what=f"{fault.what} (nor does the CPU serve: {e})")
            raise DeviceError("cuda", lost) from cause
        self._moved = True


def _silence() -> Job:
    return Job(np.zeros(SAMPLE_RATE, np.float32), language=None, is_final=False)
