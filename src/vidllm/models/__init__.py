"""The networks: encoder, reconstruction branch, metric depth, and Vid-LLM built from them."""
