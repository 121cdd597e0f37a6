"""Vid-LLM."""
