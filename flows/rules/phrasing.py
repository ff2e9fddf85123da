"""Tool results as sentences that can be spoken, in English and Mandarin."""

import re
from datetime import date
from typing import Any

from .numbers import say_english, say_mandarin

_SIGN_WORDS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by",
               "**": "to the power of", "%": "modulo"}  # fmt: skip
_SIGN_HAN = {"+": "加", "-": "减", "*": "乘以", "/": "除以"}
_ORDINAL_WORDS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_ORDINALS = tuple(_ORDINAL_WORDS.split())
_SERVICES = {"weather": "weather", "stock": "stock quote", "search": "search"}
_SERVICES_MANDARIN = {"weather": "天气", "stock": "股票行情", "search": "搜索"}
_WEEKDAYS = "一二三四五六日"


def phrase(tool: str, result: dict[str, Any], mandarin: bool) -> str:
    """Say what `tool` answered.

    Args:
        tool: The tool's name.
        result: Its JSON answer.
        mandarin: In Mandarin instead of English.
    """
    if "error" in result:
        return _fault(result, mandarin)
    said = _IN_MANDARIN[tool](result) if mandarin else _IN_ENGLISH[tool](result)
    return said[:1].upper() + said[1:]


def _fault(result: dict[str, Any], mandarin: bool) -> str:
    service = str(result.get("service", ""))
    match result["error"], mandarin:
        case "not configured", False:
            return f"I have no {_SERVICES[service]} service configured."
        case "not configured", True:
            return f"我没有配置{_SERVICES_MANDARIN[service]}服务。"
        case "not reachable", False:
            return f"The {_SERVICES[service]} service does not answer right now."
        case "not reachable", True:
            return f"{_SERVICES_MANDARIN[service]}服务现在没有回应。"
        case str(sentence), False:
            return sentence
    return "对不起，这个我做不到。"


def _sum_in(expression: str, mandarin: bool) -> str:
    parts = []
    # A minus is a sign of subtraction only after a number.
    for token in re.findall(r"\*\*|(?<![\d.] )-[\d.]+|[\d.]+|[-+*/%]", expression):
        if mandarin:
            parts.append(_SIGN_HAN.get(token) or say_mandarin(token))
        else:
            parts.append(_SIGN_WORDS.get(token) or say_english(token))
    return "".join(parts) if mandarin else " ".join(parts)


def _calculated(result: dict[str, Any]) -> str:
    sum_words = _sum_in(result["expression"], mandarin=False)
    return f"{sum_words} is {say_english(result['result'])}."


def _calculated_mandarin(result: dict[str, Any]) -> str:
    return f"{_sum_in(result['expression'], mandarin=True)}等于{say_mandarin(result['result'])}。"


def _time(result: dict[str, Any]) -> str:
    hour, minute = (int(part) for part in result["time"].split(":"))
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    spoken_hour = say_english(str(hour % 12 or 12))
    if minute == 0:
        return f"it is {spoken_hour} o'clock {part}."
    spoken_minute = ("oh " if minute < 10 else "") + say_english(str(minute))
    return f"it is {spoken_hour} {spoken_minute} {part}."


def _time_mandarin(result: dict[str, Any]) -> str:
    hour, minute = (int(part) for part in result["time"].split(":"))
    part = "凌晨" if hour < 6 else "上午" if hour < 12 else "下午" if hour < 18 else "晚上"
    hour = hour - 12 if hour > 12 else hour
    spoken_hour = "两" if hour == 2 else say_mandarin(str(hour))
    tail = "整" if minute == 0 else ("零" if minute < 10 else "") + say_mandarin(str(minute)) + "分"
    return f"现在是{part}{spoken_hour}点{tail}。"


def _ordinal(day: int) -> str:
    if day <= 20:
        return _ORDINALS[day - 1]
    if day == 30:
        return "thirtieth"
    return f"{'twenty' if day < 30 else 'thirty'}-{_ORDINALS[day % 10 - 1]}"


def _date(result: dict[str, Any]) -> str:
    today = date.fromisoformat(result["date"])
    return f"today is {today:%A}, {today:%B} the {_ordinal(today.day)}."


def _date_mandarin(result: dict[str, Any]) -> str:
    today = date.fromisoformat(result["date"])
    month, day = say_mandarin(str(today.month)), say_mandarin(str(today.day))
    return f"今天是{month}月{day}日，星期{_WEEKDAYS[today.weekday()]}。"


def duration_words(seconds: int) -> str:
    """A duration in English words: 3,700 s is "one hour one minute and forty seconds"."""
    parts = []
    for size, unit in ((3600, "hour"), (60, "minute"), (1, "second")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{say_english(str(count))} {unit}{'' if count == 1 else 's'}")
    if len(parts) > 1:
        parts[-2:] = [f"{parts[-2]} and {parts[-1]}"]
    return " ".join(parts) or "no time"


def _duration_mandarin(seconds: int) -> str:
    parts = []
    for size, unit in ((3600, "小时"), (60, "分钟"), (1, "秒")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(("两" if count == 2 else say_mandarin(str(count))) + unit)
    return "".join(parts)


def _timer_set(result: dict[str, Any]) -> str:
    length = duration_words(result["set_for_s"])
    return f"I set a timer for {length}. Ask me when you want to know how much is left."


def _timer_set_mandarin(result: dict[str, Any]) -> str:
    return f"好的，定时{_duration_mandarin(result['set_for_s'])}。想知道还剩多久就问我。"


def _timers(result: dict[str, Any]) -> str:
    timers = result["timers"]
    if not timers:
        return "no timer is running."
    said = [
        f"{duration_words(timer['left_s'])} left" if timer["left_s"] else "run out"
        for timer in timers
    ]
    if len(said) == 1:
        return f"your timer has {said[0]}."
    return f"you have {say_english(str(len(said)))} timers: {', '.join(said)}."


def _timers_mandarin(result: dict[str, Any]) -> str:
    timers = result["timers"]
    if not timers:
        return "现在没有定时器。"
    said = [
        f"还剩{_duration_mandarin(timer['left_s'])}" if timer["left_s"] else "已经到时间了"
        for timer in timers
    ]
    return f"你的定时器{'，'.join(said)}。"


def _cancelled(result: dict[str, Any]) -> str:
    return "I cancelled your timers." if result["cancelled"] else "no timer was running."


def _cancelled_mandarin(result: dict[str, Any]) -> str:
    return "定时器已取消。" if result["cancelled"] else "没有正在运行的定时器。"


def _remembered(result: dict[str, Any]) -> str:
    if result["fact"] == "name":
        return f"nice to meet you, {result['value']}. I will remember your name."
    return "I will remember that."


def _remembered_mandarin(result: dict[str, Any]) -> str:
    if result["fact"] == "name":
        return f"你好，{result['value']}，我记住你的名字了。"
    return "好的，我记住了。"


def _recalled(result: dict[str, Any]) -> str:
    if result["fact"] == "name":
        if result["value"] is None:
            return "you have not told me your name yet."
        return f"your name is {result['value']}."
    if result["value"] is None:
        return "you have not asked me to remember anything yet."
    return f"you asked me to remember that {result['value']}."


def _recalled_mandarin(result: dict[str, Any]) -> str:
    if result["value"] is None:
        return "你还没有告诉我你的名字。"
    return f"你的名字是{result['value']}。"


def _forgotten(result: dict[str, Any]) -> str:
    if not result["forgotten"]:
        return "there was nothing to forget."
    if result["fact"] == "name":
        return "I have forgotten your name."
    return "I have forgotten what you asked me to remember."


def _forgotten_mandarin(result: dict[str, Any]) -> str:
    return "好的，我已经忘记了。" if result["forgotten"] else "没有需要忘记的内容。"


def _read_out(result: dict[str, Any]) -> str:
    if not result["found"]:
        return "I don't know: the documents do not say."
    best = result["found"][0]
    return f"{best['title']} says: {best['sentence']}"


def _read_out_mandarin(result: dict[str, Any]) -> str:
    if not result["found"]:
        return "我不知道，文件里没有写。"
    best = result["found"][0]
    return f"《{best['title']}》里写着：{best['sentence']}"


def _looked_up(result: dict[str, Any]) -> str:
    return str(result["answer"])


_IN_ENGLISH = {
    "calculate": _calculated,
    "current_time": _time,
    "current_date": _date,
    "set_timer": _timer_set,
    "list_timers": _timers,
    "cancel_timers": _cancelled,
    "remember": _remembered,
    "recall": _recalled,
    "forget": _forgotten,
    "search_documents": _read_out,
    "get_weather": _looked_up,
    "get_stock_quote": _looked_up,
    "search_web": _looked_up,
}
_IN_MANDARIN = _IN_ENGLISH | {
    "calculate": _calculated_mandarin,
    "current_time": _time_mandarin,
    "current_date": _date_mandarin,
    "set_timer": _timer_set_mandarin,
    "list_timers": _timers_mandarin,
    "cancel_timers": _cancelled_mandarin,
    "remember": _remembered_mandarin,
    "recall": _recalled_mandarin,
    "forget": _forgotten_mandarin,
    "search_documents": _read_out_mandarin,
}
