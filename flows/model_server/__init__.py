"""What model servers refuse and how to ask them again; nothing in here but `waiting` does I/O.

`refusals` says what a refusal wants of the next request, `habits` is what has been learnt of a
server and shapes every request to it, `conversation` makes a conversation fit: its order, its
roles, its length. `advice` says each outcome to the person who runs the server. `chunks` and
`answer_check` look at what comes back.
"""
