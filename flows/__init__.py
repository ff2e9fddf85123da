"""LangGraph flows: graphs, the model that they think with, their tools and their memory."""
