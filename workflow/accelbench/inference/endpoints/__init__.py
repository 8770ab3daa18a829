"""What an endpoint is asked beside its prompts: credentials, pages, readiness."""
