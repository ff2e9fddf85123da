"""The network: Whisper's architecture (Radford et al. 2022) at 1/200 of its size, in torch.

Only training needs torch; the trained weights run in CTranslate2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.training import tokens

MEL_BANDS = 80
TEXT_CONTEXT = 448
SAMPLED_PADDING = 20
_PADDING_FRAMES = 8


@dataclass(frozen=True)
class Shape:
    """Sizes of the network."""

    width: int = 128
    heads: int = 2
    encoder_layers: int = 3
    decoder_layers: int = 2
    audio_context: int = 1500
    """Encoder positions of a full 30 s window."""
    word_classes: int = 300
    """Outputs of the auxiliary head that names the word in each frame."""


def sinusoids(length: int, width: int) -> Tensor:
    """Whisper's fixed positions, ``[length, width]``."""
    scale = math.log(10_000) / (width // 2 - 1)
    frequencies = torch.exp(-scale * torch.arange(width // 2).float())
    angles = torch.arange(length)[:, None].float() * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


def _convolved(x: Tensor, layer: nn.Conv1d, stride: int) -> Tensor:
    """A convolution of three frames as one matrix product, ``[batch, time, channels]``.

    On one CPU thread this is faster than torch's own, and its gradient is right in every
    release (some builds of torch 1.13 compute a wrong one).
    """
    padded = F.pad(x, (0, 0, 1, 1))
    time = x.shape[1]
    unfolded = torch.cat([padded[:, k : k + time : stride] for k in range(3)], 2)
    return unfolded @ layer.weight.permute(2, 1, 0).reshape(-1, layer.weight.shape[0]) + layer.bias


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head attention; keys have no bias, as in Whisper."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the output and the scores before ``bias``, ``[batch, heads, to, from]``."""
        batch, time, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, -1, self.heads, width // self.heads).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(memory)), split(self.value(memory))
        scores = (query * (width // self.heads) ** -0.5) @ key.transpose(-1, -2)
        weights = (scores if bias is None else scores + bias).softmax(-1)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, time, width)
        return self.out(mixed), scores


class Layer(nn.Module):  # type: ignore[misc]
    """A transformer layer; with ``cross`` it also attends to the encoder."""

    def __init__(self, width: int, heads: int, cross: bool = False) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 4 * width)
        self.feed_out = nn.Linear(4 * width, width)
        if cross:
            self.cross_norm = nn.LayerNorm(width)
            self.cross_attention = Attention(width, heads)

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        memory: Tensor | None = None,
        memory_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the output and, with ``memory``, the scores of the cross-attention."""
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, bias)[0]
        scores = None
        if memory is not None:
            attended, scores = self.cross_attention(self.cross_norm(x), memory, memory_bias)
            x = x + attended
        return x + self.feed_out(F.gelu(self.feed_in(self.feed_norm(x)))), scores


class TinyWhisper(nn.Module):  # type: ignore[misc]
    """Encoder, decoder, and an auxiliary head that training uses and the bundled model drops."""

    encoder_positions: Tensor
    clock: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, heads = shape.width, shape.heads
        self.conv1 = nn.Conv1d(MEL_BANDS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.register_buffer("encoder_positions", sinusoids(shape.audio_context, width))
        self.encoder = nn.ModuleList([Layer(width, heads) for _ in range(shape.encoder_layers)])
        self.encoder_norm = nn.LayerNorm(width)
        self.text_embedding = nn.Parameter(torch.randn(tokens.FIRST_TIME, width) * 0.05)
        # 1,501 time tokens would hardly be learnt one by one: they share one linear map of a clock.
        periods = torch.exp(torch.linspace(math.log(0.12), math.log(60), 32))
        angles = torch.arange(len(tokens.TIMES))[:, None] * 0.02 * 2 * math.pi / periods[None]
        self.register_buffer("clock", torch.cat([angles.sin(), angles.cos()], 1))
        self.clock_map = nn.Parameter(torch.randn(64, width) * 0.02)
        self.decoder_positions = nn.Parameter(sinusoids(TEXT_CONTEXT, width) * 0.05)
        self.decoder = nn.ModuleList(
            [Layer(width, heads, cross=True) for _ in range(shape.decoder_layers)]
        )
        self.decoder_norm = nn.LayerNorm(width)
        self.word_head = nn.Linear(width, shape.word_classes)
        self._start_local()

    def embeddings(self) -> Tensor:
        """The embedding of every token, ``[vocabulary, width]``; also the output projection."""
        return torch.cat([self.text_embedding, self.clock @ self.clock_map])

    def encode(self, mel: Tensor, context: int) -> tuple[Tensor, Tensor]:
        """Encodes ``mel`` ``[batch, frames, 80]``, whose last 8 frames are all zero.

        The zero padding up to ``context`` positions is stood in for by 20 of its positions,
        drawn anew each time, whose keys weigh as much as all of it: a window of 30 s for the
        price of the few seconds that hold sound.

        Returns:
            The memory ``[batch, positions, width]`` and the bias of its positions as keys.
        """
        x = F.gelu(_convolved(F.gelu(_convolved(mel, self.conv1, 1)), self.conv2, 2))
        batch, content, width = x.shape
        bias = torch.zeros(content)
        positions = torch.arange(content)
        if (rest := context - content) > 0:
            sampled = min(SAMPLED_PADDING, rest)
            steps = (torch.arange(sampled) + torch.rand(sampled)) * rest / sampled
            padding = content + steps.long().clamp(max=rest - 1)
            x = torch.cat([x, x[:1, -1:].expand(batch, sampled, width)], 1)
            positions = torch.cat([positions, padding])
            bias = torch.cat([bias, torch.full((sampled,), math.log(rest / sampled))])
        x = x + self.encoder_positions[positions]
        for layer in self.encoder:
            x, _ = layer(x, bias)
        return self.encoder_norm(x), bias

    def decode(self, ids: Tensor, memory: Tensor, memory_bias: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher-forced decoding of ``ids`` ``[batch, time]``.

        Returns:
            Logits ``[batch, time, vocabulary]`` and the cross-attention scores of the last layer.
        """
        embeddings = self.embeddings()
        time = ids.shape[1]
        x = embeddings[ids] + self.decoder_positions[:time]
        causal = torch.full((time, time), -1e9).triu(1)
        scores = None
        for layer in self.decoder:
            x, scores = layer(x, causal, memory, memory_bias)
        assert scores is not None
        return self.decoder_norm(x) @ embeddings.T, scores

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _start_local(self) -> None:
        """Starts the encoder's heads looking a few frames back or ahead.

        On sinusoids a query and key that share their weights score by distance, and a rotation
        of each sine and cosine pair moves the peak. It saves the many steps that finding
        locality takes. The convolutions start loud enough to be heard beside the positions.
        """
        self.conv1.weight *= 2
        self.conv2.weight *= 5
        width = self.shape.width
        half = width // 2
        size = width // self.shape.heads
        frequencies = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half).float())
        for layer, reach in zip(self.encoder, (3, 8, 16, 32), strict=False):
            query, key = layer.attention.query.weight, layer.attention.key.weight
            query *= 0.3
            key *= 0.3
            for head in range(self.shape.heads):
                offset = -reach if head % 2 == 0 else reach
                for pair in range(size // 2):
                    sine, cosine = head * size + pair, head * size + size // 2 + pair
                    angle = float(frequencies[pair]) * offset
                    key[sine, pair] += 1.6
                    key[cosine, pair + half] += 1.6
                    query[sine, pair] += 1.6 * math.cos(angle)
                    query[sine, pair + half] += 1.6 * math.sin(angle)
                    query[cosine, pair + half] += 1.6 * math.cos(angle)
                    query[cosine, pair] -= 1.6 * math.sin(angle)
