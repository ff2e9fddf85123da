"""What `agent-worker` can be told to do, one file for each command."""
