"""The package's logger. Transcripts, prompts, audio and keys are private: DEBUG at most."""

import logging

logger = logging.getLogger("agent_worker")
