"""Has the caller finished, and what does speech over the agent mean?"""
