"""The filters between an answer's events and what writes them: events in, events out."""
