"""HTTP in, HTTP out: handlers that decode, call the gateway and encode. No protocol knowledge lives here."""
