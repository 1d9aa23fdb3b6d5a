"""ASGI middleware around the routes: who asks, may that page ask, and for which path."""
