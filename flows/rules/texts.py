"""The longer texts that the offline graph can tell."""

STORY = (
    "Once upon a time a small lighthouse stood on a cliff above a quiet sea. "
    "Every evening the keeper climbed ninety steps and lit the lamp. "
    "One night the fog was so thick that the light could not be seen from the water. "
    "So the keeper took an old brass horn and blew it until morning. "
    "At dawn a little fishing boat came into the harbour, and its crew waved up at the cliff. "
    "Since that night the horn has hung beside the lamp, and the sailors call it the second "
    "light."
)
JOKES = (
    "Why did the computer go to the doctor? Because it had caught a virus.",
    "I told my suitcase that there would be no holiday this year. Now I am dealing with "
    "emotional baggage.",
    "What did the ocean say to the beach? Nothing, it just waved.",
)
STORY_MANDARIN = (
    "从前，海边的悬崖上有一座小灯塔。每天傍晚，守塔人都要爬上九十级台阶去点灯。"
    "有一天夜里，雾很大，海上看不见灯光。守塔人就拿出一只旧铜号，一直吹到天亮。"
    "清晨，一条小渔船平安进了港，船上的人向他挥手。从那以后，铜号就一直挂在灯的旁边。"
)
JOKE_MANDARIN = "为什么电脑要去看医生？因为它中了病毒。"

LONG_TEXTS = (STORY, STORY_MANDARIN)
"""Texts that can be gone on with after an interruption."""
