"""Rules for Mandarin utterances, simplified or traditional."""

import re
from collections.abc import Callable, Sequence

from flows.tools.arithmetic import decimal_text

from .english import rest_of_long_text
from .numbers import HAN_NUMBER, parse_mandarin, say_mandarin
from .plan import Plan, Say, Use
from .texts import JOKE_MANDARIN, STORY_MANDARIN

NOT_UNDERSTOOD = "我没听懂。我可以报时间和日期、做算术、设定时器，还能记住你的名字。"
_TRADITIONAL = str.maketrans(
    "現幾點謝見號數設個鐘錶時間講開關氣麼們誰會聽說話記減乘兩從訂",
    "现几点谢见号数设个钟表时间讲开关气么们谁会听说话记减乘两从订",
)
_SIGNS = {"加上": "+", "加": "+", "减去": "-", "减": "-", "乘以": "*", "乘": "*", "除以": "/"}
_SUM = re.compile(rf"({HAN_NUMBER})((?:(?:加上|加|减去|减|乘以|乘|除以){HAN_NUMBER})+)")
_SECONDS = {"秒": 1, "分": 60, "小时": 3600, "钟头": 3600}


def normalise(text: str) -> str:
    """Simplified characters without marks and spaces."""
    plain = re.sub(r"[\s，。！？、,!?；;：:\"“”]", "", text.translate(_TRADITIONAL))
    return re.sub(r"^(?:嗯|呃|那个|请问|请)+", "", plain)


def name_in(text: str) -> str | None:
    """The name that the caller gives in `text`, else None."""
    plain = normalise(text)
    found = re.search(r"(?:我叫|我的名字是|我的名字叫|叫我)([\w·]{1,8}?)(?:吧|$)", plain)
    if found is None or "什么" in found[1]:
        return None
    return found[1]


def expression_in(text: str) -> str | None:
    """The sum that `text` asks for, in digits and signs, else None."""
    found = _SUM.search(text)
    if found is None:
        return None
    first = parse_mandarin(found[1])
    if first is None:
        return None
    terms = [decimal_text(first, places=9)]
    for sign, number in re.findall(rf"(加上|加|减去|减|乘以|乘|除以)({HAN_NUMBER})", found[2]):
        value = parse_mandarin(number)
        if value is None:
            return None
        terms += [_SIGNS[sign], decimal_text(value, places=9)]
    return " ".join(terms)


def _timer(text: str) -> Plan | None:
    if not re.search(r"定时|计时|闹钟", text):
        return None
    if re.search(r"取消|停止|删除", text):
        return Use("cancel_timers")
    total = 1800.0 * len(re.findall(r"半个?(?:小时|钟头)", text))
    for amount in re.findall(rf"({HAN_NUMBER})个半(?:小时|钟头)", text):
        total += float(parse_mandarin(amount) or 0) * 3600
    for amount, unit in re.findall(rf"({HAN_NUMBER})个?(秒|分|小时|钟头)", text):
        total += float(parse_mandarin(amount) or 0) * _SECONDS[unit]
    if total:
        return Use("set_timer", {"seconds": round(total)})
    return Use("list_timers")


def _count(text: str) -> Plan | None:
    found = re.search(rf"数到({HAN_NUMBER})", text)
    value = parse_mandarin(found[1]) if found else None
    if value is None:
        return None
    return Say("，".join(say_mandarin(str(n)) for n in range(1, min(int(value), 100) + 1)) + "。")


def _forget(text: str) -> Plan | None:
    if not re.search(r"忘记|忘掉|忘了|删除|删掉", text) or re.search(r"(?:别|不要|没|不)忘", text):
        return None
    if "我的名字" in text:
        return Use("forget", {"fact": "name"})
    return (
        Use("forget") if re.search(r"一切|全部|所有|关于我|我的(?:数据|资料|信息)", text) else None
    )


def _name(text: str) -> Plan | None:
    if re.search(r"我的名字是什么|我叫什么|我是谁|记得我的名字吗", text):
        return Use("recall", {"fact": "name"})
    name = name_in(text)
    return Use("remember", {"fact": "name", "value": name}) if name else None


_ANSWERS: tuple[tuple[str, Plan], ...] = (
    (r"几点|什么时间|现在时间", Use("current_time")),
    (r"几号|星期几|礼拜几|日期|几月", Use("current_date")),
    (r"天气|气温|下雨", Use("get_weather", {"place": "here"})),
    (r"股票|股价", Use("get_stock_quote", {"symbol": ""})),
    (r"故事", Say(STORY_MANDARIN)),
    (r"笑话", Say(JOKE_MANDARIN)),
    (r"你是谁|你叫什么|你的名字", Say("我是运行在这台机器上的语音助手，没有使用语言模型。")),
    (r"订|预约|灯|音乐|音量|订单|人工", Say("我没有配置这项服务。")),
    (r"你能做什么|你会什么|你会做什么|帮我|帮助",
     Say("我可以报时间和日期、做算术、设定时器、记住你的名字，还会讲笑话和故事。")),
    (r"再见|拜拜|晚安", Say("再见，很高兴和你聊天。")),
    (r"不用了?谢谢", Say("好的。")),
    (r"谢谢|多谢", Say("不客气。")),
    (r"早上好|早安", Say("早上好，我能为你做什么？")),
    (r"你好|您好|哈喽|喂", Say("你好，我能为你做什么？")),
    (r"^(?:是|是的|好|好的|可以|对|不|不是|嗯)$", Say("好的，你想做什么？")),
)  # fmt: skip


def _fixed(text: str) -> Plan | None:
    return next((answer for pattern, answer in _ANSWERS if re.search(pattern, text)), None)


def _arithmetic(text: str) -> Plan | None:
    expression = expression_in(text)
    return Use("calculate", {"expression": expression}) if expression else None


_RULES: tuple[Callable[[str], Plan | None], ...] = (
    _arithmetic,
    _timer,
    _count,
    _forget,
    _name,
    _fixed,
)


def plan(text: str, answers: Sequence[str]) -> Plan:
    """Decide what to do about a Mandarin utterance; arguments as in `english.plan`."""
    plain = normalise(text)
    if re.fullmatch(r"(?:停|停下|停止|等等|等一下|别说了|安静|暂停)(?:吧|来)?", plain):
        return Say("好的。")
    if re.search(r"再说一遍|重复一遍|再说一次", plain):
        return Say(answers[-1] if answers else "我还没有说话。")
    if re.fullmatch(r"继续(?:吧|说|讲)?|接着(?:说|讲)", plain):
        return Say(rest_of_long_text(answers) or "没有可以继续的内容。")
    for rule in _RULES:
        decided = rule(plain)
        if decided is not None:
            return decided
    return Say(NOT_UNDERSTOOD)
