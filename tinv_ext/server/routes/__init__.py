"""The HTTP routes under /tinv/v1, a file for each subject; `server/api.py` adds them to an app."""
