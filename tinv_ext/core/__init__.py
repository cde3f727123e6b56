"""The engine: textual inversion as mathematics and files. It knows no host, no web page and no command line."""
