"""`/v1/files`: files that are uploaded once and named by their id in requests, in the forms of OpenAI and Anthropic."""
