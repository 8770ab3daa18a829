"""Asking LLM endpoints: prompts, servers, load, and what counts as an answer."""
