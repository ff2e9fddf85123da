"""Replies as a voice assistant gives them, and how a model streams them."""

from __future__ import annotations

import re
from itertools import product

_OPENERS_EN = (
    "Sure, I can help you with that.",
    "Of course!",
    "That's a good question, and the short answer is yes.",
    "I'm sorry, but I couldn't find anything under that name.",
    "Let me check that for you, one moment please.",
)
_BODIES_EN = (
    "The weather will be sunny in the morning, with some clouds after 3 p.m. and about 21 degrees.",
    "If you tell me the order number, I can look up when it was sent and where it is right now.",
    "There are two ways to go about it. The first one is cheaper; the second one takes less time.",
    "I've set a timer for ten minutes. Is there anything else that you would like me to do?",
    "Please turn the router off, wait for about 30 seconds, and then turn it on again.",
)
_DIRECT_EN = (
    "You have three appointments tomorrow, and the first one is at 9:30 a.m. with Dr. Miller.",
    "The total comes to $43.50, including tax, and you can pay by card or in cash.",
    "Unfortunately the 7:15 train to Boston has been cancelled, but there is another at 7:40.",
    "Well, it depends on what you want to do with it and how long it should last.",
    "The nearest pharmacy is on Market Street, about five minutes from where you are.",
    "To reset your password, open the settings, choose security, and press the blue button.",
    "Paris is the capital of France. It has a little over two million inhabitants.",
    "I would take an umbrella with me, because rain is expected from noon until the evening.",
    "Your package left the warehouse yesterday and should arrive on Thursday before 6 p.m.",
    "Water boils at 100 degrees Celsius at sea level. Higher up it boils earlier.",
    "Two plus three is five.",
    "It is a quarter past four in the afternoon, so you have about two hours left.",
    "The museum is closed on Mondays, but on all other days it is open from ten to six.",
    "My name is Alice, and I can book a table for you or answer questions about the menu.",
    "For four people you need 400 grams of pasta, two eggs, some bacon, and a bit of cheese.",
    "The meeting has been moved to Friday at eleven. Shall I tell the others about it?",
    "A light year is the distance that light travels in one year, roughly 9.5 trillion km.",
    "Before you begin, make sure that the battery is charged and the cable is plugged in.",
    "He wrote the book in 1851, e.g. ten years before the war began.",
    "Flight UA 212 is delayed by 45 minutes and will now leave from gate B12.",
    "Yes, the kitchen is open until ten, and we still have a table by the window.",
    "If the light is red, hold the button for three seconds until you hear a beep.",
    "The fastest way is to take the second exit at the roundabout and follow the river.",
    "You can find more about it at www.example.com/help, or simply ask me.",
    "Goodbye, and thank you for calling!",
)
_OPENERS_ZH = (
    "好的，我来帮您查一下。",
    "当然可以！",
    "这是一个很好的问题，简单来说答案是肯定的。",
    "对不起，我没有找到这个名字的任何记录。",
    "请稍等，我马上为您查询。",
)
_BODIES_ZH = (
    "明天上午天气晴朗，下午三点以后多云，气温大约21度。",
    "如果您告诉我订单号码，我可以查到它什么时候发出、现在到了哪里。",
    "有两种办法。第一种比较便宜，第二种花的时间更少。",
    "我已经设置了十分钟的计时器。您还需要我做别的事情吗？",
    "请先关闭路由器，等待大约30秒，然后再重新打开。",
)
_DIRECT_ZH = (
    "您明天有三个预约，第一个是上午九点半和米勒医生见面。",
    "总共是43.50元，已经包含税费，您可以刷卡或者付现金。",
    "很抱歉，7点15分去上海的列车取消了，不过7点40分还有一班。",
    "嗯，这要看您打算怎么使用它，以及希望它能用多久。",
    "最近的药店在人民路上，从您现在的位置走路大约五分钟。",
    "要重置密码，请打开设置，选择安全，然后按蓝色的按钮。",
    "巴黎是法国的首都。那里有两百多万居民。",
    "我建议您带上雨伞，因为从中午到晚上都会下雨。",
    "您的包裹昨天已经离开仓库，预计星期四下午六点以前送到。",
    "水在海平面上一百度沸腾。海拔越高，沸点越低。",
    "二加三等于五。",
    "现在是下午四点一刻，所以您还有大约两个小时。",
    "博物馆星期一闭馆，其他日子从十点开放到六点。",
    "我叫小爱，可以帮您订座位，也可以回答关于菜单的问题。",
    "四个人需要400克面条、两个鸡蛋、一些培根和一点奶酪。",
    "会议改到了星期五十一点。要不要我通知其他人？",
    "一光年是光在一年里走过的距离，大约9.5万亿公里。",
    "开始之前，请确认电池已经充满，电线也已经插好。",
    "这本书是他在1851年写的，也就是战争开始的十年以前。",
    "CA212航班晚点45分钟，现在改在B12登机口登机。",
    "是的，厨房营业到十点，我们靠窗还有一张空桌。",
    "如果灯是红色的，请按住按钮三秒，直到听见提示音。",
    "最快的路是在环岛走第二个出口，然后沿着河边开。",
    "更多信息请看www.example.com，或者直接问我。",
    "再见，感谢您的来电！",
)


def replies(language: str) -> list[str]:
    """Returns fifty replies, "en" or "zh": half of them begin with a courtesy, half do not."""
    openers, bodies, direct, space = (
        (_OPENERS_ZH, _BODIES_ZH, _DIRECT_ZH, "")
        if language == "zh"
        else (_OPENERS_EN, _BODIES_EN, _DIRECT_EN, " ")
    )
    return [*(space.join(parts) for parts in product(openers, bodies)), *direct]


def tokens(reply: str) -> list[str]:
    """Cuts a reply about as a language model's vocabulary does.

    A token is a word with the space before it, half of a very long one, a digit, a sign, or one to
    two Chinese characters.
    """
    pieces = re.findall(r" ?[A-Za-z']+|\d| ?[^\w\s]|[\u4e00-\u9fff]{1,2}|\s", reply)
    assert "".join(pieces) == reply
    found: list[str] = []
    for piece in pieces:
        if len(piece) > 12:
            found += [piece[: len(piece) // 2], piece[len(piece) // 2 :]]
        else:
            found.append(piece)
    return found
