"""Servers that the tests upload to: a real Connect server, and a scripted socket for other behaviour."""
