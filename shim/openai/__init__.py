"""Wire structs the clients speak: what the OpenAI API takes and sends. No logic lives here."""
