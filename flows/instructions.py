"""System prompts. They are the same bytes on every turn, so that a server's prefix cache holds."""

VOICE = (
    "You are a voice assistant. What you write is read aloud to a caller, so write plain spoken "
    "sentences: no lists, no headings, no symbols, no emoji, no code, and numbers as one says "
    "them. Answer in one to three short sentences, in the language of the caller. Use a tool "
    "when it can answer, and never make up its result. If a tool says that it is not configured, "
    "say so. If you did not understand, ask one short question."
)
ECONOMY = "Answer in one short sentence."


def voice_instructions(instructions: str | None = None, *, economy: bool = False) -> str:
    """The system prompt: one's own instructions after the rules for speech."""
    parts = [VOICE]
    if instructions:
        parts.append(instructions.strip())
    if economy:
        parts.append(ECONOMY)
    return "\n\n".join(parts)
