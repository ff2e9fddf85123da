"""Numbers, dates, times, currency and units written out, for engines that read them badly."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from num2words import num2words

from agent_worker.language_tags import primary
from agent_worker.toml_beside import toml_beside

_CURRENCIES = {"$": "USD", "US$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
_AMOUNT = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_AMOUNT_COMMA = r"\d{1,3}(?:[.\u00a0 ]\d{3})+(?:,\d+)?|\d+(?:,\d+)?"
_COMMA_LANGUAGES = frozenset(
    [
        "de",
        "fr",
        "es",
        "it",
        "pt",
        "nl",
        "pl",
        "ru",
        "uk",
        "cs",
        "sk",
        "da",
        "sv",
        "no",
        "fi",
        "tr",
        "ro",
        "hu",
        "id",
        "vi",
    ]
)
"""They write 3,14 and 1.000."""
_CHINESE_DIGITS = "零一二三四五六七八九"
_LONG_NUMBER = 7
"""Digits; a longer number without separators is a code or a telephone number."""


@dataclass(frozen=True)
class _Language:
    percent: str
    to: str
    minus: str
    point: str
    units: dict[str, str]
    currencies: dict[str, str]
    months: list[str]
    oclock: str
    date: str


@functools.cache
def _languages() -> dict[str, _Language]:
    tables = toml_beside(__file__, "spoken.toml")
    return {code: _Language(**table) for code, table in tables.items()}


class SpokenNumbers:
    """Writes numbers out in words; to be used phrase by phrase.

    Words come from num2words, those for Chinese from here. A language that num2words does not
    know keeps its digits, and so does a number that it fails on: nothing is ever lost.
    """

    def __init__(self, language: str = "en") -> None:
        """
        Args:
            language: BCP 47 tag of the text.
        """
        self._code = primary(language)
        self._is_known = self._code in _languages()
        self._words = _languages()[self._code if self._is_known else "en"]
        self._comma = self._code in _COMMA_LANGUAGES
        amount = _AMOUNT_COMMA if self._comma else _AMOUNT
        symbols = "|".join(map(re.escape, sorted(_CURRENCIES, key=len, reverse=True)))
        units = "|".join(map(re.escape, sorted(self._words.units, key=len, reverse=True)))
        # Digits within a word, an address or a version are no number of their own.
        start, end = r"(?<![\w.,/:@-])", r"(?![\w/@]|[.,:-]\d)"
        if self._code in ("zh", "ja"):
            start, end = r"(?<![A-Za-z0-9.,/:@-])", r"(?![A-Za-z0-9/@]|[.,:-]\d)"
        rules: list[tuple[str, Callable[[re.Match[str]], str]]] = [
            (rf"{start}(\d{{4}})-(\d\d)-(\d\d){end}", self._date),
            (rf"{start}([01]?\d|2[0-3]):([0-5]\d)(?::[0-5]\d)?{end}", self._time),
            (rf"{start}({symbols})\s?({amount}){end}", self._money_first),
            (rf"{start}({amount})\s?({symbols}|EUR|USD|GBP)(?!\w)", self._money_last),
            (rf"{start}([-−]?(?:{amount}))\s?%", self._percent),
            (rf"{start}([-−]?(?:{amount}))\s?({units})(?![\w/²³])", self._unit),
            (rf"{start}(\d{{1,4}})\s?[–-]\s?(\d{{1,4}}){end}", self._range),
            (rf"{start}(\d{{1,4}})(st|nd|rd|th)\b", self._ordinal),
            (r"(?<![\w.])v?(\d+(?:\.\d+){2,})(?![\w]|\.\d)", self._version),
            (rf"{start}([-−]?(?:{amount})){end}", self._number),
        ]
        if not self._is_known:
            # Better digits than another language's words around them.
            rules = rules[-1:]
        self._rules = [(re.compile(pattern), speak) for pattern, speak in rules]

    def __call__(self, phrase: str) -> str:
        """A phrase with its numbers written out; the rest stays as it is."""
        if not any(char.isdigit() for char in phrase):
            return phrase
        for pattern, speak in self._rules:
            phrase = pattern.sub(speak, phrase)
        return phrase

    def _value(self, written: str) -> Decimal:
        plain = written.replace("−", "-").replace(" ", "").replace("\u00a0", "")
        if self._comma:
            return Decimal(plain.replace(".", "").replace(",", "."))
        return Decimal(plain.replace(",", ""))

    def _say(self, value: Decimal, to: str = "cardinal") -> str:
        """A number in words, or in digits where no words are known."""
        sign = f"{self._words.minus} " if value < 0 else ""
        value = abs(value)
        if self._code == "zh":
            return sign.strip() + _chinese(value)
        whole = value == value.to_integral_value() and value.as_tuple().exponent == 0
        try:
            if whole or to != "cardinal":
                return sign + str(num2words(int(value), lang=self._code, to=to))
            digits = str(value).partition(".")[2]
            spoken = " ".join(str(num2words(int(digit), lang=self._code)) for digit in digits)
            head = num2words(int(value), lang=self._code)
            return f"{sign}{head} {self._words.point} {spoken}"
        except (NotImplementedError, OverflowError, ValueError, TypeError, KeyError, IndexError):
            return f"{sign}{value}"

    def _digits(self, digits: str) -> str:
        joint = "" if self._code == "zh" else " "
        return joint.join(self._say(Decimal(digit)) for digit in digits)

    def _number(self, match: re.Match[str]) -> str:
        written = match[1]
        if not self._is_known and not written.isdigit():
            return written
        if written.isdigit() and (
            len(written) >= _LONG_NUMBER or (written[0] == "0" and len(written) > 1)
        ):
            return self._digits(written)
        if self._code == "en" and written.isdigit() and 1100 <= int(written) <= 2099:
            return self._say(Decimal(written), "year")
        return self._say(self._value(written))

    def _percent(self, match: re.Match[str]) -> str:
        said = self._say(self._value(match[1]))
        if self._code == "zh":
            return f"{self._words.percent}{said}"
        return f"{said} {self._words.percent}"

    def _unit(self, match: re.Match[str]) -> str:
        value = self._value(match[1])
        one, _, many = self._words.units[match[2]].partition("|")
        unit = one if value == 1 or not many else many
        joint = "" if self._code == "zh" else " "
        return f"{self._say(value)}{joint}{unit}"

    def _money_first(self, match: re.Match[str]) -> str:
        return self._money(match[2], _CURRENCIES[match[1]])

    def _money_last(self, match: re.Match[str]) -> str:
        return self._money(match[1], _CURRENCIES.get(match[2], match[2]))

    def _money(self, written: str, currency: str) -> str:
        if self._code == "zh" and currency == "JPY":
            currency = "CNY"
        value = self._value(written)
        main, _, cent = self._words.currencies.get(currency, currency).partition("/")
        one, _, many = main.partition("|")
        name = one if value == 1 or not many else many
        if self._code == "zh":
            return f"{self._say(value)}{name}"
        whole, cents = divmod(value, 1)
        said = f"{self._say(Decimal(int(whole)))} {name if whole != 1 else one}"
        if not cents:
            return said
        if not cent or cents.as_tuple().exponent not in (-1, -2):
            return f"{self._say(value)} {name}"
        cent_one, _, cent_many = cent.partition("|")
        count = int(cents * 100)
        cent_name = cent_one if count == 1 or not cent_many else cent_many
        if not whole:
            return f"{self._say(Decimal(count))} {cent_name}"
        return f"{said} {self._say(Decimal(count))} {cent_name}"

    def _date(self, match: re.Match[str]) -> str:
        year, month, day = (int(part) for part in match.groups())
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return match[0]
        if self._code == "zh":
            spoken_year = "".join(_CHINESE_DIGITS[int(digit)] for digit in match[1])
            return f"{spoken_year}年{_chinese(Decimal(month))}月{_chinese(Decimal(day))}日"
        kind = "ordinal" if self._code in ("en", "de") else "cardinal"
        said_day = self._say(Decimal(day), kind)
        said_day = f"{said_day}r" if self._code == "de" else said_day
        said_year = self._say(Decimal(year), "year" if self._code in ("en", "de") else "cardinal")
        return self._words.date.format(
            day=said_day, month=self._words.months[month - 1], year=said_year
        )

    def _time(self, match: re.Match[str]) -> str:
        hour, minute = int(match[1]), int(match[2])
        said_hour = self._say(Decimal(hour))
        if self._code == "zh":
            return f"{said_hour}点" + (f"{_chinese(Decimal(minute))}分" if minute else "整")
        oclock = self._words.oclock
        if minute == 0:
            return f"{said_hour} {oclock}".strip()
        said_minute = self._say(Decimal(minute))
        if self._code == "en":
            return f"{said_hour} {'oh ' if minute < 10 else ''}{said_minute}"
        return f"{said_hour} {oclock} {said_minute}"

    def _range(self, match: re.Match[str]) -> str:
        if "-" in match[0] and match[1].startswith("0"):
            return match[0]
        joint = "" if self._code == "zh" else " "
        first, last = self._say(Decimal(match[1])), self._say(Decimal(match[2]))
        return f"{first}{joint}{self._words.to}{joint}{last}"

    def _ordinal(self, match: re.Match[str]) -> str:
        return self._say(Decimal(match[1]), "ordinal") if self._code == "en" else match[0]

    def _version(self, match: re.Match[str]) -> str:
        parts = (self._say(Decimal(part)) for part in match[1].split("."))
        joint = "" if self._code == "zh" else " "
        return f"{joint}{self._words.point}{joint}".join(parts)


def _chinese(value: Decimal) -> str:
    """A number from 0 to below 10^16 in Chinese characters."""
    head, _, fraction = str(value).partition(".")
    said = _chinese_whole(int(head))
    if fraction:
        said += "点" + "".join(_CHINESE_DIGITS[int(digit)] for digit in fraction)
    return said


def _chinese_whole(value: int) -> str:
    if value == 0:
        return _CHINESE_DIGITS[0]
    groups: list[int] = []
    while value:
        value, group = divmod(value, 10_000)
        groups.append(group)
    said, gap = "", False
    for index in range(len(groups) - 1, -1, -1):
        group = groups[index]
        if group == 0:
            gap = True
            continue
        if said and (gap or group < 1000):
            said += "零"
        said += _chinese_group(group) + ("", "万", "亿", "兆")[index % 4]
        gap = False
    return said.removeprefix("一") if said.startswith("一十") else said


def _chinese_group(group: int) -> str:
    said, zero = "", False
    for power, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = group // power % 10
        if digit:
            said += ("零" if zero and said else "") + _CHINESE_DIGITS[digit] + unit
            zero = False
        else:
            zero = True
    return said
