"""Rules in the place of a language model: what the offline graph understands and how it talks."""
