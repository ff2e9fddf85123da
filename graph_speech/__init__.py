"""What a LangGraph graph says, as events for a voice: one runner for every face of it.

The plugin runs a graph in its own process with it, the flow server runs its flows with it and puts
the events on a wire. It knows neither LiveKit nor HTTP.
"""
