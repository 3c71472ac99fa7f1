"""Files and pictures of a request: read or fetched, their type recognised, and uploaded once for each account."""
