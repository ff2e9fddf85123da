"""Answers from a folder of documents: read, cut into passages, embedded, searched by meaning.

The way of a file: `reading` (file to passages), an embedder of `embedders` or `onnx_embedder`
(passages to vectors), `index` (kept in SQLite, searched in memory), `tool` (what a graph offers).
"""
