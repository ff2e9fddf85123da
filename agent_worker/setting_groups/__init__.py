"""What the user can set, group by group; `agent_worker.settings` makes one model of them."""
