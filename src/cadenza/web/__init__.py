"""The studio: a web page on which to train, listen and compose, and the server and workers behind it."""
