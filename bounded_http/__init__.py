"""HTTP in which nothing is waited for, or kept, without end.

What both sides of our connections need: the worker and the flow server serve with `patience`, the
plugins read with `event_stream`. It knows neither LiveKit nor any package of ours.
"""
