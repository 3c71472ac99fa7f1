"""The web backend's own API, passed on: `/backend-api/*` and `/backend-anon/*`."""
