"""The tool `search_documents`: what a graph offers to its model."""

import asyncio
import json
import logging

from langchain_core.tools import BaseTool, tool

from .index import DocumentIndex
from .reading import best_sentence

logger = logging.getLogger("flows")

_ADVICE = "Say from which document it is, by its title. Say nothing that these do not say."
_NOTHING = "The documents do not say. Tell the caller that you do not know."


def document_tools(index: DocumentIndex) -> list[BaseTool]:
    """The tool that answers from the documents of `index`."""

    @tool
    async def search_documents(question: str) -> str:
        """Search the documents of this place for what answers a question.

        Use it for whatever the caller asks about this company, its products, rules and services.
        In the answer, say the title of the document; if nothing is found, say that you don't know.

        Args:
            question: The caller's question as a whole sentence, with what "it" stands for.
        """
        try:
            found = await asyncio.to_thread(index.search, question)
        except Exception as e:
            # A broken disk or model must not end the caller's turn.
            logger.warning("documents can't be searched", extra={"fault": type(e).__name__})
            logger.debug("documents can't be searched", exc_info=e)
            return json.dumps({"error": "I can't look into the documents right now."})
        if not found:
            return json.dumps({"found": [], "advice": _NOTHING})
        passages = [
            {
                "title": one.passage.title,
                "text": one.passage.text,
                "sentence": best_sentence(one.passage.text, question),
            }
            for one in found
        ]
        return json.dumps({"found": passages, "advice": _ADVICE}, ensure_ascii=False)

    return [search_documents]
