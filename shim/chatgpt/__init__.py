"""Wire structs the web backend speaks. They name only the fields we read (unread fields cost nothing to skip)."""
