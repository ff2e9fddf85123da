"""Can the documents be read, embedded and kept where the settings say?"""

from __future__ import annotations

import asyncio

from agent_worker.settings import Settings
from flows.documents.onnx_embedder import EmbedderError
from flows.documents.opening import open_documents
from flows.documents.stores import DocumentsError

from .finding import Finding


async def try_documents(settings: Settings) -> list[Finding]:
    """Opens them as the first call would, where there are any and they are ours to open."""
    if settings.documents is None or settings.llm == "remote":
        return []
    try:
        index = await asyncio.to_thread(open_documents, settings, settings.embeddings_dir())
        assert index is not None
        passages = await asyncio.to_thread(len, index)
    except (DocumentsError, EmbedderError) as e:
        return [Finding("documents", "broken", str(e))]
    await asyncio.to_thread(index.close)
    found_by = f"{passages} passages, found by {index.embedder.name}"
    if passages == 0:
        return [Finding("documents", "doubtful", f"nothing to read in {settings.documents}")]
    return [Finding("documents", "ok", found_by)]
