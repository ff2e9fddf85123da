"""The filter of a model's text, under the name that users of the plugin import."""

from graph_speech.think_filter import ThinkFilter

__all__ = ["ThinkFilter"]
