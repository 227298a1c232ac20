"""The start page and the description of the API: server-rendered, no script, readable on a phone."""
