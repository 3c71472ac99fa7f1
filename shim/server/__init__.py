"""Running the application on Granian."""
