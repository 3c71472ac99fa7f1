"""The handlers of the stand-in beyond the turn itself, by theme. Each module ends with the tuple of its handlers."""
