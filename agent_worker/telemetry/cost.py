"""What a call's tokens are, and what they cost where the user has said a price."""

from __future__ import annotations

import dataclasses
from typing import Any

_PER = 1_000_000


@dataclasses.dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in a currency of the user's."""

    prompt: float
    completion: float
    cached: float | None = None
    """Of those read out of a cache; None = as other tokens that are read."""
    currency: str = ""
    """As it is to be told, such as EUR; empty = none is named."""

    def of(self, prompt: int, cached: int, completion: int) -> float:
        """What an answer costs.

        Args:
            prompt: Tokens read, with those out of a cache.
            cached: Of those, read before.
            completion: Tokens written.
        """
        cached = min(cached, prompt)
        cached_price = self.prompt if self.cached is None else self.cached
        read = (prompt - cached) * self.prompt + cached * cached_price
        return (read + completion * self.completion) / _PER


@dataclasses.dataclass(frozen=True)
class Tokens:
    """What an answer cost the model, as its server counts."""

    prompt: int
    """Read, with those out of a cache."""
    cached: int
    """Of those, read before."""
    completion: int
    """Written."""
    call: int
    """Read and written in the call so far, in dropped attempts too."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What an answer cost in money."""

    answer: float
    call: float
    """Of the call so far, with dropped attempts."""
    currency: str


@dataclasses.dataclass(frozen=True)
class CallSummary:
    """A call when it is over. It holds no word that was said."""

    turns: int
    prompt: int
    cached: int
    completion: int
    uncounted: int
    """Attempts at answers whose tokens nobody told: dropped, cut off, or by a server without
    figures. Where there are any, the tokens and the cost are a lower bound."""
    cost: float | None
    """None where no price is set."""
    currency: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        tokens = {"prompt": self.prompt, "cached": self.cached, "completion": self.completion}
        said: dict[str, Any] = {"turns": self.turns, "tokens": tokens, "uncounted": self.uncounted}
        if self.cost is not None:
            said["cost"] = {"call": _rounded(self.cost), "currency": self.currency}
        return said


class CallCost:
    """Adds up the answers of one call. No I/O.

    Args:
        prices: None = tokens are counted, and nothing is said of money.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self._prices = prices
        self._prompt = self._cached = self._completion = 0
        self._cost = 0.0

    def add(self, prompt: int, cached: int, completion: int) -> tuple[Tokens, Cost | None]:
        """Takes what an attempt at an answer cost; returns what is to be said of it."""
        self._prompt += prompt
        self._cached += cached
        self._completion += completion
        tokens = Tokens(prompt, cached, completion, self._prompt + self._completion)
        if self._prices is None:
            return tokens, None
        answer = self._prices.of(prompt, cached, completion)
        self._cost += answer
        return tokens, Cost(_rounded(answer), _rounded(self._cost), self._prices.currency)

    def summary(self, *, turns: int, uncounted: int) -> CallSummary:
        """The call so far."""
        prices = self._prices
        return CallSummary(
            turns,
            self._prompt,
            self._cached,
            self._completion,
            uncounted,
            None if prices is None else self._cost,
            "" if prices is None else prices.currency,
        )


def _rounded(cost: float) -> float:
    """Without the noise of binary fractions; a token of a small model costs some 1e-8."""
    return round(cost, 9)
