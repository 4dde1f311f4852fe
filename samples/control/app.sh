#!/usr/bin/env bash
# The app of demo.cfg: a page on the port that it is told.
exec python3 -m http.server --bind 127.0.0.1 "$PORT"
