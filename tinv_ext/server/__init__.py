"""Runs on a server: the job queue, the HTTP API, and what clients may reach."""
