"""`/v1/audio/*`: texts read aloud, recordings written down, and written down in English."""
