"""Numbers as people say them, in English and Mandarin, both ways."""

import re
from fractions import Fraction

_UNIT_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_UNITS = tuple(_UNIT_WORDS.split())
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * (place + 2) for place, word in enumerate(_TENS)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
NUMBER_WORDS = frozenset(_SMALL) | frozenset(_SCALES) | {"a", "an", "and", "point", "oh"}

_HAN_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_HAN_SCALES = {"十": 10, "百": 100, "千": 1000}
HAN_NUMBER = r"[零〇一二两三四五六七八九十百千万点\d.]+"


def parse_english(text: str) -> Fraction | None:
    """The number that `text` says ("twenty-five", "a hundred and two", "3.5"), else None."""
    words = text.lower().replace("-", " ").split()
    if not words:
        return None
    if len(words) == 1 and re.fullmatch(r"\d+(\.\d+)?", words[0]):
        return Fraction(words[0])
    if "point" in words:
        return _english_decimal(words)
    total = current = 0
    seen = False
    for word in words:
        if word in _SMALL:
            current += _SMALL[word]
        elif word.isdecimal():
            current += int(word)
        elif word in ("a", "an"):
            current += 1
        elif word == "hundred":
            current = max(current, 1) * 100
        elif word in _SCALES:
            total += max(current, 1) * _SCALES[word]
            current = 0
        elif word == "and" and seen:
            continue
        else:
            return None
        seen = True
    return Fraction(total + current)


def _english_decimal(words: list[str]) -> Fraction | None:
    place = words.index("point")
    whole = parse_english(" ".join(words[:place]) or "zero")
    digits = [parse_english(word) for word in words[place + 1 :]]
    if whole is None or not digits or any(d is None or not 0 <= d <= 9 for d in digits):
        return None
    return whole + Fraction("0." + "".join(str(digit) for digit in digits))


def parse_mandarin(text: str) -> Fraction | None:
    """The number that `text` says in Chinese characters or digits, else None."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return Fraction(text)
    whole, point, decimals = text.partition("点")
    value = _han_whole(whole)
    if value is None:
        return None
    if not point:
        return Fraction(value)
    if not decimals or any(c not in _HAN_DIGITS for c in decimals):
        return None
    return value + Fraction("0." + "".join(str(_HAN_DIGITS[c]) for c in decimals))


def _han_whole(text: str) -> int | None:
    if not text:
        return None
    total = section = digit = 0
    for character in text:
        if character in _HAN_DIGITS:
            digit = _HAN_DIGITS[character]
        elif character in _HAN_SCALES:
            # 十 alone at the front is ten, not nothing times ten.
            section += (digit or 1) * _HAN_SCALES[character]
            digit = 0
        elif character == "万":
            total += (section + digit) * 10_000
            section = digit = 0
        else:
            return None
    return total + section + digit


def say_english(number: str) -> str:
    """The words for a number in digits: "-3.5" gives "minus three point five"."""
    if number.startswith("-"):
        return "minus " + say_english(number[1:])
    whole, point, decimals = number.partition(".")
    words = _say_whole(int(whole))
    if point:
        words += " point " + " ".join(_UNITS[int(digit)] for digit in decimals)
    return words


def _say_whole(value: int) -> str:
    if value < 20:
        return _UNITS[value]
    if value < 100:
        tens, rest = divmod(value, 10)
        return _TENS[tens - 2] + (f"-{_UNITS[rest]}" if rest else "")
    for size, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand")):
        if value >= size * 1000 and name == "billion":
            # Beyond the words that people use: digit by digit.
            return " ".join(_UNITS[int(digit)] for digit in str(value))
        if value >= size:
            count, rest = divmod(value, size)
            return f"{_say_whole(count)} {name}" + (f" {_say_whole(rest)}" if rest else "")
    hundreds, rest = divmod(value, 100)
    return f"{_UNITS[hundreds]} hundred" + (f" and {_say_whole(rest)}" if rest else "")


def say_mandarin(number: str) -> str:
    """The characters for a number in digits: "-3.5" gives "负三点五"."""
    if number.startswith("-"):
        return "负" + say_mandarin(number[1:])
    whole, point, decimals = number.partition(".")
    words = _say_han(int(whole))
    if point:
        words += "点" + "".join("零一二三四五六七八九"[int(digit)] for digit in decimals)
    return words


def _say_han(value: int) -> str:
    digits = "零一二三四五六七八九"
    if value < 10:
        return digits[value]
    if value >= 10**8:
        return "".join(digits[int(digit)] for digit in str(value))
    if value >= 10_000:
        high, rest = divmod(value, 10_000)
        gap = "零" if 0 < rest < 1000 else ""
        return f"{_say_han(high)}万{gap}{_han_rest(rest)}"
    for size, name in ((1000, "千"), (100, "百"), (10, "十")):
        if value >= size:
            count, rest = divmod(value, size)
            lead = "" if size == 10 and count == 1 else digits[count]
            gap = "零" if 0 < rest < size // 10 else ""
            return f"{lead}{name}{gap}{_han_rest(rest)}"
    raise AssertionError("unreachable: every whole number has a size")


def _han_rest(rest: int) -> str:
    # Inside a number ten is 一十: a hundred and fifteen is 一百一十五.
    return ("一" if 10 <= rest < 20 else "") + _say_han(rest) if rest else ""
