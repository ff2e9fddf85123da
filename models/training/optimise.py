"""The training loop: data-parallel over processes of one thread, resumable at any checkpoint."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from models.training import tokens
from models.training.clips import read_shards
from models.training.examples import IGNORED, POSITIONS_PER_SECOND, Example, ExampleSource
from models.training.network import MEL_BANDS, Shape, TinyWhisper

FULL_CONTEXT = 1500
ALIGNMENT_HEADS = 2


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn. Lengths are steps, so a busy machine is only slower.

    There are two cycles of the learning rate: what the first settled on, the second loosens again.
    """

    steps: int = 6400
    """Of the first cycle."""
    second_steps: int = 2500
    batch_size: int = 12
    """Examples a step and process."""
    processes: int = 2
    learning_rate: float = 2e-3
    second_learning_rate: float = 1e-3
    warm_up_steps: int = 100
    decay_from: float = 0.35
    """Part of the first cycle after which the rate falls, as a cosine, to almost nothing; in the
    second it falls from the start."""
    checkpoint_every: int = 100
    seed: int = 7
    bfloat16: bool = False
    """Multiply in bfloat16: 2.6 times faster on processors with AVX512-BF16, slower on others."""

    @property
    def all_steps(self) -> int:
        """Of both cycles."""
        return self.steps + self.second_steps

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        start, highest, length, decay_from = 0, self.learning_rate, self.steps, self.decay_from
        if step >= self.steps:
            start, highest = self.steps, self.second_learning_rate
            length, decay_from = self.second_steps, 0.0
        rate = highest * min(1.0, (step - start + 1) / self.warm_up_steps)
        fall = ((step - start) / length - decay_from) / (1 - decay_from)
        if fall > 0:
            rate *= 0.5 * (1 + math.cos(math.pi * fall)) + 0.01
        return rate


@dataclass(frozen=True)
class Batch:
    """Examples of about one length, padded to the same."""

    mel: Tensor
    """``[batch, frames, 80]``."""
    ids: Tensor
    targets: Tensor
    looks: Tensor
    """Where to look, ``[batch, tokens, positions]``; rows sum to one, or zero if it is free."""
    content: Tensor
    """Positions that hold sound, ``[batch, positions]``."""
    frame_words: Tensor


@dataclass(frozen=True)
class Losses:
    """The three things that are learnt, and the share of text tokens that were right."""

    text: Tensor
    frames: Tensor
    looks: Tensor
    right: float


def collate(examples: list[Example]) -> Batch:
    """Pads examples into one batch; the last eight frames are zero in every row."""
    frames = max(len(example.features) for example in examples)
    frames += frames % 2 + 8
    positions, size = frames // 2, len(examples)
    length = max(len(example.ids) for example in examples)
    mel = np.zeros((size, frames, MEL_BANDS), np.float32)
    ids = np.full((size, length), tokens.EOT)
    targets = np.full((size, length), IGNORED)
    looks = np.zeros((size, length, positions), np.float32)
    content = np.zeros((size, positions), bool)
    frame_words = np.zeros((size, positions), np.int64)
    for row, example in enumerate(examples):
        mel[row, : len(example.features)] = example.features
        ids[row, : len(example.ids)] = example.ids
        targets[row, : len(example.targets)] = example.targets
        used = max(1, len(example.features) // 2)
        content[row, :used] = True
        labels = example.frame_words[:used]
        frame_words[row, : len(labels)] = labels
        for column, look in enumerate(example.looks_at):
            if look is not None:
                first = min(int(look[0]), used - 1)
                last = min(max(first + 1, round(look[1])), used)
                looks[row, column, first:last] = 1 / (last - first)
    arrays = (mel, ids, targets, looks, content, frame_words)
    return Batch(*(torch.from_numpy(array) for array in arrays))


def batches(source: ExampleSource, size: int, order: random.Random) -> Iterator[Batch]:
    """Endless batches. Each process has its own examples, but with the same ``order`` all have
    batches of about the same length at the same step, so that none waits for another."""
    while True:
        drawn = sorted((source.draw() for _ in range(size * 6)), key=lambda e: len(e.features))
        groups = [drawn[start : start + size] for start in range(0, len(drawn), size)]
        order.shuffle(groups)
        for group in groups:
            yield collate(group)


def losses(network: TinyWhisper, batch: Batch, context: int) -> Losses:
    """One forward pass in a window of ``context`` positions."""
    memory, bias = network.encode(batch.mel, context)
    logits, scores = network.decode(batch.ids, memory, bias)
    text = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
    positions = batch.content.shape[1]
    words = network.word_head(memory[:, :positions])
    frames = F.cross_entropy(words.flatten(0, 1), batch.frame_words.flatten(), ignore_index=IGNORED)
    heads = scores[:, :ALIGNMENT_HEADS, :, :positions]
    attention = heads.masked_fill(~batch.content[:, None, None], -1e4).log_softmax(-1)
    looks = -(attention * batch.looks[:, None]).sum() / (ALIGNMENT_HEADS * batch.looks.sum() + 1e-6)
    is_text = (batch.targets >= 0) & (batch.targets < tokens.EOT)
    hits = (logits.argmax(-1) == batch.targets)[is_text]
    return Losses(text, frames, looks, float(hits.float().mean()) if len(hits) else 1.0)


def _averaged(parameters: list[torch.nn.Parameter], processes: int) -> None:
    """Replaces each gradient by its mean over the processes."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if processes == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= processes
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()


def run(rank: int, plan: Plan, clips: Path, checkpoint: Path, rendezvous: str) -> None:
    """Trains, in process ``rank``, from ``checkpoint`` if there is one, to the end of the plan."""
    torch.set_num_threads(1)
    if plan.processes > 1:
        distributed.init_process_group(
            "gloo", init_method=rendezvous, rank=rank, world_size=plan.processes
        )
    torch.manual_seed(plan.seed)
    network = TinyWhisper(Shape())
    parameters = list(network.parameters())
    optimiser = torch.optim.AdamW(
        parameters, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    step = 0
    if checkpoint.exists():
        saved: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        step = saved["step"]
    source = ExampleSource(read_shards(clips), seed=plan.seed * 1000 + step * 10 + rank)
    supply = batches(source, plan.batch_size, random.Random(plan.seed + step))
    windows = random.Random(plan.seed * 31 + step + rank)
    torch.manual_seed(plan.seed + step * 10 + rank)
    while step < plan.all_steps:
        for group in optimiser.param_groups:
            group["lr"] = plan.rate_at(step)
        batch = next(supply)
        # Half of the time a full window, else the sound and 0.4 to 4 s of padding.
        context = FULL_CONTEXT
        if windows.random() < 0.5:
            slack = windows.uniform(0.4, 4.0) * POSITIONS_PER_SECOND
            context = min(FULL_CONTEXT, batch.content.shape[1] + int(slack))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=plan.bfloat16):
            loss = losses(network, batch, context)
        frame_weight = 0.5 if step < 0.7 * plan.steps else 0.2
        optimiser.zero_grad(set_to_none=True)
        (loss.text + frame_weight * loss.frames + 0.15 * loss.looks).backward()
        _averaged(parameters, plan.processes)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        if rank == 0 and step % 50 == 0:
            print(
                f"step {step}/{plan.all_steps} text {loss.text.item():.3f} "
                f"frames {loss.frames.item():.3f} looks {loss.looks.item():.3f} "
                f"right {loss.right:.3f}",
                flush=True,
            )
        if rank == 0 and (step % plan.checkpoint_every == 0 or step == plan.all_steps):
            state = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
            }
            partial = checkpoint.with_suffix(".partial")
            torch.save(state, partial)
            partial.rename(checkpoint)
    if plan.processes > 1:
        distributed.destroy_process_group()
